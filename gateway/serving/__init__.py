"""Answers requests: decides which policy or model answers, asks providers, and labels the answer."""
