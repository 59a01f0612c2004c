"""The gateway's events: a closed set of records, passed to a list of hooks."""
