"""Notes which files a configuration is read from, and how each one was just before it was read."""

from __future__ import annotations

from pathlib import Path

Stamp = tuple[int, int, int]
"""Shows whether a file changed: inode, size and time of change."""


class ReadFiles:
    """The files that were read, or looked for.

    Attributes:
        stamps: How each was before it was read for the first time, so that a change in the meantime shows.
    """

    def __init__(self) -> None:
        self.stamps: dict[Path, Stamp] = {}

    def add(self, path: Path) -> None:
        """Note a file that is about to be read."""
        self.stamps.setdefault(path, stamp_of(path))


def stamp_of(path: Path) -> Stamp:
    """How a file is now; zeros if it cannot be looked at, be it that no file can have such a path."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns
