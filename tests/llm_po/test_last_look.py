"""The look at the end of a budget: a lower line, and nothing but promotions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gateway.llm_po.bradley_terry import fit
from gateway.llm_po.certificate import certificate, recompute
from gateway.llm_po.errors import DesignError
from gateway.llm_po.evidence import Ledger, Tally
from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.simulate import simulate
from gateway.llm_po.lab.trial import Trial
from gateway.llm_po.last_look import with_last_look
from gateway.llm_po.lines import NANO, last_look_nano_nats
from gateway.llm_po.rules import reached
from gateway.llm_po.stopping import Design, Verdict

BUDGET = 40
END = Verdict("inconclusive", None, None, None)


def design(uniform: float | None = 0.1, **changes: Any) -> Design:
    """Three policies that cost the same, and a budget."""
    stated: dict[str, Any] = {"delta": 0.05, "epsilon": 0.0, "costs": (0.0, 0.0, 0.0), "incumbent": 0}
    return Design(**stated | {"max_comparisons": BUDGET, "last_look": uniform} | changes)


def tally(evidence: list[list[float]], **changes: Any) -> Tally:
    """All of the budget between the first two, and evidence in nats."""
    policies = len(evidence)
    wins = np.zeros((policies, policies), dtype=np.int64)
    wins[0, 1] = BUDGET
    nano = np.rint(np.array(evidence) * NANO).astype(np.int64)
    none = np.zeros(policies, dtype=np.bool_)
    return replace(Tally(wins, np.zeros_like(wins), nano, none, BUDGET), **changes)


def test_line_falls_by_the_logarithm_of_the_number() -> None:
    """With u = 1 it is the usual line, with u = 0.1 it takes 2.3 nats less, and it stays above nothing."""
    assert last_look_nano_nats(3.0, 1.0) == 3 * NANO
    assert last_look_nano_nats(3.0, 0.1) == math.ceil((3.0 + math.log(0.1)) * NANO)
    assert last_look_nano_nats(3.0, 0.001) == 1


@pytest.mark.parametrize(
    ("uniform", "kind"), [(0.1, "winner"), (0.9, "inconclusive"), (None, "inconclusive")]
)
def test_policy_left_over_by_the_lower_line_is_promoted(uniform: float | None, kind: str) -> None:
    """Policies 1 and 2 have 1.2 and 1 nats against them: enough for u/delta = 2, not for 18."""
    found = reached(tally([[0, -1, 0], [1.2, 0, 0], [1.0, 0, 0]]), design(uniform))

    assert found is not None
    assert (found.kind, found.by_last_look) == (kind, kind == "winner")
    if kind == "winner":
        assert (found.champion, found.statistic_nats) == (0, 1.0)
        assert found.threshold_nats == pytest.approx(math.log(0.1 / 0.05))


def test_of_policies_that_all_pass_the_one_with_most_behind_it_is_promoted() -> None:
    """With a number near 0 the line is passed by everything; the eliminated are never promoted."""
    against = [[0, 0.2, 0], [0.3, 0, 0], [0.1, 0, 0]]
    low = design(1e-6)
    assert reached(tally(against), low).champion == 2  # type: ignore[union-attr]

    out = np.array([False, False, True])
    assert reached(tally(against, eliminated=out), low).champion == 0  # type: ignore[union-attr]


def test_nothing_is_promoted_without_evidence() -> None:
    """However small the number, evidence of zero, or against a promotion, is not enough."""
    for against in ([[0.0] * 3] * 3, [[0.0] * 3, [-1.0, 0, 0], [-1.0, 0, 0]]):
        assert reached(tally(against), design(1e-9)) == END


def test_usual_verdict_stands_and_the_look_waits_for_the_end() -> None:
    """The look is only where the budget ended without a decision."""
    certain = tally([[0, 0, 0], [4.0, 0, 0], [4.0, 0, 0]], eliminated=np.array([False, True, True]))
    found = reached(certain, design(0.1))
    assert found is not None
    assert not found.by_last_look

    early = design(0.1, max_comparisons=BUDGET + 1)
    assert reached(tally([[0, 0, 0], [1.2, 0, 0], [1.0, 0, 0]]), early) is None


@pytest.mark.parametrize("promise", ["no_worse_than_any", "no_worse_than_best"])
def test_margin_takes_the_lower_line_of_its_own_promise(promise: str) -> None:
    """log(K u/delta) for every rival, or log(u/delta) for every rival as the best."""
    line = math.log((3 if promise == "no_worse_than_any" else 1) * 0.1 / 0.05)
    margin = design(0.1, epsilon=0.02, promise=promise)
    enough, less = line + 1e-6, line - 1e-6
    for least, is_promoted in ((enough, True), (less, False)):
        against = tally([[0, -1, -1], [enough, 0, 0], [least, 0, 0]])
        found = reached(replace(against, at_half=np.zeros_like(against.wins)), margin)
        assert found is not None
        assert (found.champion == 0) is is_promoted


def test_promotion_in_doubt_is_held_back_as_at_any_other_time() -> None:
    """Where a winner is assumed the posterior must agree: odds of 4 to 1 against each rival."""
    against = tally([[0, -1, 0], [1.2, 0, 0], [1.0, 0, 0]])
    found = with_last_look(END, against, design(0.1), fit(against.wins[None]))

    assert found == END  # policy 2 was compared with nothing


@pytest.mark.parametrize("uniform", [0.0, 1.5, float("nan"), True, "0.5"])
def test_number_outside_its_range_is_refused(uniform: Any) -> None:
    """It is uniform in (0, 1]."""
    with pytest.raises(DesignError, match="last_look"):
        design(uniform)


@pytest.mark.parametrize("changes", [{"max_comparisons": None}, {"stopping": "glr"}])
def test_look_without_a_budget_or_exact_evidence_is_refused(changes: dict[str, Any]) -> None:
    """There is no end to look at, or nothing that Ville's inequality bounds."""
    with pytest.raises(DesignError, match="last_look"):
        design(0.5, **changes)


def test_certificate_says_what_the_look_did_and_is_recomputed() -> None:
    """Number, lowered line and assumption are stated; another number no longer gives the decision."""
    ledger = Ledger(2, 0.05, 0.0)
    log = [_Line(number) for number in range(1, 9)]
    for _ in log:
        ledger.count(0, 1, "win", 600_000)
    two = design(0.1, costs=(0.0, 0.0), max_comparisons=8)
    found = reached(ledger.tally(), two)
    assert found is not None
    stored = certificate(found, ledger.tally(), two, ledger.eliminated_at)

    assert stored["last_look"] == {"uniform": 0.1, "decided": True}
    assert "last look" in stored["assumption"]
    assert recompute(log, stored).is_confirmed
    changed = {**stored, "last_look": {"uniform": 0.9, "decided": True}}
    assert "outcome" in " ".join(recompute(log, changed).differences)


class _Line:
    """A logged comparison that policy 0 wins."""

    first, second, result, probability_millionths, second_millionths = 0, 1, "win", 600_000, None
    plan_version = 1

    def __init__(self, number: int) -> None:
        self.number = number


def test_look_decides_more_runs_and_is_wrong_no_more_often() -> None:
    """At a budget of one T more runs end decided; at a wrong margin's edge at most delta are wrong."""
    clear = worlds.named("clear", np.array([[0.5, 0.6], [0.4, 0.5]]))
    budget = round(Trial(clear).yardstick)
    with_look, without = (
        simulate(Trial(clear, max_comparisons=budget, last_look=look), 150, seed=2) for look in (True, False)
    )
    assert with_look.outcomes["winner"] > without.outcomes["winner"]
    assert with_look.wrong <= 7

    equals = worlds.named("equals", np.array([[0.5, 0.5201], [0.4799, 0.5]]))
    at_edge = simulate(
        Trial(equals, epsilon=0.02, max_comparisons=60, last_look=True, delta=0.2), 150, seed=4
    )
    assert at_edge.wrong <= 30 + 2 * math.sqrt(30)
    assert at_edge.to_json()["last_look"]
