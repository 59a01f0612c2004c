"""Providers: one protocol, a byte relay for formats that providers speak, and litellm for all others."""
