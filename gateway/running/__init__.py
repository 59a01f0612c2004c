"""Basics of every process: logs, background tasks, life cycle, memory."""
