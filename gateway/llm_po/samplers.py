"""Which pair to compare next: LLM-PO's own design, and the protocol that every way of choosing pairs follows.

A planner turns many draws of one run into a distribution over pairs; a simulation takes draws of many runs
one after another. Hence the shapes: R independent runs side by side, 1 in a planner.
docs/decisions/0014-which-pair-next.md has the measurements.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol, assert_never

import numpy as np

from gateway.llm_po.bradley_terry import DEFAULT_SCALES, Fit, Scales, fit
from gateway.llm_po.cheapest import SMALLEST_NO_WORSE_PACE, cheapest_to_certify
from gateway.llm_po.checks import counted
from gateway.llm_po.draws import PairDraws, draw_pairs, information_below
from gateway.llm_po.errors import TallyError
from gateway.llm_po.evidence import Tally
from gateway.llm_po.forecast import CLEARED, chance_preferred
from gateway.llm_po.lines import NANO, elimination_threshold
from gateway.llm_po.no_worse import against_best, against_rivals
from gateway.llm_po.opponents import promise
from gateway.llm_po.scalars import whole_number
from gateway.llm_po.stopping import Design, beaten_nats
from gateway.llm_po.wins import BoolArray, FloatArray, IntArray

SMALLEST_PACE: Final = 0.001
"""Nats per comparison: the least information assumed of a challenger; it limits the comparisons it gets."""

_TINY: Final = 1e-12
_EQUAL: Final = 1e-6  # promises that differ by less, relatively, count as equal


@dataclass(frozen=True, eq=False)
class Situation:
    """The data that a sampler may use: R runs of one design.

    Attributes:
        wins: Shape (R, K, K).
        evidence: Shape (R, K, K), nano-nats.
        eliminated: Shape (R, K).
        design: The experiment's promise, assumptions and limits.
        start: An earlier fit of these runs, to start from, or None.
        pair_costs: Shape (R, K, K), if the runs number the policies differently; None for the design's.
        debts: Shape (R, K), nano-nats, as in `Tally`, or None for none.
        at_half: Shape (R, K, K), nano-nats, as in `Tally`, or None if it is not kept.
        scales: The grid of the fit, with what is known from elsewhere (`priors.informed`).

    Raises:
        TallyError: If the counts are invalid, or shapes disagree.
    """

    wins: IntArray
    evidence: IntArray
    eliminated: BoolArray
    design: Design
    start: Fit | None = None
    pair_costs: FloatArray | None = None
    debts: IntArray | None = None
    at_half: IntArray | None = None
    scales: Scales = DEFAULT_SCALES

    def __post_init__(self) -> None:
        shape = counted(self.wins, self.design.policies, dimensions=3).shape
        if np.shape(self.evidence) != shape or np.shape(self.eliminated) != shape[:2]:
            shapes = f"{shape}, {np.shape(self.evidence)}, {np.shape(self.eliminated)}"
            raise TallyError(f"wins, evidence, eliminated have shapes {shapes}; one R and one K are needed.")
        if self.at_half is not None and np.shape(self.at_half) != shape:
            raise TallyError(f"at_half has shape {np.shape(self.at_half)}, wins {shape}; they must agree.")

    @classmethod
    def of(cls, tally: Tally, design: Design) -> Situation:
        """The situation of a single run."""
        one = tally.wins[None], tally.evidence[None], tally.eliminated[None]
        at_half = None if tally.at_half is None else tally.at_half[None]
        return cls(*one, design, debts=tally.debts[None], at_half=at_half)

    @cached_property
    def fit(self) -> Fit:
        """The posterior; computed at its first use, because most baselines never use it."""
        return fit(self.wins, self.scales, self.start)

    @cached_property
    def row_nats(self) -> FloatArray:
        """Nats against each policy being the winner, shape (R, K)."""
        totals = self.evidence.sum(axis=2)
        return np.asarray((totals if self.debts is None else totals + self.debts) / NANO)

    @cached_property
    def needed_against_rivals(self) -> FloatArray:
        """Nats missing against each rival j of each policy s to certify s, shape (R, K, K): `[r, j, s]`."""
        promise = self.design.promise
        against = against_rivals(self.evidence, self.at_half, self.debts, promise)
        needed = np.maximum(self.design.no_worse_nats - against / NANO, 0.0)
        return np.asarray(needed * (1 - np.eye(self.policies)))

    @cached_property
    def prices(self) -> FloatArray:
        """The price of a comparison of each pair, shape (R, K, K) or (1, K, K)."""
        return self.design.pair_costs[None] if self.pair_costs is None else self.pair_costs

    @property
    def policies(self) -> int:
        """K, the number of policies."""
        return int(self.wins.shape[1])


class Sampler(Protocol):
    """Proposes pairs to compare."""

    def pairs(self, situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
        """`draws` pairs per run, shape (R, draws, 2), in order of comparison; any orientation."""
        ...


class LlmPo:
    """Top-two Thompson sampling: challengers drawn by remaining work, opponents by what they may tell.

    Args:
        each: How many pairs come from a draw of the posterior, which takes far longer than drawing them.
    """

    def __init__(self, each: int = 1) -> None:
        self._each = whole_number(each, "each", 1)

    def pairs(self, situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
        """Pairs drawn for the certificate that the design needs."""
        of_posterior = -(-draws // self._each)
        return self._pairs(situation, of_posterior, rng)[:, :draws]

    def _pairs(self, situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
        design = situation.design
        if design.epsilon == 0:
            return _winner_pairs(situation, draws, self._each, rng)
        if design.promise == "no_worse_than_best":
            return _no_worse_than_best_pairs(situation, draws, self._each, rng)
        if design.promise == "no_worse_than_any":
            return _no_worse_than_any_pairs(situation, draws, self._each, rng)
        assert_never(design.promise)


def _winner_pairs(situation: Situation, draws: int, each: int, rng: np.random.Generator) -> IntArray:
    """Surviving challengers, each with the rival that promises most evidence against it.

    In a posterior draw the leader is the survivor hardest to rule out; every other survivor is a challenger
    with probability proportional to the comparisons it still needs.
    """
    fitted = situation.fit
    worst = draw_pairs(fitted, draws, rng).worst
    surviving = ~situation.eliminated[:, None, :]
    leaders = np.where(surviving, worst, -np.inf).argmax(axis=2)
    missing = np.maximum(elimination_threshold(situation.design.delta) - situation.row_nats, 0.0)
    pace = np.maximum(information_below(worst, 0.5), SMALLEST_PACE)
    work = np.where(surviving, missing[:, None, :] + _TINY, 0.0) / pace
    np.put_along_axis(work, leaders[..., None], 0.0, axis=2)
    work += _TINY * (work.sum(axis=2, keepdims=True) == 0)  # if no challenger is left, any pair is as good
    challengers = _categorical(work.repeat(each, axis=1), rng)
    rivals = _clearest_rivals(promise(fitted, missing, 0.5, situation.prices), challengers, rng)
    pairs = np.stack([challengers, rivals], axis=2)
    for run in np.flatnonzero(situation.eliminated.sum(axis=1) == situation.policies - 1):
        survivor = int(np.flatnonzero(~situation.eliminated[run])[0])
        pairs[run] = _doubtful_pairs(situation, int(run), survivor, pairs.shape[1], rng)
    return pairs


def _clearest_rivals(worth: FloatArray, policies: IntArray, rng: np.random.Generator) -> IntArray:
    """The most promising rival of each policy drawn, shape (R, draws); one of several equals at random.

    Before anything is counted all are equal. If the lowest number decided between equals, every policy would
    meet the same one until the first outcomes came, and evidence would come against that one or from it only.
    """
    rows = np.take_along_axis(worth, policies[..., None], axis=1)
    return np.asarray((rows * (1 + _EQUAL * rng.random(rows.shape))).argmax(axis=2))


def _doubtful_pairs(
    situation: Situation, run: int, policy: int, draws: int, rng: np.random.Generator
) -> IntArray:
    """A policy that only has to be cleared, with the rivals of which it is not cleared, shape (draws, 2)."""
    chance = chance_preferred(situation.fit.of(np.array([run])), policy, situation.design.epsilon)[0]
    doubt = np.where(chance < CLEARED, 1 - chance, _TINY)
    doubt[policy] = 0.0
    rivals = _categorical(np.tile(doubt, (1, draws, 1)), rng)[0]
    return np.stack([np.full(draws, policy), rivals], axis=1)


def _no_worse_than_best_pairs(
    situation: Situation, draws: int, each: int, rng: np.random.Generator
) -> IntArray:
    """A rival of the policy that is cheapest to certify in a draw, and the best opponent against this rival.

    A rival j of s is settled by evidence against j being the best. It comes from comparisons with s, which
    give kl(mu, 1/2 + epsilon), or with the policy that beats j most clearly, which give kl(mu, 1/2). In a
    draw in which every policy is beaten by more than epsilon, the comparison serves to show that.
    """
    fitted, threshold = situation.fit, 0.5 + situation.design.epsilon
    drawn = draw_pairs(fitted, draws, rng)
    itself = np.where(np.eye(situation.policies, dtype=np.bool_), np.inf, 0.0)
    missing = (situation.needed_against_rivals + itself).min(axis=2)
    elsewhere = promise(fitted, missing, 0.5, situation.prices)
    clearest = elsewhere.argmax(axis=2)
    by_clearest = information_below(drawn.against(clearest), 0.5)
    certified, rivals = _certified_and_rivals(situation, drawn, by_clearest, each, rng)
    runs = np.arange(situation.wins.shape[0])[:, None]
    direct = promise(fitted, missing, threshold, situation.prices, certified)[runs, rivals, certified]
    opponents = _clearest_rivals(elsewhere, rivals, rng)
    is_direct = direct >= elsewhere[runs, rivals, opponents]
    pairs = np.stack([rivals, np.where(is_direct, certified, opponents)], axis=2)
    for run, policy in _waiting(situation):
        pairs[run] = _doubtful_pairs(situation, run, policy, pairs.shape[1], rng)
    return _or_beaten(pairs, situation, drawn, rng)


def _waiting(situation: Situation) -> Iterator[tuple[int, int]]:
    """Runs in which a policy only has to be cleared, with the policy closest to that."""
    certified = (situation.needed_against_rivals == 0).all(axis=1)
    for run in np.flatnonzero(certified.any(axis=1)).tolist():
        fitted = situation.fit.of(np.array([run]))
        least = [
            chance_preferred(fitted, policy, situation.design.epsilon)[0].min()
            if certified[run, policy]
            else -1.0
            for policy in range(situation.policies)
        ]
        yield run, int(np.argmax(least))


def _no_worse_than_any_pairs(
    situation: Situation, draws: int, each: int, rng: np.random.Generator
) -> IntArray:
    """The policy that is cheapest to certify in a draw, and a rival drawn by its remaining work.

    In a draw in which every policy is beaten by more than epsilon nothing can be certified. Such a draw
    serves to show that, so that cyclic preferences end as no winner instead of using up the budget.
    """
    drawn = draw_pairs(situation.fit, draws, rng)
    nowhere_else = np.zeros_like(drawn.scores)
    certified, rivals = _certified_and_rivals(situation, drawn, nowhere_else, each, rng)
    return _or_beaten(np.stack([rivals, certified], axis=2), situation, drawn, rng)


def _certified_and_rivals(
    situation: Situation, drawn: PairDraws, elsewhere: FloatArray, each: int, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """The policy that is cheapest to certify in each draw, and `each` rivals by their remaining work."""
    needed, threshold = situation.needed_against_rivals, 0.5 + situation.design.epsilon
    certified, work = cheapest_to_certify(drawn, needed, situation.prices, threshold, elsewhere)
    work += _TINY
    np.put_along_axis(work, certified[..., None], 0.0, axis=2)
    return certified.repeat(each, axis=1), _categorical(work.repeat(each, axis=1), rng)


def _or_beaten(pairs: IntArray, situation: Situation, drawn: PairDraws, rng: np.random.Generator) -> IntArray:
    """The pairs; in draws in which every policy is beaten by more than epsilon, those that show it.

    Each draw has as many pairs, side by side. Those that show it are of policies not yet shown to be beaten,
    each with the rival that beats it most in the draw.
    """
    design = situation.design
    threshold = 0.5 + design.epsilon
    is_cyclic = drawn.worst.max(axis=2) <= -math.log(threshold / (1 - threshold))
    if not is_cyclic.any():
        return pairs
    if design.assumes_winner:
        shown, bound = against_best(situation.evidence, situation.at_half, situation.debts) / NANO, 0.5
    else:
        shown, bound = beaten_nats(situation.wins, design), 0.5 - design.epsilon
    each = pairs.shape[1] // is_cyclic.shape[1]
    is_cyclic = is_cyclic.repeat(each, axis=1)
    runs, places = np.nonzero(is_cyclic)
    draws = places // each
    needed = np.maximum(design.no_winner_nats - shown[runs], 0.0) + _TINY
    pace = np.maximum(information_below(drawn.worst[runs, draws], bound), SMALLEST_NO_WORSE_PACE)
    beaten = _categorical(needed / pace, rng)
    pairs[is_cyclic] = np.stack([beaten, drawn.of_rivals(runs, draws, beaten).argmax(axis=1)], axis=1)
    return pairs


def _categorical(weights: FloatArray, rng: np.random.Generator) -> IntArray:
    """One index along the last axis, with probability proportional to the weights there (not all zero)."""
    cumulative = weights.cumsum(axis=-1)
    point = rng.random((*weights.shape[:-1], 1)) * cumulative[..., -1:]
    return np.asarray((cumulative <= point).sum(axis=-1))
