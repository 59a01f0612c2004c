"""The commands that the documentation names exist, with their options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from gateway.cli import COMMANDS
from tests.docs.test_named_paths import PAGES, ROOT, tokens

LINE = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S* )*llmpo ([a-z].*)$", re.MULTILINE)
OPTION = re.compile(r"(?<!\S)--[a-z][\w-]*")


@cache
def options() -> dict[str, set[str]]:
    """The options of every command, by the words that it is called with."""
    found = {}
    for name, listed in COMMANDS.items():
        command = listed.load()
        inner = {f"{name} {own}": each for own, each in getattr(command, "commands", {}).items()}
        for words, each in {name: command, **inner}.items():
            found[words] = {option for parameter in each.params for option in parameter.opts}
    return found


def unknown(page: Path) -> Iterator[str]:
    """What a page names in code type and `llmpo` does not know."""
    for token in tokens(page):
        if token.type not in {"code_inline", "fence"}:
            continue
        for line in LINE.findall(token.content.replace("\\\n", " ")):
            name, *others = line.split()
            has_inner = any(words.startswith(f"{name} ") for words in options())
            inner = others[0].split("|") if has_inner and others and others[0].islower() else [""]
            for command in (f"{name} {own}".rstrip() for own in inner):
                if command not in options():
                    yield command
                else:
                    asked = set(OPTION.findall(line)) - {"--help"} - options()[command]
                    yield from (f"{command} {option}" for option in sorted(asked))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_a_page_names_exist(page: Path) -> None:
    """One that is gone, or was only ever planned, is named by no page."""
    assert list(unknown(page)) == []
