"""Makes text that others wrote safe to print: reasons of moves, words of hooks and of receivers."""

from __future__ import annotations


def on_one_line(text: str) -> str:
    """`text` with line breaks, codes that steer terminals and marks that turn text round shown as escapes.

    So nobody's words can pass for another line of an audit log, or change what a terminal shows of it.
    """
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
