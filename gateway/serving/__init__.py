"""A request answered: who answers it, how providers are asked, what the caller is shown."""
