"""No worse than the best: the rule, the inequality behind it, what is still needed, what it takes at best."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import cvxpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.llm_po.betting import MILLION
from gateway.llm_po.bradley_terry import fit
from gateway.llm_po.errors import DesignError, TallyError
from gateway.llm_po.evidence import ComparisonResult, Ledger, Tally
from gateway.llm_po.lab.simulate import Trial, simulate
from gateway.llm_po.lab.worlds import bradley_terry, cycle, named
from gateway.llm_po.lines import NANO, elimination_nano_nats
from gateway.llm_po.no_worse import against_best, against_rivals
from gateway.llm_po.plan import plan
from gateway.llm_po.samplers import LlmPo, Situation
from gateway.llm_po.stopping import Design, conclusion, may_conclude, progress, qualified, verdict
from gateway.llm_po.succession import GenerationStanding, succeed
from gateway.llm_po.unstructured import bernoulli_kl, no_worse_hardness, optimal_allocation
from gateway.llm_po.wins import FloatArray

BEST = "no_worse_than_best"
LINE = elimination_nano_nats(0.05)
ZEROS = np.zeros((3, 3), dtype=np.int64)

Comparison = tuple[int, int, ComparisonResult, int]
"""First, second, result seen from the first, forecast in millionths."""

comparisons = st.lists(
    st.tuples(
        st.sampled_from([(0, 1), (0, 2), (1, 2)]),
        st.sampled_from(["win", "loss", "tie"]),
        st.integers(20_000, 980_000),
    ).map(lambda drawn: (*drawn[0], drawn[1], drawn[2])),
    max_size=40,
)


def _design(policies: int = 3, epsilon: float = 0.02, **changes: object) -> Design:
    return replace(Design(0.05, epsilon, 0, (0.0,) * policies, promise=BEST), **changes)


def _counted(log: list[Comparison], epsilon: float = 0.02) -> Tally:
    ledger = Ledger(3, 0.05, epsilon, BEST)
    for line in log:
        ledger.count(*line)
    return ledger.tally()


def _tally(evidence: object, at_half: object = None, wins: object = None) -> Tally:
    reached = np.array(evidence)
    half = reached if at_half is None else np.array(at_half)
    counts = ZEROS if wins is None else np.array(wins)
    out = np.zeros(3, dtype=np.bool_)
    return Tally(counts, ZEROS, reached, out, int(counts.sum()), at_half=half)


def _by_the_words(log: list[Comparison], rival: int, promoted: int, epsilon: float) -> float:
    """What speaks against a rival of the promoted policy, in nats, straight from its definition."""
    total = 0.0
    for other in range(3):
        if other == rival:
            continue
        at = {0.5: 0.0, 0.5 + epsilon: 0.0}
        for first, second, result, millionths in log:
            if {first, second} != {rival, other} or result == "tie":
                continue
            q = millionths / MILLION if rival == first else 1 - millionths / MILLION
            is_preferred = (result == "win") == (rival == first)
            for h in at:
                if q < h:
                    at[h] += math.log(q / h) if is_preferred else math.log((1 - q) / (1 - h))
        total += at[0.5 + epsilon] if other == promoted else min(at.values())
    return total


@given(comparisons, st.sampled_from([0.01, 0.02, 0.1]))
@settings(max_examples=100, deadline=None)
def test_ledger_sums_what_the_definition_says(log: list[Comparison], epsilon: float) -> None:
    """The sums agree for every rival and policy, within the rounding of the increments."""
    tally = _counted(log, epsilon)

    against = against_rivals(tally.evidence, tally.at_half, tally.debts, BEST) / NANO

    for rival, promoted in product(range(3), repeat=2):
        if rival != promoted:
            expected = _by_the_words(log, rival, promoted, epsilon)
            assert against[rival, promoted] == pytest.approx(expected, abs=len(log) * 2e-9)


def test_worked_example() -> None:
    """Three policies: one rival is done by the promoted policy, one by the third."""
    evidence = np.array([[0, 0, 0], [2, 0, 5], [7, -1, 0]])
    at_half = np.array([[0, 0, 0], [3, 0, 4], [6, 1, 0]])

    against = against_rivals(evidence, at_half, np.array([0, -1, 0]), BEST)

    assert against[1, 0] == 2 + 4 - 1  # e[1, 0], the lower of e and e_half of (1, 2), the debt
    assert against[1, 2] == 5 + 2 - 1
    assert against[2, 0] == 7 - 1
    assert against[2, 1] == -1 + 6
    assert against_best(evidence, at_half, None).tolist() == [0, 2 + 4, 6 - 1]


@pytest.mark.parametrize("leads", [(0.5, 0.5), (0.52, 0.5), (0.52, 0.52), (0.51, 0.8)])
def test_what_speaks_against_the_best_stays_below_a_supermartingale(leads: tuple[float, float]) -> None:
    """The mean of exp(evidence against the best) over all outcomes is at most one.

    Pairs and forecasts depend on what was seen before. Of the policies that the best leads by the margin, the
    one with the largest evidence counts.
    """
    beaten = [other for other, lead in enumerate(leads, start=1) if lead >= 0.52]

    expected = 0.0
    for log, weight in _every_log(leads, 6):
        tally = _counted(log)
        against = against_rivals(tally.evidence, tally.at_half, tally.debts, BEST)
        least = against_best(tally.evidence, tally.at_half, tally.debts)[0]
        expected += weight * math.exp(max(least, *against[0, beaten], -np.inf) / NANO)

    assert expected <= 1 + 1e-9


def _every_log(leads: tuple[float, float], length: int) -> Iterator[tuple[list[Comparison], float]]:
    """Every log of the best policy, 0, against two others, with its probability.

    Pair and forecast follow from the outcomes before: the rival that did better, and bets against the best.
    """
    for outcomes in product(("win", "loss", "tie"), repeat=length):
        log: list[Comparison] = []
        weight, score = 1.0, [0, 0]
        for outcome in outcomes:
            rival = int(score[1] > score[0])
            forecast = (250_000, 490_000, 505_000)[(score[0] + 2 * score[1]) % 3]
            chance = {"win": 0.9 * leads[rival], "loss": 0.9 * (1 - leads[rival]), "tie": 0.1}[outcome]
            score[rival] += outcome == "loss"
            weight *= chance
            log.append((0, rival + 1, outcome, forecast))
        yield log, weight


@given(comparisons, st.permutations([0, 1, 2]))
@settings(max_examples=50, deadline=None)
def test_relabelling_policies_relabels_what_speaks_against_them(
    log: list[Comparison], order: list[int]
) -> None:
    """The numbers of the policies mean nothing."""
    turned = {"win": "loss", "loss": "win", "tie": "tie"}
    relabelled: list[Comparison] = [
        (order[first], order[second], result, q)
        if order[first] < order[second]
        else (order[second], order[first], turned[result], MILLION - q)
        for first, second, result, q in log
    ]
    plain, other = _counted(log), _counted(relabelled)

    found = against_rivals(other.evidence, other.at_half, other.debts, BEST)

    at = np.ix_(order, order)
    assert (found[at] == against_rivals(plain.evidence, plain.at_half, plain.debts, BEST)).all()


@given(comparisons)
@settings(max_examples=50, deadline=None)
def test_order_of_comparisons_with_their_forecasts_does_not_matter(log: list[Comparison]) -> None:
    """The sums do not know which comparison came first."""
    one, two = _counted(log), _counted(sorted(log))

    assert (one.evidence == two.evidence).all()
    assert (np.array(one.at_half) == np.array(two.at_half)).all()


def test_every_rival_has_to_be_done_and_none_a_nano_nat_short() -> None:
    """The line is log(1/delta) for any number of policies."""
    done = [[0, 0, 0], [LINE, 0, 0], [0, LINE, 0]]
    short = [[0, 0, 0], [LINE, 0, 0], [0, LINE - 1, 0]]

    reached = verdict(_tally(done), _design())

    assert reached is not None
    assert (reached.kind, reached.champion) == ("no_worse", 0)
    assert reached.threshold_nats == pytest.approx(math.log(20))
    assert verdict(_tally(short), _design()) is None
    assert progress(_tally(short), _design())[0][0] == pytest.approx((LINE - 1) / NANO)
    assert verdict(_tally(done), _design(promise="no_worse_than_any")) is None


def test_the_lower_evidence_counts_except_against_the_promoted_policy() -> None:
    """A rival that might lead another by the margin is given the benefit of it."""
    evidence = [[0, 0, 0], [LINE, 0, 0], [0, LINE, 0]]

    third_is_not_done = _tally(evidence, [[0, 0, 0], [LINE, 0, 0], [0, LINE - 1, 0]])
    first_is_promoted = _tally(evidence, [[0, 0, 0], [0, 0, 0], [0, LINE, 0]])

    assert qualified(third_is_not_done, _design()).tolist() == [False, False, False]
    assert qualified(first_is_promoted, _design()).tolist() == [True, False, False]


def test_no_policy_that_could_be_the_best_is_no_winner() -> None:
    """This verdict is checked first, because the rule would certify every policy."""
    cyclic = _tally([[0, 0, LINE], [LINE, 0, 0], [0, LINE, 0]])

    reached = verdict(cyclic, _design())

    assert qualified(cyclic, _design()).all()
    assert reached is not None
    assert reached.kind == "no_winner"


def test_certified_policy_waits_until_it_is_cleared() -> None:
    """The evidence certifies 0; the counts say that 2 beats it; a budget ends the wait."""
    evidence = [[0, 0, 0], [LINE, 0, 0], [0, LINE, 0]]
    tally = _tally(evidence, wins=[[0, 80, 20], [20, 0, 80], [80, 20, 0]])
    ahead = _tally(evidence, wins=[[0, 80, 80], [20, 0, 80], [20, 20, 0]])

    assert conclusion(tally, _design(), fit(tally.wins[None])) is None
    ended = conclusion(tally, _design(max_comparisons=300), fit(tally.wins[None]))
    promoted = conclusion(ahead, _design(), fit(ahead.wins[None]))

    assert ended is not None
    assert ended.kind == "inconclusive"
    assert promoted is not None
    assert promoted.champion == 0


def test_batch_shortcut_misses_no_verdict() -> None:
    """Runs it passes over have no verdict; runs with one are never passed over."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        evidence, at_half = rng.integers(0, LINE, (2, 3, 3)) * (1 - np.eye(3, dtype=np.int64))
        tally = _tally(evidence, at_half)
        asked = may_conclude(ZEROS[None], evidence[None], tally.eliminated[None], _design(), at_half[None])
        assert bool(asked[0]) == (verdict(tally, _design()) is not None)
        seen.add(bool(asked[0]))
    assert seen == {True, False}


def test_evidence_at_one_half_is_needed() -> None:
    """A tally without it cannot be judged by this promise."""
    tally = Tally(ZEROS, ZEROS, ZEROS, np.zeros(3, dtype=np.bool_), 0)

    with pytest.raises(TallyError, match="at_half is None"):
        verdict(tally, _design())
    with pytest.raises(TallyError, match="at_half is None"):
        Ledger(3, 0.05, 0.02, BEST).inherit(tally, (None,) * 3)


@pytest.mark.parametrize("change", [{"stopping": "glr"}, {"promise": "luck"}])
def test_promises_that_cannot_be_kept_are_refused(change: dict[str, str]) -> None:
    """Likelihood-ratio rules have no process that all wrong choices share."""
    with pytest.raises(DesignError, match="promise is"):
        _design(**change)


def test_what_is_needed_is_what_the_line_lacks() -> None:
    """The need is computed for every rival of every policy and is nothing once the rival is done."""
    tally = _tally([[0, 0, 0], [NANO, 0, 0], [0, 2 * LINE, 0]])

    needed = Situation.of(tally, _design()).needed_against_rivals[0]

    assert needed[1, 0] == pytest.approx(math.log(20) - 1)
    assert needed[2].tolist() == [0.0, 0.0, 0.0]


def test_pairs_drawn_are_those_of_the_optimum_once_the_truth_is_known() -> None:
    """Losers meet the policy that beats them most clearly, which is not always the one to promote."""
    world = named("w", np.array([[0.5, 0.6, 0.7], [0.4, 0.5, 0.9], [0.3, 0.1, 0.5]]))
    wins = np.rint(world.preferences * 6_000).astype(np.int64)[None]
    np.fill_diagonal(wins[0], 0)
    situation = Situation(wins, wins * 0, np.zeros((1, 3), dtype=np.bool_), _design(), at_half=wins * 0)

    pairs = np.sort(LlmPo().pairs(situation, 1_000, np.random.default_rng(1))[0], axis=1)

    drawn = {tuple(pair) for pair in pairs.tolist()}
    assert drawn == {(0, 1), (1, 2)}
    assert (pairs == [0, 1]).all(axis=1).mean() > 0.8


@pytest.mark.parametrize("each", [0, 1, 50])
def test_proposed_pairs_are_pairs(each: int) -> None:
    """Every draw gives two different policies, from the first comparison on and with some rivals done."""
    rng = np.random.default_rng(2)
    wins = rng.integers(0, each + 1, (4, 3, 3)) * (1 - np.eye(3, dtype=np.int64))
    evidence = rng.integers(0, LINE, (4, 3, 3)) * (1 - np.eye(3, dtype=np.int64))
    situation = Situation(wins, evidence, np.zeros((4, 3), dtype=np.bool_), _design(), at_half=evidence)

    pairs = LlmPo().pairs(situation, 50, rng)

    assert (pairs[..., 0] != pairs[..., 1]).all()


def test_runs_end_as_production_ends_them() -> None:
    """Plan, compare, count, plan again: a verdict in the end, and nothing more to come then."""
    world, design, rng = bradley_terry("w", [1.0, 0.0, -0.5]), _design(), np.random.default_rng(3)
    ledger = Ledger(3, 0.05, 0.02, BEST)
    start = made = plan(ledger.tally(), design, rng)
    while made.verdict is None:
        first, second = made.pairs[rng.choice(len(made.pairs), p=made.probabilities)].tolist()
        result: ComparisonResult = "win" if rng.random() < world.preferences[first, second] else "loss"
        q = made.forecasts_millionths
        ledger.count(first, second, result, int(q[first, second]), int(q[second, first]))
        made = plan(ledger.tally(), design, rng)

    assert (made.verdict.kind, made.verdict.champion) == ("no_worse", 0)
    assert start.expected_remaining is not None
    assert start.expected_remaining > made.expected_remaining == 0.0


def test_removed_rival_leaves_the_lower_evidence_as_debt() -> None:
    """What it had spoken for a policy stays, at the lower of both evidences."""
    tally = _tally([[0, 0, -5], [7, 0, 3], [0, 0, 0]], [[0, 0, -2], [4, 0, -1], [0, 0, 0]])

    after = succeed(GenerationStanding(tally, (None,) * 3, 3), (0, 1), 0.05).tally

    assert after.debts.tolist() == [-5, -1]
    assert np.array(after.at_half).tolist() == [[0, 0], [4, 0]]


def test_hardness_without_a_margin_is_that_of_the_winner() -> None:
    """T* is what the promise takes at epsilon = 0."""
    world = bradley_terry("b", [0.8, 0.3, 0.1, -0.2, -1.0])

    reached = no_worse_hardness(world.preferences, 0.0, promise=BEST)

    assert reached == pytest.approx(optimal_allocation(world.preferences).hardness)
    assert no_worse_hardness(world.preferences, 0.0, promise=BEST) == pytest.approx(62.8610, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_hardness_is_what_a_general_solver_finds(seed: int) -> None:
    """A linear program for each policy finds the same hardness, independent of the closed form."""
    preferences = bradley_terry("b", np.random.default_rng(seed).normal(0, 0.6, 4)).preferences

    assert no_worse_hardness(preferences, 0.03, promise=BEST) == pytest.approx(
        min(_solved(preferences, s, 0.53) for s in range(4)), rel=1e-5
    )


def _solved(preferences: FloatArray, promoted: int, threshold: float) -> float:
    """1 / the most evidence a comparison can give against the rival hardest to rule out."""
    tells = np.where(preferences < 0.5, bernoulli_kl(preferences, 0.5), 0.0)
    lead = preferences[:, promoted]
    tells[:, promoted] = np.where(lead < threshold, bernoulli_kl(lead, threshold), 0.0)
    rivals = [rival for rival in range(len(preferences)) if rival != promoted]
    shares = cvxpy.Variable(preferences.shape, nonneg=True)
    rates = cvxpy.sum(cvxpy.multiply(shares, tells), axis=1)
    problem = cvxpy.Problem(cvxpy.Maximize(cvxpy.min(rates[rivals])), [cvxpy.sum(shares) == 1])
    problem.solve()
    return math.inf if problem.value < 1e-9 else 1 / float(problem.value)


def test_hardness_of_a_cycle_is_infinite_and_never_above_that_of_any() -> None:
    """A cycle promises nothing; with a best policy, the promise is the weaker of the two."""
    world = bradley_terry("b", [0.5, 0.45, 0.0])

    assert math.isinf(no_worse_hardness(cycle("c", 3, 0.51).preferences, 0.02, promise=BEST))
    for epsilon in (0.02, 0.1):
        weaker = no_worse_hardness(world.preferences, epsilon, promise=BEST)
        assert weaker <= no_worse_hardness(world.preferences, epsilon)


def test_only_the_best_makes_a_promotion_wrong() -> None:
    """A policy that another loser beats clearly is no wrong choice, if the best hardly beats it."""
    world = named("w", np.array([[0.5, 0.51, 0.7], [0.49, 0.5, 0.3], [0.3, 0.7, 0.5]]))

    assert world.is_wrong(1, 0.02)
    assert not world.is_wrong(1, 0.02, BEST)
    assert world.is_wrong(2, 0.02, BEST)
    assert cycle("c", 3, 0.7).is_wrong(0, 0.02, BEST)


def test_fewer_comparisons_for_the_weaker_promise() -> None:
    """A clear world of eight policies needs a third fewer comparisons, without a wrong promotion."""
    world = bradley_terry("eight", np.linspace(0.5, -1.5, 8))
    any_other, best = (
        simulate(Trial(world, epsilon=0.02, promise=promise), 20, seed=2)
        for promise in ("no_worse_than_any", BEST)
    )

    assert best.mean < 0.85 * any_other.mean
    assert best.wrong == 0


def test_cycles_hardly_ever_promote() -> None:
    """The check covers cycles, which the certificate does not; without a winner the verdict says so."""
    summary = simulate(Trial(cycle("c", 3, 0.8), epsilon=0.02, promise=BEST), 60, seed=2)

    assert summary.outcomes["no_winner"] >= 55
