"""Providers: one protocol, a byte relay for the OpenAI wire format, litellm for every other."""
