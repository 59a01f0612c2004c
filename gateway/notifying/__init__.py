"""Events of experiments for other systems: pages, streams and webhooks."""
