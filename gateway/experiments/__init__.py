"""Experiments as values, which serving, learning and proof share."""
