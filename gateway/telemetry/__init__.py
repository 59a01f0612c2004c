"""What the gateway says about itself: numbers for Prometheus, lines for a log collector."""
