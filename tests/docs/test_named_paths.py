"""What the documentation names exists: files, folders, modules, pages and the headings links lead to."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")]
)
# A name in the text may start at the top, at the folder of the server's rooms, or at that of the scripts.
STARTS = (ROOT, ROOT / "gateway", ROOT / "policy_store" / "scripts")
FOLDERS = {folder.name for start in STARTS for folder in start.iterdir() if folder.is_dir()}
FILES = {
    path.name
    for top in ("gateway", "policy_store", "tests", "benchmarks", "deploy")
    for path in (ROOT / top).rglob("*")
}
SOURCE = re.compile(r"[\w*-]+\.(py|lua)")
PATH = re.compile(r"(\.?[\w-]+)(/[\w.*-]+)+/?")
MODULE = re.compile(r"(?:gateway|policy_store)(?:\.(?!ya?ml\b)\w+)+")
IN_A_DIAGRAM = re.compile(r"\b([a-z_]+)/[a-z0-9_]+\b")


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    """The parts of a page, each before those inside of it."""
    parsed = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    return tuple(part for token in parsed for part in (token, *(token.children or ())))


def _exists(name: str, page: Path) -> bool:
    return any(
        True
        for start in (*STARTS, page.parent)
        for found in (name, f"{name}.py")
        for _ in start.glob(found.rstrip("/"))
    )


def _is_module_name(name: str) -> bool:
    """Whether a dotted name is a module, or something its module's source mentions."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        if path.is_dir() and length == len(parts):
            return True
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.exists():
                source = file.read_text(encoding="utf-8")
                return all(re.search(rf"\b{part}\b", source) for part in parts[length:])
    return False


def missing_names(page: Path) -> list[str]:
    """What a page names in code type or in a diagram, and what there is not."""
    missing = []
    for token in tokens(page):
        text = token.content.strip()
        if token.type == "code_inline":
            path = PATH.fullmatch(text)
            if SOURCE.fullmatch(text):
                found = "*" in text or text in FILES
            elif path and (path[1] in FOLDERS or text.endswith((".py", ".lua"))):
                found = _exists(text, page)
            elif MODULE.fullmatch(text):
                found = _is_module_name(text)
            else:
                continue
            if not found:
                missing.append(text)
        elif token.type == "fence" and token.info == "mermaid":
            named = (match for match in IN_A_DIAGRAM.finditer(text) if match[1] in FOLDERS)
            missing += [match[0] for match in named if not _exists(match[0], page)]
    return missing


@cache
def _anchors(page: Path) -> set[str]:
    parts = tokens(page)
    titles = (after.content for token, after in pairwise(parts) if token.type == "heading_open")
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path) -> list[str]:
    """Links of a page that lead to no file, or to a heading the file does not have."""
    broken = []
    for token in tokens(page):
        target = str(token.attrGet("href") or token.attrGet("src") or "")
        if not target or ":" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_exists(page: Path) -> None:
    """Every path and module named in code type or in a diagram is there."""
    assert missing_names(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link leads to a file, and to a heading it has."""
    assert broken_links(page) == []


def test_wrong_names_are_noticed(tmp_path: Path) -> None:
    """Missing names of each kind are distinguished from existing ones."""
    page = tmp_path / "page.md"
    page.write_text(
        "`gateway/errors.py` `gateway/absent.py` `serving/routing.py` `serving/absent.py` `routing.py` "
        "`absent.lua` `prompts/judge.j2` `gateway.yaml` "
        "`policy_store.experiment.Experiment.sources` `policy_store.experiment.Absent` "
        "`application/json` [here](#a-heading) [not](#none) [gone](gone.md)\n\n# A `heading`\n\n"
        "```mermaid\nflowchart LR\n  a[serving/routing] --> b[api/absent]\n```\n"
    )
    assert missing_names(page) == [
        "gateway/absent.py",
        "serving/absent.py",
        "absent.lua",
        "policy_store.experiment.Absent",
        "api/absent",
    ]
    assert broken_links(page) == ["#none", "gone.md"]
