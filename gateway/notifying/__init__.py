"""Telling others what happened to experiments: pages and streams of events, and webhooks."""
