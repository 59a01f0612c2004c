"""Pictures: the files that are written, and the error if they cannot be."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from gateway.llm_po.lab.simulate import METHODS, Summary, Trial
from gateway.llm_po.lab.worlds import bradley_terry
from gateway.plotting import line_style
from gateway.simulation.plots import PlotError, draw
from gateway.simulation.runner import Job, run_jobs

WORLD = bradley_terry("two words / slash", [1.5, 0.0])


def _results(*rules: tuple[str, str]) -> list[tuple[Job, Summary]]:
    jobs = [
        Job(f"{method} {stopping}", Trial(WORLD, method, stopping), 10, budgets=(5, 20, 80))
        for method, stopping in rules
    ]
    return list(zip(jobs, run_jobs(jobs, processes=1).values(), strict=True))


def test_three_pictures_are_drawn_of_a_world_in_both_formats(tmp_path: Path) -> None:
    """Named after the world, fit for a file system; each opens as what its name says."""
    written = draw(tmp_path / "new", _results(("llm-po", "e-process"), ("round-robin", "e-process")))

    assert {path.name for path in written} == {
        f"two_words_slash-{kind}.{suffix}"
        for kind in ("comparisons", "selection", "evidence")
        for suffix in ("png", "svg")
    }
    for path in written:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
        else:
            assert ET.parse(path).getroot().tag.endswith("svg")  # noqa: S314 - written just now


def test_no_evidence_is_drawn_where_no_rule_goes_by_it(tmp_path: Path) -> None:
    """Runs under a likelihood ratio have no evidence to draw."""
    written = draw(tmp_path, _results(("llm-po", "glr")))

    assert {path.stem.rpartition("-")[2] for path in written} == {"comparisons", "selection"}


def test_no_two_lines_of_a_picture_look_the_same(tmp_path: Path) -> None:
    """Colours run out before methods and rules do: then the stroke tells them apart, also without colour."""
    rules = [(method, rule) for method in METHODS for rule in ("e-process", "glr")]
    draw(tmp_path, _results(*rules))

    drawn = (tmp_path / "two_words_slash-selection.svg").read_text(encoding="utf-8")
    legend = drawn[drawn.index('id="legend_1"') :]
    styles = re.findall(r'style="fill: none;[^"]*stroke-width: 1.5[^"]*"', legend)
    assert len(styles) == len(set(styles)) == len(rules)
    assert len({tuple(line_style(number).items()) for number in range(32)}) == 32


def test_missing_library_is_said_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures are an extra."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(PlotError, match=r"llmpo-gateway\[plots\]"):
        draw(tmp_path, [])


def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file stands where the directory should be."""
    (tmp_path / "taken").write_text("")

    with pytest.raises(PlotError, match="taken"):
        draw(tmp_path / "taken", _results(("llm-po", "e-process")))
