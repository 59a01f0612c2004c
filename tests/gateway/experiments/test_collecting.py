"""The ways of collecting: one record each, and the only place that knows them by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from gateway.config.experiments import Collect
from gateway.config.feedback import FeedbackSpec
from gateway.experiments.collecting import WAY_OF_NUMBER, WAYS, Way

ROOT = Path(__file__).parents[3]
# The words a file may say, the table, and the demo's own configuration files.
MAY_NAME_WAYS = {
    "gateway/config/experiments.py",
    "gateway/experiments/collecting.py",
    "gateway/demo/scene.py",
}
FEEDBACK = FeedbackSpec.model_validate({"signals": {"thumb": 1, "copied": 0.5}, "tie_margin": 0.1})


def test_every_way_the_configuration_knows_has_a_record() -> None:
    """Every way in the configuration has a record, and every record has a name there."""
    assert set(WAYS) == set(get_args(Collect))
    assert all(way.name == name for name, way in WAYS.items())


def test_numbers_in_sealed_ids_are_never_given_again() -> None:
    """Ids sealed by an earlier version still open as what they were; a side and the unassigned fit beside."""
    assert [WAYS[name].number for name in ("matched", "side_by_side", "regenerate", "shadow")] == [0, 1, 2, 3]
    assert len(WAY_OF_NUMBER) == len(WAYS)
    assert all(0 <= number <= 126 for number in WAY_OF_NUMBER)


@pytest.mark.parametrize(
    ("name", "rules", "sources"),
    [
        (
            "matched",
            {"signals": {"thumb": 1.0, "copied": 0.5}, "tie_margin": 0.1},
            ("matched:thumb", "matched:copied"),
        ),
        ("side_by_side", {}, ("side_by_side",)),
        (
            "regenerate",
            {"kept": {"similarity": 0.5, "neither": "tie", "identical": "tie"}},
            ("regenerate",),
        ),
    ],
)
def test_rules_and_sources_are_those_of_evidence_already_stored(
    name: Collect, rules: dict[str, object], sources: tuple[str, ...]
) -> None:
    """The rules are part of an experiment's fingerprint, the sources of its log."""
    way = WAYS[name]
    signals = ("thumb", "copied") if way.rates_answers else (None,)
    assert way.outcome_rules(FEEDBACK) == rules
    assert tuple(way.source(signal) for signal in signals) == sources


@pytest.mark.parametrize("way", WAYS.values(), ids=lambda way: way.name)
def test_evidence_under_another_hold_means_something_else(way: Way) -> None:
    """The age at which a unit's outcome counts is part of the meaning of the evidence."""
    shorter, longer = (
        way.outcome_rules(FeedbackSpec.model_validate({**FEEDBACK.model_dump(), "hold": hold}))
        for hold in ("60m", "90m")
    )
    assert "hold_seconds" not in way.outcome_rules(FEEDBACK)
    assert (shorter["hold_seconds"], longer) == (3600.0, {**shorter, "hold_seconds": 5400.0})


@pytest.mark.parametrize(("name", "paid_for"), [("matched", 2), ("side_by_side", 2), ("regenerate", 1)])
def test_a_comparison_takes_two_answers_of_which_users_ask_for_one_anyway_where_they_ask_again(
    name: Collect, paid_for: int
) -> None:
    """What estimates count with: answers of one unit or of two, those aside that no experiment causes."""
    assert WAYS[name].answers_per_unit * WAYS[name].units_per_comparison == paid_for


def _names_of_ways(path: Path) -> Iterator[int]:
    """Lines with a string that is the name of a way, or a source in the words of the log."""
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Constant) and str(node.value).partition(":")[0] in WAYS:
            yield node.lineno


def test_no_other_module_knows_a_way_by_its_name() -> None:
    """A way that is added reaches every room by its record: no file compares with names."""
    modules = [*(ROOT / "gateway").rglob("*.py"), *(ROOT / "policy_store").rglob("*.py")]
    naming = {str(path.relative_to(ROOT)) for path in modules if any(_names_of_ways(path))}
    others = [
        str(path.relative_to(ROOT))
        for suffix in ("js", "lua", "j2")
        for package in ("gateway", "policy_store")
        for path in (ROOT / package).rglob(f"*.{suffix}")
        if any(f"{quote}{name}{quote}" in path.read_text() for name in WAYS for quote in "'\"")
    ]
    assert naming == MAY_NAME_WAYS
    assert others == []
