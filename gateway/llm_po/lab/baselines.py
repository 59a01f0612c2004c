"""Other ways to choose pairs, to compare ours with: the paper's tracking rule and the usual baselines.

They use win counts only. A rule made to minimise regret may propose to compare a policy with itself; that
gives no information here, so the next best rival is taken instead.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from gateway.llm_po.checks import counted
from gateway.llm_po.glr import rival_evidence
from gateway.llm_po.samplers import Situation
from gateway.llm_po.unstructured import bernoulli_kl
from gateway.llm_po.wins import FloatArray, IntArray, pair_rates, pair_totals

_EXPLORATION: Final = 0.1
"""Share of random pairs in epsilon-greedy."""

_RUCB_WIDTH: Final = 0.51
"""RUCB's confidence parameter; its analysis requires more than one half."""

_SMALLEST_PACE: Final = 1e-4


class RoundRobin:
    """Every pair in turn: always the least compared."""

    def pairs(self, situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
        """The pairs that keep the counts level."""
        every = _every_pair(situation.policies)
        counts = _counts(situation, every) + rng.random((situation.wins.shape[0], every.shape[0])) * 0.5
        chosen = np.empty((counts.shape[0], draws), dtype=np.int64)
        for position in range(draws):
            chosen[:, position] = counts.argmin(axis=1)
            counts[np.arange(counts.shape[0]), chosen[:, position]] += 1
        return np.asarray(every[chosen])


class RandomPair:
    """A pair at random, all equally likely."""

    def pairs(self, situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
        """Uniform pairs."""
        every = _every_pair(situation.policies)
        return np.asarray(every[rng.integers(every.shape[0], size=(situation.wins.shape[0], draws))])


class EpsilonGreedy:
    """The best win rate against the rival least clearly behind, and now and then a random pair."""

    def pairs(self, situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
        """The greedy pair, with a share of uniform pairs."""
        runs = np.arange(situation.wins.shape[0])
        leaders = borda(situation.wins).argmax(axis=1)
        evidence = rival_evidence(situation.wins)
        evidence[runs, leaders] = np.inf
        greedy = np.stack([leaders, evidence.argmin(axis=1)], axis=1)
        explore = rng.random((runs.size, draws, 1)) < _EXPLORATION
        return np.where(explore, RandomPair().pairs(situation, draws, rng), greedy[:, None, :])


class DoubleThompson:
    """The champion of one posterior draw against its strongest rival in another."""

    def pairs(self, situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
        """Independent double draws from Beta posteriors with a uniform prior."""
        wins = situation.wins
        row, column = np.triu_indices(wins.shape[1], 1)
        won, lost = wins[:, None, row, column] + 1.0, wins[:, None, column, row] + 1.0
        drawn = np.zeros((wins.shape[0], draws, *wins.shape[1:]))  # 0 on the diagonal
        drawn[..., row, column] = rng.beta(won, lost, size=(wins.shape[0], draws, row.size))
        drawn[..., column, row] = 1 - drawn[..., row, column]
        first = (drawn > 0.5).sum(axis=3).argmax(axis=2)
        runs = np.arange(wins.shape[0])[:, None]
        beaten = wins.swapaxes(1, 2)[runs, first]
        against = rng.beta(beaten + 1.0, wins[runs, first] + 1.0)
        np.put_along_axis(against, first[..., None], -1.0, axis=2)
        return np.stack([first, against.argmax(axis=2)], axis=2)


class Rucb:
    """Relative upper confidence bounds: a policy that may beat all against its strongest possible rival."""

    def pairs(self, situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
        """One optimistic pair per draw, the champion drawn among those still possible."""
        totals = pair_totals(situation.wins)
        time = np.maximum(situation.wins.sum(axis=(1, 2)), 2)[:, None, None]
        radius = np.sqrt(_RUCB_WIDTH * np.log(time) / np.maximum(totals, 1))
        upper = np.where(totals > 0, pair_rates(situation.wins) + radius, 1.0)
        everyone = np.arange(situation.policies)
        upper[:, everyone, everyone] = 0.5
        possible = (upper >= 0.5).all(axis=2)
        possible |= np.logical_not(possible.max(axis=1, keepdims=True))
        lottery = rng.random((upper.shape[0], draws, situation.policies)) * possible[:, None, :]
        champions = lottery.argmax(axis=2)
        upper[:, everyone, everyone] = -1.0
        against = np.take_along_axis(upper.swapaxes(1, 2), champions[..., None], axis=1)
        against = against + rng.random(against.shape) * 1e-9
        return np.stack([champions, against.argmax(axis=2)], axis=2)


class Tracking:
    """The closed-form proportions of the empirical matrix, with every pair explored now and then."""

    def pairs(self, situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
        """The pairs furthest behind their target; below sqrt(t) - pairs / 2 a pair goes first."""
        every = _every_pair(situation.policies)
        runs = np.arange(situation.wins.shape[0])
        target = _target(situation.wins)[:, every[:, 0], every[:, 1]]
        counts = _counts(situation, every) + rng.random((runs.size, every.shape[0])) * 1e-6
        chosen = np.empty((runs.size, draws), dtype=np.int64)
        for position in range(draws):
            time = counts.sum(axis=1, keepdims=True)
            neglected = counts.min(axis=1) < np.maximum(np.sqrt(time[:, 0]) - every.shape[0] / 2, 1.0)
            furthest = (time * target - counts).argmax(axis=1)
            chosen[:, position] = np.where(neglected, counts.argmin(axis=1), furthest)
            counts[runs, chosen[:, position]] += 1
        return np.asarray(every[chosen])


def borda(wins: IntArray) -> FloatArray:
    """Mean empirical preference over the others, shape (R, K); 1/2 for a pair never compared.

    Raises:
        TallyError: If `wins` cannot be counts.
    """
    wins = counted(wins, dimensions=3)
    return np.asarray((pair_rates(wins).sum(axis=2) - 0.5) / (wins.shape[1] - 1))


def _target(wins: IntArray) -> FloatArray:
    """Optimal proportions at smoothed empirical rates, shape (R, K, K), symmetric.

    Sampling noise may leave no policy ahead of all others: the one hardest to rule out is then taken as the
    champion.
    """
    rates = (wins + 1) / (pair_totals(wins) + 2)  # a lucky rival of one comparison is not the strongest
    information = np.where(rates < 0.5, bernoulli_kl(rates, 0.5), 0.0)
    rivals, pace = information.argmax(axis=2), information.max(axis=2)
    lengths = 1 / np.maximum(pace, _SMALLEST_PACE)
    np.put_along_axis(lengths, pace.argmin(axis=1)[:, None], 0.0, axis=1)
    target = np.zeros_like(rates)
    np.put_along_axis(target, rivals[..., None], lengths[..., None], axis=2)
    return np.asarray((target + target.swapaxes(1, 2)) / lengths.sum(axis=1)[:, None, None])


def _counts(situation: Situation, every: IntArray) -> FloatArray:
    return pair_totals(situation.wins)[:, every[:, 0], every[:, 1]].astype(np.float64)


def _every_pair(policies: int) -> IntArray:
    """All pairs, first < second, shape (K (K - 1) / 2, 2)."""
    return np.stack(np.triu_indices(policies, 1), axis=1)
