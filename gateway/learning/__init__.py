"""Counts what users say, plans comparisons with it, and decides."""
