"""Policies come and go: evidence between those that stay is kept, and the promise with it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from gateway.llm_po.certificate import certificate, recompute
from gateway.llm_po.errors import DesignError, TallyError
from gateway.llm_po.evidence import Ledger, Tally, increments
from gateway.llm_po.lab.worlds import bradley_terry
from gateway.llm_po.lines import (
    NANO,
    Promise,
    best_nano_nats,
    best_threshold,
    elimination_nano_nats,
    no_worse_nano_nats,
    no_worse_threshold,
)
from gateway.llm_po.plan import Design, plan
from gateway.llm_po.samplers import Situation
from gateway.llm_po.stopping import beaten_nats
from gateway.llm_po.succession import GenerationStanding, Sources, succeed
from tests.llm_po.running import Line, play

DELTA = 0.05
LINE = elimination_nano_nats(DELTA)


def standing(
    evidence: list[list[int]], eliminated_at: tuple[int | None, ...], comparisons: int
) -> GenerationStanding:
    """So much evidence; every pair was compared equally often, won by the first, with one tie."""
    policies = len(evidence)
    wins = np.triu(np.full((policies, policies), comparisons), 1)
    ties = np.ones((policies, policies), dtype=np.int64) - np.eye(policies, dtype=np.int64)
    counted = int(wins.sum() + ties.sum() // 2)
    out = np.array([at is not None for at in eliminated_at])
    return GenerationStanding(Tally(wins, ties, np.array(evidence), out, counted), eliminated_at, policies)


def random_standing(rng: np.random.Generator, policies: int) -> GenerationStanding:
    """Evidence of either sign, debts, and eliminations that fit."""
    evidence = rng.integers(-2 * NANO, 2 * NANO, (policies, policies))
    np.fill_diagonal(evidence, 0)
    wins = rng.integers(0, 9, (policies, policies))
    np.fill_diagonal(wins, 0)
    debts = -rng.integers(0, NANO, policies)
    out = evidence.sum(axis=1) + debts >= LINE
    counted = int(wins.sum())
    tally = Tally(wins, np.zeros_like(wins), evidence, out, counted, debts)
    return GenerationStanding(tally, tuple(counted if each else None for each in out), policies + 2)


def test_removed_rival_leaves_a_debt_where_it_spoke_for_a_policy() -> None:
    """By hand: 2 is removed. It had spoken against 0 (dropped) and for 1 (kept as a debt)."""
    before = standing([[0, 1, 4], [2, 0, -3], [0, 0, 0]], (None, None, None), comparisons=10)

    after = succeed(before, (0, 1), DELTA)

    assert after.tally.evidence.tolist() == [[0, 1], [2, 0]]
    assert after.tally.debts.tolist() == [0, -3]
    assert after.tally.row_totals.tolist() == [1, -1]
    assert (after.tally.comparisons, after.policies_ever) == (11, 3)


def test_newcomer_starts_at_nothing_and_changes_nothing_between_the_others() -> None:
    """Names are sorted, so a newcomer may come in between: entries move, numbers stay."""
    before = standing([[0, 5], [-7, 0]], (None, 8), comparisons=10)

    after = succeed(before, (0, None, 1), DELTA)

    assert after.tally.evidence.tolist() == [[0, 0, 5], [0, 0, 0], [-7, 0, 0]]
    assert after.tally.wins.tolist() == [[0, 0, 10], [0, 0, 0], [0, 0, 0]]
    assert after.tally.ties.tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert after.eliminated_at == (None, None, 8)
    assert after.policies_ever == 3


def test_eliminated_policy_stays_out_when_policies_are_only_added() -> None:
    """A policy that is not best among fewer is not best among more, even if its total has fallen."""
    before = standing([[0, -1], [LINE - 5, 0]], (None, 3), comparisons=10)

    assert succeed(before, (0, 1, None), DELTA).eliminated_at == (None, 3, None)


@pytest.mark.parametrize(("left", "eliminated_at"), [(LINE, 11), (LINE - 1, None)])
def test_elimination_that_rested_on_a_removed_rival_is_undone(left: int, eliminated_at: int | None) -> None:
    """After a removal a policy is eliminated only if the remaining evidence reaches the line."""
    before = standing([[0, 0, 0], [left, 0, LINE], [0, 0, 0]], (None, 5, None), comparisons=10)

    assert succeed(before, (0, 1), DELTA).eliminated_at == (None, eliminated_at)


@pytest.mark.parametrize("seed", range(20))
def test_no_row_total_rises_by_a_change(seed: int) -> None:
    """This holds for any removals, because otherwise the row would not be a supermartingale."""
    rng = np.random.default_rng(seed)
    before = random_standing(rng, 6)
    kept = sorted(rng.choice(6, size=4, replace=False).tolist())

    once = succeed(before, kept, DELTA)
    twice = succeed(once, (0, None, 2, 3), DELTA)

    assert (once.tally.row_totals <= before.tally.row_totals[kept]).all()
    assert (twice.tally.row_totals[[0, 2, 3]] <= once.tally.row_totals[[0, 2, 3]]).all()
    assert twice.policies_ever == before.policies_ever + 1


def test_order_of_policies_does_not_matter() -> None:
    """Relabelling the policies relabels the answer."""
    before = random_standing(np.random.default_rng(3), 5)
    one = succeed(before, (0, 2, None, 4), DELTA)
    other = succeed(before, (4, None, 0, 2), DELTA)
    moved = [2, 3, 1, 0]

    assert (other.tally.evidence[np.ix_(moved, moved)] == one.tally.evidence).all()
    assert (other.tally.debts[moved] == one.tally.debts).all()
    assert tuple(other.eliminated_at[index] for index in moved) == one.eliminated_at


@pytest.mark.parametrize("sources", [(0, None), (0, 0, 1), (0, 3), (-1, 1)])
def test_impossible_sources_are_refused(sources: Sources) -> None:
    """Fewer than two kept, one named twice, or one there was not."""
    before = standing([[0, 0, 0]] * 3, (None, None, None), comparisons=1)
    with pytest.raises(TallyError):
        succeed(before, sources, DELTA)


def test_debt_above_zero_is_refused() -> None:
    """A positive debt would be evidence against a policy from a removed rival."""
    nothing = np.zeros((2, 2), dtype=np.int64)
    with pytest.raises(TallyError, match="debts"):
        Tally(nothing, nothing, nothing, np.zeros(2, dtype=np.bool_), 0, np.array([0, 1]))


def test_no_worse_threshold_counts_everybody_and_every_removal() -> None:
    """A design asks for log(K (1 + r) / delta), where K includes removed policies."""
    assert no_worse_threshold(0.05, 5, 2) == pytest.approx(math.log(5 * 3 / 0.05))
    assert Design(0.05, 0.02, 0, (0.0,) * 3, policies_ever=5).no_worse_nats == no_worse_threshold(0.05, 5, 2)
    assert Design(0.05, 0.02, 0, (0.0,) * 3).no_worse_nats == no_worse_threshold(0.05, 3)


def test_line_of_no_worse_than_the_best_counts_removals_only() -> None:
    """A promotion and no winner need log((1 + 2r) / delta), which new policies do not change."""
    design = Design(0.05, 0.02, 0, (0.0,) * 3, policies_ever=5, promise="no_worse_than_best")

    assert best_threshold(0.05, 2) == pytest.approx(math.log(5 / 0.05))
    assert design.no_worse_nats == design.no_winner_nats == best_threshold(0.05, 2)
    assert best_threshold(0.05) == pytest.approx(math.log(1 / 0.05))


@pytest.mark.parametrize("policies_ever", [1, 2])
def test_fewer_policies_ever_than_now_are_refused(policies_ever: int) -> None:
    """The number only grows."""
    with pytest.raises(DesignError, match="policies_ever"):
        Design(0.05, 0.02, 0, (0.0,) * 3, policies_ever=policies_ever)


def test_removing_a_rival_never_adds_to_being_beaten() -> None:
    """The average keeps the removed rival's share as zero, so it cannot rise when the rival is dropped."""
    rng = np.random.default_rng(5)
    for _ in range(50):
        wins = rng.integers(0, 12, (4, 4))
        np.fill_diagonal(wins, 0)
        whole = beaten_nats(wins, Design(0.05, 0.02, 0, (0.0,) * 4))
        rest = beaten_nats(wins[:3, :3], Design(0.05, 0.02, 0, (0.0,) * 3, policies_ever=4))
        assert (rest <= whole[:3] + 1e-12).all()


def test_sampler_and_forecasts_see_the_debts() -> None:
    """A policy in debt needs more than its row says."""
    nothing = np.zeros((3, 3), dtype=np.int64)
    tally = Tally(nothing, nothing, nothing, np.zeros(3, dtype=np.bool_), 0, np.array([0, -2 * NANO, 0]))
    situation = Situation.of(tally, Design(0.05, 0.0, 0, (0.0,) * 3))
    assert situation.row_nats.tolist() == [[0.0, -2.0, 0.0]]


@pytest.mark.parametrize(
    ("epsilon", "promise"),
    [(0.0, "no_worse_than_any"), (0.02, "no_worse_than_any"), (0.02, "no_worse_than_best")],
)
def test_certificate_of_a_later_generation_is_confirmed_from_what_it_inherited(
    epsilon: float, promise: Promise
) -> None:
    """Comparisons are numbered on, debts and the number of policies ever are part of the certificate."""
    old = Design(DELTA, epsilon, 0, (0.0,) * 4, promise=promise)
    ledger, _ = play(bradley_terry("b", [1.2, 0.6, -0.4, 0.2]), old, seed=4, most=60)
    before = GenerationStanding(ledger.tally(), tuple(ledger.eliminated_at), 4)
    start = succeed(before, (0, 2, None), DELTA)
    design = Design(DELTA, epsilon, 0, (0.0,) * 3, policies_ever=start.policies_ever, promise=promise)
    resumed, log = _go_on(start, design)
    reached = plan(resumed.tally(), design, np.random.default_rng(0)).verdict
    assert reached is not None
    stored = json.loads(
        json.dumps(certificate(reached, resumed.tally(), design, tuple(resumed.eliminated_at)))
    )

    assert log[0].number == start.tally.comparisons + 1
    assert recompute(log, stored, start).is_confirmed
    for field, value in (("policies_ever", 3), ("debts_nano_nats", [0, 1, 0])):
        differences = recompute(log, {**stored, field: value}, start).differences
        assert any(difference.startswith(field) for difference in differences)


def _go_on(start: GenerationStanding, design: Design) -> tuple[Ledger, list[Line]]:
    """Comparisons by the plan until a verdict; the lower index is always preferred, 0 most clearly."""
    ledger, log = Ledger(design.policies, design.delta, design.epsilon, design.promise), list[Line]()
    ledger.inherit(start.tally, start.eliminated_at)
    rng = np.random.default_rng(1)
    for version in range(1, 200):
        made = plan(ledger.tally(), design, rng)
        if made.verdict is not None:
            return ledger, log
        for choice in rng.choice(len(made.pairs), size=10, p=made.probabilities):
            first, second = map(int, made.pairs[choice])
            forecast = int(made.forecasts_millionths[first, second])
            result = "win" if rng.random() < 0.85 else "loss"
            log.append(Line(ledger.comparisons + 1, first, second, result, forecast, version))
            ledger.count(first, second, result, forecast)
    raise AssertionError("no verdict")


# The promise, against an operator who removes policies because of what the evidence shows.


def _bets(runs: int, comparisons: int, chance: float, rng: np.random.Generator, epsilon: float) -> np.ndarray:
    """Paths of one pair's evidence in nano-nats, shape (runs, comparisons): forecast .3, truth `chance`."""
    preferred, other, _, _ = increments(300_000, epsilon)
    steps = np.where(rng.random((runs, comparisons)) < chance, preferred, other)
    return steps.cumsum(axis=1)


def test_removing_lucky_rivals_eliminates_the_winner_no_more_often_than_promised() -> None:
    """The winner is as hard to tell as can be, and every rival that speaks for it is removed at once.

    Dropping those rivals' rows, debts and all, would eliminate it far more often than delta allows.
    """
    delta, runs, rivals = 0.2, 1_000, 5
    line, rng = elimination_nano_nats(delta), np.random.default_rng(8)
    paths = np.stack([_bets(runs, 40, 0.5, rng, 0.0) for _ in range(rivals)], axis=1)
    eliminated = sum(_is_eliminated(run, line, delta) for run in paths)
    dropped = sum(_is_eliminated_without_debts(run, line) for run in paths)

    error = 3 * math.sqrt(delta * (1 - delta) / runs)
    assert eliminated / runs <= delta + error
    assert dropped / runs > delta + error


def _is_eliminated(paths: np.ndarray, line: int, delta: float) -> bool:
    """Policy 0 meets rival after rival; one whose evidence ends below 0 is removed, by `succeed`."""
    rivals = paths.shape[0]
    zeros = np.zeros((rivals + 1, rivals + 1), dtype=np.int64)
    nobody = np.zeros(rivals + 1, dtype=np.bool_)
    at = GenerationStanding(Tally(zeros, zeros, zeros, nobody, 0), (None,) * (rivals + 1), rivals + 1)
    place = 1
    for path in paths:
        if (at.tally.row_totals[0] + path >= line).any():
            return True
        evidence = at.tally.evidence.copy()
        evidence[0, place] = path[-1]
        tally = at.tally
        now = Tally(tally.wins, tally.ties, evidence, tally.eliminated, 0, tally.debts)
        at = GenerationStanding(now, at.eliminated_at, at.policies_ever)
        if path[-1] < 0 and now.policies > 2:
            at = succeed(at, [each for each in range(now.policies) if each != place], delta)
        else:
            place += 1
    return False


def _is_eliminated_without_debts(paths: np.ndarray, line: int) -> bool:
    total = 0
    for path in paths:
        if (total + path >= line).any():
            return True
        total += max(int(path[-1]), 0)
    return False


def test_keeping_the_luckiest_rival_certifies_a_beaten_policy_no_more_often_than_promised() -> None:
    """Four rivals beat it; all are removed but the one whose evidence says most that it does not."""
    delta, epsilon, runs, rivals = 0.5, 0.05, 4_000, 4
    rng = np.random.default_rng(2)
    best = np.max([_bets(runs, 150, 0.5 + epsilon, rng, epsilon).max(axis=1) for _ in range(rivals)], axis=0)
    ever = rivals + 1
    share = delta / ever  # of the error, for each policy that may be certified wrongly
    error = 3 * math.sqrt(share * (1 - share) / runs)

    assert (best >= no_worse_nano_nats(delta, ever, rivals - 1)).mean() <= share + error
    assert (best >= no_worse_nano_nats(delta, ever)).mean() > share + error


def test_removal_that_makes_the_luckiest_policy_the_best_promotes_no_more_often_than_promised() -> None:
    """Three policies in a circle: whichever is removed, another is the best of the rest, by the margin.

    The operator removes the one that leaves the policy whose evidence says most that it is not.
    """
    delta, epsilon, runs = 0.2, 0.05, 2_000
    rng = np.random.default_rng(6)
    best = np.max([_bets(runs, 150, 0.5 + epsilon, rng, epsilon).max(axis=1) for _ in range(3)], axis=0)
    error = 3 * math.sqrt(delta * (1 - delta) / runs)

    assert (best >= best_nano_nats(delta, 1)).mean() <= delta + error
    assert (best >= best_nano_nats(delta)).mean() > delta + error
