"""Policies, experiments and their shared state. Knows nothing of HTTP, litellm or the algorithm."""
