"""A certificate can be recomputed from the log alone, and nothing in it can be changed unnoticed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gateway.llm_po.certificate import certificate, recompute
from gateway.llm_po.errors import DesignError, ReplayError
from gateway.llm_po.evidence import Ledger
from gateway.llm_po.lab.worlds import World, bradley_terry, cycle
from gateway.llm_po.plan import Design, plan
from gateway.llm_po.stopping import no_worse_verdict, verdict
from tests.llm_po.running import Line, play

BEST: dict[str, Any] = {"promise": "no_worse_than_best"}
Decided = tuple[dict[str, Any], list[Line]]


def _decide(world: World, epsilon: float, seed: int, **changes: Any) -> Decided:
    design = Design(0.05, epsilon, 0, (0.0,) * world.policies, **{"max_comparisons": 3_000, **changes})
    ledger, log = play(world, design, seed=seed, most=4_000, ties=0.1)
    reached = plan(ledger.tally(), design, np.random.default_rng(0)).verdict
    assert reached is not None
    stored = certificate(reached, ledger.tally(), design, ledger.eliminated_at)
    return json.loads(json.dumps(stored)), log


@pytest.fixture(scope="module")
def decided() -> Decided:
    """A finished experiment: what was stored, and its log."""
    return _decide(bradley_terry("b", [1.2, 0.0, -0.4]), 0.0, seed=5)


@pytest.mark.parametrize(
    ("world", "epsilon", "changes", "outcome"),
    [
        (bradley_terry("clear", [1.2, 0.0, -0.4]), 0.0, {}, "winner"),
        (bradley_terry("clear", [1.2, 0.0, -0.4]), 0.02, {}, "no_worse"),
        (cycle("cycle", 3, 0.85), 0.0, {}, "no_winner"),
        (cycle("cycle", 3, 0.85), 0.02, {}, "no_winner"),
        (bradley_terry("equal", [0.0, 0.0]), 0.02, {"max_comparisons": 30}, "inconclusive"),
        (bradley_terry("clear", [1.2, 0.0, -0.4]), 0.02, BEST, "no_worse"),
        (cycle("cycle", 3, 0.85), 0.02, BEST, "no_winner"),
        (bradley_terry("equal", [0.0, 0.0]), 0.02, {"max_comparisons": 30, **BEST}, "inconclusive"),
    ],
)
def test_every_outcome_is_confirmed_by_its_log(
    world: World, epsilon: float, changes: dict[str, Any], outcome: str
) -> None:
    """The replay gives the same integers, eliminations and verdict, ties included."""
    stored, log = _decide(world, epsilon, 11, **changes)

    found = recompute(log, stored)

    assert stored["outcome"] == outcome
    assert found.is_confirmed, found.differences
    assert found.comparisons == stored["comparisons"] == len(log)


def test_comparisons_after_the_decision_do_not_matter(decided: Decided) -> None:
    """The certificate rests on the first so many lines; later ones are not read."""
    stored, log = decided
    later = [replace(log[-1], number=log[-1].number + extra) for extra in (1, 2)]

    assert recompute([*log, *later], stored).is_confirmed


def test_comparison_before_the_first_plan_counts_without_evidence() -> None:
    """Plan version 0 means no forecast had been published."""
    first = Line(1, 0, 1, "win", 500_000, 0)
    stored, log = _decide(bradley_terry("b", [1.2, 0.0]), 0.02, seed=3)
    moved = [first, *(replace(line, number=line.number + 1) for line in log)]
    stored["comparisons"] += 1
    stored["wins"][0][1] += 1
    stored["eliminated_at"] = [at and at + 1 for at in stored["eliminated_at"]]

    assert recompute(moved, stored).is_confirmed


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("champion", 1),
        ("outcome", "no_winner"),
        ("statistic_nats", 99.0),
        ("threshold_nats", 1.0),
        ("wins", [[0, 1, 1], [0, 0, 0], [0, 0, 0]]),
        ("evidence_nano_nats", [[0] * 3] * 3),
        ("eliminated_at", [None, 1, 2]),
        ("cycle", [0, 1, 2]),
    ],
)
def test_changed_certificate_is_found_out(decided: Decided, field: str, value: object) -> None:
    """The difference names the field."""
    stored, log = decided

    found = recompute(log, {**stored, field: value})

    assert [difference.split(":")[0] for difference in found.differences] == [field]


@pytest.fixture(scope="module")
def no_worse_than_best() -> Decided:
    """A finished experiment that promised no more than the best not being ahead."""
    return _decide(bradley_terry("b", [1.2, 0.0, -0.4]), 0.02, seed=5, **BEST)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("evidence_at_half_nano_nats", [[0] * 3] * 3),
        ("evidence_nano_nats", [[0] * 3] * 3),
        ("statistic_nats", 99.0),
        ("champion", 2),
    ],
)
def test_changed_certificate_of_no_worse_than_best_is_found_out(
    no_worse_than_best: Decided, field: str, value: object
) -> None:
    """The second ledger and the champion's certification are recomputed like the first ledger."""
    stored, log = no_worse_than_best

    found = recompute(log, {**stored, field: value})

    assert [difference.split(":")[0] for difference in found.differences] == [field]


def test_certificate_of_one_promise_does_not_pass_for_the_other(no_worse_than_best: Decided) -> None:
    """The stronger promise asks for more evidence than there is."""
    stored, log = no_worse_than_best
    stronger = {**stored, "promise": "no_worse_than_any"}

    assert "outcome" in [each.split(":")[0] for each in recompute(log, stronger).differences]
    assert stored["assumption"].startswith("If some policy is preferred to every other")
    with pytest.raises(DesignError, match="promise is"):
        recompute(log, {**stored, "promise": "luck"})


def test_certificate_without_a_promise_is_of_the_one_there_was() -> None:
    """Certificates with a margin from before there was a choice promised no worse than any."""
    stored, log = _decide(bradley_terry("b", [1.2, 0.0, -0.4]), 0.02, seed=5)
    assert stored.pop("promise") == "no_worse_than_any"

    assert recompute(log, stored).is_confirmed


def test_any_policy_certified_as_no_worse_than_the_best_is_supported() -> None:
    """The cheapest that was cleared is promoted, and who was cleared is not recomputed."""
    log = [Line(number, 0, 2, "win", 50_000, 1) for number in range(1, 11)]
    log = [replace(line, probability_millionths=950_000) for line in log]
    log += [replace(line, number=line.number + 10, first=1) for line in log]
    design = Design(0.05, 0.2, 0, (2.0, 1.0, 0.0), **BEST)
    log += [Line(21 + n, 0, 1, ("win", "loss")[n % 2], 500_000, 1) for n in range(40)]
    ledger = Ledger(3, 0.05, 0.2, design.promise)
    for line in log:
        ledger.count(line.first, line.second, line.result, line.probability_millionths)
    cheaper = verdict(ledger.tally(), design)
    dearer = no_worse_verdict(0, ledger.tally(), design)
    assert cheaper is not None
    assert dearer is not None
    assert (cheaper.champion, dearer.champion) == (1, 0)

    for reached in (cheaper, dearer):
        stored = certificate(reached, ledger.tally(), design, ledger.eliminated_at)
        assert recompute(log, stored).is_confirmed
    assert no_worse_verdict(2, ledger.tally(), design) is None
    assert not recompute(log, {**stored, "champion": 2}).is_confirmed


@pytest.mark.parametrize(
    "change",
    [
        {"result": "tie"},
        {"probability_millionths": 123_456},
        {"second_millionths": 123_456},
        {"second": 2},
    ],
)
def test_changed_log_is_found_out(decided: Decided, change: dict[str, Any]) -> None:
    """One line told differently is one line too many."""
    stored, log = decided
    position = next(index for index, line in enumerate(log) if (line.result, line.second) == ("win", 1))

    assert not recompute(_with(log, position, **change), stored).is_confirmed


def test_stricter_error_level_than_the_run_supports_is_found_out(decided: Decided) -> None:
    """Claiming a smaller delta moves the threshold the evidence has to reach."""
    stored, log = decided

    assert not recompute(log, {**stored, "delta": 0.001}).is_confirmed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": 9}, "follows 3"),
        ({"first": 2, "second": 1}, "K is 3"),
        ({"second": 3}, "K is 3"),
        ({"result": "draw"}, "win, loss, tie"),
        ({"plan_version": 0}, "after plan"),
    ],
)
def test_what_is_no_log_is_refused(decided: Decided, change: dict[str, Any], message: str) -> None:
    """Gaps, unknown policies, unknown results and plans out of order stop the replay."""
    stored, log = decided

    with pytest.raises(ReplayError, match=message):
        recompute(_with(log, 3, **change), stored)


def test_log_that_ends_early_is_refused(decided: Decided) -> None:
    """A part of the log proves nothing."""
    stored, log = decided

    with pytest.raises(ReplayError, match="export it whole"):
        recompute(log[:-1], stored)


@pytest.mark.parametrize(
    "field", ["delta", "epsilon", "costs", "incumbent", "max_comparisons", "min_comparisons"]
)
def test_certificate_without_a_field_is_refused(decided: Decided, field: str) -> None:
    """What is missing is named."""
    stored, log = decided

    with pytest.raises(ReplayError, match=field):
        recompute(log, {key: value for key, value in stored.items() if key != field})


def _with(log: list[Line], position: int, **change: Any) -> list[Line]:
    return [*log[:position], replace(log[position], **change), *log[position + 1 :]]
