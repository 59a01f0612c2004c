"""The stages of a process from the moment it is asked to stop.

serving -> draining (still answering, no longer ready) -> over (unfinished answers end with an error)
"""

from __future__ import annotations


class Lifecycle:
    """The present stage. The server changes it; readiness and unfinished answers read it."""

    __slots__ = ("is_draining", "is_over")

    def __init__(self) -> None:
        self.is_draining = False
        self.is_over = False

    def drain(self) -> None:
        """Begin to drain: readiness says no, and requests are still answered."""
        self.is_draining = True

    def end(self) -> None:
        """Make unfinished answers end with an error."""
        self.is_draining = self.is_over = True
