"""Verdicts: what each certificate asks for, who is chosen among equals, and what holds a decision back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from gateway.llm_po import glr
from gateway.llm_po.bradley_terry import fit
from gateway.llm_po.errors import DesignError
from gateway.llm_po.evidence import Tally
from gateway.llm_po.forecast import doubts
from gateway.llm_po.lines import elimination_threshold, no_worse_nano_nats
from gateway.llm_po.stopping import (
    Design,
    beaten_nats,
    conclusion,
    may_conclude,
    progress,
    verdict,
)
from gateway.llm_po.wins import IntArray, WinMatrix, majority_cycle

LINE = no_worse_nano_nats(0.05, 3)


def _design(epsilon: float = 0.0, **changes: object) -> Design:
    plain = {"delta": 0.05, "epsilon": epsilon, "incumbent": 0, "costs": (0.0, 0.0, 0.0)}
    return Design(**{**plain, **changes})


def _tally(
    wins: object = None, evidence: object = None, eliminated: tuple[bool, ...] = (False,) * 3
) -> Tally:
    zeros = np.zeros((3, 3), dtype=np.int64)
    counted = zeros if wins is None else np.array(wins)
    reached = zeros if evidence is None else np.array(evidence)
    return Tally(counted, zeros, reached, np.array(eliminated), int(counted.sum()))


CLEAR = [[0, 40, 45], [10, 0, 30], [5, 20, 0]]
CYCLE = [[0, 80, 20], [20, 0, 80], [80, 20, 0]]


def test_last_one_standing_is_the_winner() -> None:
    """The winner is ahead of all others, which are all eliminated."""
    tally = _tally(CLEAR, eliminated=(False, True, True))

    reached = conclusion(tally, _design(), fit(tally.wins[None]))

    assert reached is not None
    assert (reached.kind, reached.champion) == ("winner", 0)
    assert reached.threshold_nats == pytest.approx(math.log(20))


def test_two_standing_decide_nothing() -> None:
    """Two remaining policies are one elimination short of a winner."""
    assert verdict(_tally(CLEAR, eliminated=(False, False, True)), _design()) is None


def test_nobody_standing_is_no_winner_with_its_cycle() -> None:
    """Everyone eliminated: the cycle is shown, each ahead of the next."""
    tally = _tally(CYCLE, eliminated=(True, True, True))

    reached = verdict(tally, _design())

    assert reached is not None
    assert (reached.kind, reached.champion) == ("no_winner", None)
    rates = tally.win_matrix.rates
    assert all(
        rates[a, b] > 0.5 for a, b in zip(reached.cycle, reached.cycle[1:] + reached.cycle[:1], strict=True)
    )
    assert len(reached.cycle) == 3


def test_survivor_of_a_cycle_waits_until_it_is_cleared() -> None:
    """The ledger alone would promote it; what beats it holds that back, and a budget ends the wait."""
    tally = _tally(CYCLE, eliminated=(False, True, True))
    model = fit(tally.wins[None])

    assert verdict(tally, _design()) is not None
    assert doubts(model, 0).tolist() == [2]
    assert conclusion(tally, _design(), model) is None
    ended = conclusion(tally, _design(max_comparisons=300), model)
    assert ended is not None
    assert ended.kind == "inconclusive"


def test_no_worse_asks_for_evidence_from_every_rival() -> None:
    """One rival a nano-nat short is one too many."""
    full = [[0, 0, 0], [LINE, 0, 0], [LINE, 0, 0]]
    short = [[0, 0, 0], [LINE, 0, 0], [LINE - 1, 0, 0]]

    reached = verdict(_tally(evidence=full), _design(0.02))

    assert reached is not None
    assert (reached.kind, reached.champion) == ("no_worse", 0)
    assert verdict(_tally(evidence=short), _design(0.02)) is None


def test_among_the_certified_the_cheapest_then_the_incumbent_is_taken() -> None:
    """Costs first; equal costs leave the incumbent in place; then the lower index."""
    everyone = _tally(evidence=(np.ones((3, 3), dtype=np.int64) - np.eye(3, dtype=np.int64)) * LINE)

    def champion(**changes: object) -> int | None:
        reached = verdict(everyone, _design(0.02, **changes))
        assert reached is not None
        return reached.champion

    assert champion(costs=(2.0, 1.0, 1.0), incumbent=2) == 2
    assert champion(costs=(2.0, 1.0, 1.0), incumbent=0) == 1
    assert champion(incumbent=1) == 1


def test_likelihood_ratio_rule_takes_the_cheapest_too() -> None:
    """Two policies that tie are both no worse within a wide margin: the rule that decides does not matter."""
    wins = np.array([[0, 500], [500, 0]])
    plain = {"delta": 0.05, "epsilon": 0.2}

    dear, cheap = (Design(**plain, incumbent=0, costs=costs) for costs in ((2.0, 1.0), (1.0, 2.0)))

    for design, champion in ((dear, 1), (cheap, 0)):
        reached = glr.glr_verdict(wins, design)
        assert reached is not None
        assert (reached.kind, reached.champion) == ("no_worse", champion)


@pytest.mark.parametrize("name", ["stopping", "objective"])
def test_rules_that_do_not_exist_are_refused(name: str) -> None:
    """The error gives the name and the value, and lists the rules that exist."""
    with pytest.raises(DesignError, match=f"{name} is 'luck'; choose one of"):
        _design(**{name: "luck"})


def test_shown_cycle_ends_without_a_winner_at_a_margin() -> None:
    """Every policy is beaten by more than epsilon, from the counts alone."""
    reached = verdict(_tally(CYCLE), _design(0.02))

    assert reached is not None
    assert reached.kind == "no_winner"
    assert reached.cycle
    assert verdict(_tally(CLEAR), _design(0.02)) is None


def test_a_policy_that_is_not_beaten_keeps_a_margin_undecided() -> None:
    """That the policy with most wins is beaten is not enough for the verdict that all are."""
    most_wins_but_beaten = [[0, 10, 400], [90, 0, 4], [20, 4, 0]]

    assert beaten_nats(np.array(most_wins_but_beaten), _design(0.02))[0] > math.log(20)
    assert verdict(_tally(most_wins_but_beaten), _design(0.02)) is None


@pytest.mark.parametrize("above", [0.0, 0.05, 0.3])
def test_evidence_of_being_beaten_is_a_supermartingale(above: float) -> None:
    """The mean over all outcomes of six comparisons is at most one for a policy that none beats."""
    design = _design(0.02)
    chance = 0.5 - design.epsilon + above
    pairs = [(0, 1), (0, 2), (0, 1), (0, 1), (0, 2), (0, 2)]

    expected = sum(
        weight * math.exp(float(beaten_nats(wins, design)[0])) for wins, weight in _all(pairs, chance)
    )

    assert expected <= 1 + 1e-9
    assert beaten_nats(np.zeros((3, 3), dtype=np.int64), design) == pytest.approx(np.zeros(3))


def test_batch_shortcut_misses_no_verdict() -> None:
    """Runs it passes over have no verdict; runs with one are never passed over."""
    rng = np.random.default_rng(0)
    for epsilon in (0.0, 0.02):
        design = _design(epsilon)
        for _ in range(300):
            wins = rng.integers(0, 60, (3, 3)) * (1 - np.eye(3, dtype=np.int64))
            evidence = rng.integers(LINE // 2, LINE + LINE // 3, (3, 3)) * (1 - np.eye(3, dtype=np.int64))
            tally = _tally(wins, evidence, tuple(rng.random(3) < 0.7))
            asked = may_conclude(wins[None], evidence[None], tally.eliminated[None], design)[0]
            assert bool(asked) == (verdict(tally, design) is not None)


def test_decision_waits_for_the_caller_and_for_the_fewest_comparisons() -> None:
    """Neither certificate nor budget decides before that."""
    tally = _tally(CLEAR, eliminated=(False, True, True))

    assert verdict(tally, _design(may_decide=False)) is None
    assert verdict(tally, _design(min_comparisons=151)) is None
    assert verdict(tally, _design(min_comparisons=150)) is not None


def test_budget_ends_inconclusively_and_a_certificate_goes_first() -> None:
    """A spent budget promotes nothing without evidence, and with evidence the certificate stands."""
    spent = _design(max_comparisons=150)

    undecided = verdict(_tally(CLEAR), spent)
    decided = verdict(_tally(CLEAR, eliminated=(False, True, True)), spent)

    assert undecided is not None
    assert (undecided.kind, undecided.champion) == ("inconclusive", None)
    assert decided is not None
    assert decided.kind == "winner"


def test_elimination_shows_as_full_though_its_total_fell_later() -> None:
    """An elimination is shown as full once its line was reached."""
    nats, needed = progress(_tally(CLEAR, eliminated=(False, True, True)), _design())

    assert nats.tolist() == [0.0, needed[1], needed[2]]
    assert needed == pytest.approx(np.full(3, elimination_threshold(0.05)))


def test_progress_at_a_margin_is_the_least_evidence_of_any_rival() -> None:
    """A policy is as far as its least convinced rival."""
    nats, _ = progress(
        _tally(evidence=[[0, 7, 0], [2_000_000_000, 0, 0], [1_000_000_000, 5, 0]]), _design(0.02)
    )

    assert nats.tolist() == [1.0, 5e-9, 0.0]


def test_order_has_no_cycle() -> None:
    """Transitive majorities never return."""
    assert majority_cycle(WinMatrix(np.array(CLEAR))) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta": 0.0}, "delta is 0.0"),
        ({"delta": math.nan}, "delta is nan"),
        ({"epsilon": 0.5}, "epsilon is 0.5"),
        ({"epsilon": -0.1}, "epsilon is -0.1"),
        ({"costs": (1.0,)}, "costs has 1"),
        ({"costs": (1.0, math.nan, 0.0)}, "costs is"),
        ({"costs": (1.0, -1.0, 0.0)}, "costs is"),
        ({"incumbent": 3}, "incumbent is 3"),
        ({"incumbent": -1}, "incumbent is -1"),
        ({"max_comparisons": 0}, "max_comparisons is 0"),
        ({"min_comparisons": -1}, "min_comparisons is -1"),
    ],
)
def test_design_out_of_range_is_refused(change: dict[str, object], message: str) -> None:
    """The message names the field and its value."""
    with pytest.raises(DesignError, match=message):
        _design(**{"epsilon": 0.0, **change})


def _all(pairs: list[tuple[int, int]], chance: float) -> Iterator[tuple[IntArray, float]]:
    """Every sequence of outcomes, as counts, with its probability."""
    for outcome in product((True, False), repeat=len(pairs)):
        wins, weight = np.zeros((3, 3), dtype=np.int64), 1.0
        for (low, high), preferred in zip(pairs, outcome, strict=True):
            wins[(low, high) if preferred else (high, low)] += 1
            weight *= chance if preferred else 1 - chance
        yield wins, weight
