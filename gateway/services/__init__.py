"""One use case per module; asynchronous, without HTTP types."""
