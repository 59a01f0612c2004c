"""`make measures` counts what it says it counts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.measures import Spread, measured, modules

ROOT = Path(__file__).parents[2]

FIRST = '''"""A module."""

from typing import Final

from typing_extensions import override

LIMIT: Final = 1
SIZE = 2
shared = 3


# A comment on a line of its own.
class Shop:
    """Sells."""

    def __init__(self) -> None:
        self._open()

    def _open(self) -> None:
        """Counts as used once."""
        def inner():
            pass  # a comment behind code

    @override
    def sell(self) -> int:
        return _price() + _price()

    def undocumented(self): ...


def _price() -> int:
    return (
        SIZE
    )
'''
SECOND = "shared = 4\n\n\nclass Shop:\n    pass\n"


def test_each_measure_counts_what_it_says(tmp_path: Path) -> None:
    """Two small modules whose measures are known by hand."""
    for name, text in {"gateway/first.py": FIRST, "policy_store/second.py": SECOND}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    found = measured(modules(tmp_path))
    assert found.module_lines == Spread(19.5, 34, 34)
    assert found.function_lines == Spread(1, 2, 3)
    assert found.documented == 1 / 4  # of __init__, inner, sell and undocumented, only sell: as an override
    assert found.used_once == 1 / 5  # _open, of the five that are not nested
    assert found.defined_twice == {
        "Shop": ["gateway/first.py", "policy_store/second.py"],
        "shared": ["gateway/first.py", "policy_store/second.py"],
    }
    assert (found.without_final, found.constants) == (1, 2)
    assert found.comments == 1000 / 39


def test_the_command_prints_a_tree(tmp_path: Path) -> None:
    """Every measure has its line, and the names are listed on request."""
    for name in ("gateway/cli", "policy_store/scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    printed = subprocess.run(
        [sys.executable, "-m", "benchmarks.measures", "--names", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
    assert "lines of functions" in printed
    assert "public names defined twice" in printed
    assert "gateway/cli/__init__.py" in printed
