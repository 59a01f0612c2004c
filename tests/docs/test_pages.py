"""Pages are read as source and in diffs as well, so no line of prose is longer than 100 columns."""

from __future__ import annotations

from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from benchmarks.pages import WIDTH, paragraphs, wrapped

ROOT = Path(__file__).parents[2]
FOLDERS = ("benchmarks", "deploy", "docs", "examples", "tests")
PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
    if "node_modules" not in page.parts
)


def test_pages_are_found() -> None:
    """The list holds the pages there surely are, so an empty one cannot pass for wrapped ones."""
    assert {"README.md", "CHANGELOG.md", "docs/concepts.md", "benchmarks/results/soak.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_prose_is_wrapped(page: str) -> None:
    """Lines of prose keep to 100 columns, unless one word alone is longer; `make format` wraps them."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = text.splitlines()
    long = [
        f"{page}:{number + 1}"
        for first, end in paragraphs(text)
        for number in range(first, end)
        if len(lines[number]) > WIDTH and " " in lines[number].strip()
    ]
    assert not long, f"longer than {WIDTH} columns (make format): {', '.join(long)}"


SAMPLE = f"""# {"A heading stays on its line " * 5}

{"word " * 30}`code {"stays " * 5}whole` and 7
1. is no list because `- x` follows.

- An item {"goes on " * 20}
  - {"and nests " * 15}
1. {"Numbers count as indentation " * 5}

> {"Quotations are wrapped as well. " * 5}

| a table | {"stays " * 20}|
|---|---|
| {"whatever " * 20} | it holds |

```
{"code is left alone " * 10}
```
"""


def test_wrapping_changes_line_breaks_only() -> None:
    """A wrapped page says the same in the same blocks, and wrapping it again changes nothing."""
    markdown = MarkdownIt("commonmark").enable("table")
    page = wrapped(SAMPLE)
    assert markdown.render(page).split() == markdown.render(SAMPLE).split()
    assert wrapped(page) == page
    lines = page.splitlines()
    assert max(len(lines[n]) for first, end in paragraphs(page) for n in range(first, end)) <= WIDTH


def test_every_decision_is_in_the_index() -> None:
    """The index lists each note under its own title, in the order of the numbers within its theme."""
    folder = ROOT / "docs" / "decisions"
    notes = sorted(note for note in folder.glob("*.md") if note.name != "README.md")
    titles = {note: note.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for note in notes}
    assert [note.name for note, title in titles.items() if title[:5] != f"{note.name[:4]} "] == []
    expected = [f"- [{title[:4]}]({note.name}) {title[5:]}" for note, title in titles.items()]
    index = " ".join((folder / "README.md").read_text(encoding="utf-8").split())
    assert [line for line in expected if line not in index] == []
    places = [index.index(f"({note.name})") for note in notes]
    assert places == sorted(places)
