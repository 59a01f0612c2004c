"""The configuration file: its models, its reader, and what to say when it is wrong."""
