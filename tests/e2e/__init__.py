"""Whole programs, run as their users run them."""
