"""What any process needs: logs, background tasks, its life, its memory."""
