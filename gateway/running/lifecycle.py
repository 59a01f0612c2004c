"""Where a process is in its life, from the moment it is asked to stop.

serving -> draining (still answering, no longer ready) -> over (answers still under way say so and end)
"""

from __future__ import annotations


class Lifecycle:
    """Moved on by what runs the process, read by readiness and by answers that are cut off."""

    __slots__ = ("is_draining", "is_over")

    def __init__(self) -> None:
        self.is_draining = False
        self.is_over = False

    def drain(self) -> None:
        """Ask for no more requests; those under way are answered."""
        self.is_draining = True

    def end(self) -> None:
        """Let the answers still under way say so and end."""
        self.is_draining = self.is_over = True
