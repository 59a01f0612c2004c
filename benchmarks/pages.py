"""Markdown pages, wrapped at 100 columns: results as the benchmarks write them, and the documentation.

    .venv/bin/python -m benchmarks.pages FILE ...

wraps the prose of files in place (`make format` does so for all). Tables, code, headings and pictures stay as
they are, and so does every character but the spaces between words.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt

WIDTH: Final = 100
_MARKDOWN: Final = MarkdownIt("commonmark").enable("table")
_INDENT: Final = re.compile(r"(?:\s|>|[-*+]\s|\d+[.)]\s)*")
# Code, and links with short texts, are easier to read in one piece.
_WHOLE: Final = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)|\[[^\]]{1,60}\]\([^)\s]+\)")
# At the start of a line these words would begin a list, a heading or a quotation.
_MARKER: Final = re.compile(r" (?=(?:[-+*#>]+|\d+[.)]) )")
_GLUE: Final = "\x00"


def paragraphs(text: str) -> Iterator[tuple[int, int]]:
    """The lines of each paragraph of a page: index of the first, and of the one behind the last."""
    for token in _MARKDOWN.parse(text):
        if token.type == "paragraph_open" and token.map:
            yield token.map[0], token.map[1]


def wrapped(text: str) -> str:
    """The page with its paragraphs wrapped at `WIDTH` columns."""
    lines = text.splitlines()
    for first, end in reversed(list(paragraphs(text))):
        lines[first:end] = _paragraph(lines[first:end])
    return "\n".join(lines) + "\n"


def _paragraph(lines: list[str]) -> list[str]:
    found = _INDENT.match(lines[0])
    start = found.group() if found else ""
    rest = re.sub(r"[^\s>]", " ", start)
    words = " ".join(
        [lines[0][len(start) :], *(line.strip(" >" if ">" in rest else None) for line in lines[1:])]
    )
    words = _WHOLE.sub(lambda whole: whole.group().replace(" ", _GLUE), " ".join(words.split()))
    filled = textwrap.wrap(
        _MARKER.sub(_GLUE, words),
        WIDTH,
        initial_indent=start,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_GLUE, " ") for line in filled]


def save_page(path: Path, text: str) -> None:
    """Write a page, wrapped."""
    path.write_text(wrapped(text), encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        save_page(Path(name), Path(name).read_text(encoding="utf-8"))
