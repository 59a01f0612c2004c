"""The configuration file: its models, its reader, and the messages for its faults."""
