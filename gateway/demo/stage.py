"""The output of the demo: a terminal that is redrawn, or plain lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.live import Live

from gateway.demo.view import Frame, closing_lines, picture, progress_line

LINE_SECONDS: Final = 2.0

Show = Callable[[Frame], None]


@contextmanager
def stage(console: Console) -> Iterator[Show]:
    """Shows frames: redrawn in a terminal, otherwise as a line from time to time."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda frame: live.update(picture(frame, console.width), refresh=True)
    else:
        yield LinePrinter(console)


class LinePrinter:
    """Shows frames as plain lines: progress every few seconds, the closing sentences once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._due_seconds = 0.0
        self._is_closed = False

    def __call__(self, frame: Frame) -> None:
        """Show a frame if it is time for the next one."""
        reading = frame.reading
        if reading is None or not reading.is_decided:
            if frame.elapsed_seconds >= self._due_seconds:
                self._due_seconds = frame.elapsed_seconds + LINE_SECONDS
                self._print(progress_line(frame))
        elif frame.ending is not None and not self._is_closed:
            self._is_closed = True
            for is_good, sentence in closing_lines(frame, reading):
                self._print(f"{'ok ' if is_good else 'NOT OK '} {sentence}")
            self._print(f"console: {frame.gateway}/console")

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)
