"""Changes the configuration without a restart: reads, checks and swaps it on every replica."""
