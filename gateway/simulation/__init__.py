"""Simulations on all cores: many trials at once, kept as they finish, drawn when they are done."""
