"""Exports the log of an experiment, and recomputes from it whether the decision is proven."""
