"""Providers with wire formats of their own, asked through LiteLLM."""
