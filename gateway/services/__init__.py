"""The use cases of the gateway, one per module: async or pure, free of HTTP types."""
