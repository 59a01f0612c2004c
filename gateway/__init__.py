"""An LLM gateway that finds, proves and promotes the best policy."""

__version__ = "0.1.0"
