"""What a process needs whatever it does: logs, background tasks, its life, its memory."""
