"""Asks providers with other wire formats through LiteLLM."""
