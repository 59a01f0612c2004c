"""Metrics for Prometheus and log lines, made from the gateway's events."""
