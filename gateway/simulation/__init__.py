"""Simulations on all cores: many trials at once, kept as they finish and plotted at the end."""
