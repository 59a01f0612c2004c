"""Run a method in a world, many runs side by side, with the ledger and the verdicts that production uses.

Each run sees the policies in an order of its own. As in production, a method plans at refreshes: pairs
and forecasts are fixed there, outcomes are counted one by one against them, and a verdict is read at the
next refresh, every 2 % of the comparisons so far. `in_flight` holds outcomes back as slow feedback does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from gateway.llm_po import glr
from gateway.llm_po.baselines import DoubleThompson, EpsilonGreedy, RandomPair, RoundRobin, Rucb, Tracking
from gateway.llm_po.bradley_terry import Fit, fit
from gateway.llm_po.errors import DesignError, UnsupportedError
from gateway.llm_po.evidence import (
    Ledgers,
    Result,
    checked_delta,
    checked_epsilon,
    elimination_threshold,
    in_millionths,
)
from gateway.llm_po.forecast import forecasts
from gateway.llm_po.samplers import LlmPo, Sampler, Situation
from gateway.llm_po.stopping import Design, Verdict, conclusion, may_conclude
from gateway.llm_po.unstructured import no_worse_hardness, optimal_allocation
from gateway.llm_po.wins import BoolArray, IntArray
from gateway.llm_po.worlds import World

METHODS: dict[str, Callable[[], Sampler]] = {
    "llm-po": LlmPo,
    "llm-po-tracking": Tracking,
    "round-robin": RoundRobin,
    "random-pair": RandomPair,
    "eps-greedy": EpsilonGreedy,
    "double-thompson": DoubleThompson,
    "rucb": Rucb,
}
STOPPING_RULES = ("e-process", "glr")
OUTCOMES = ("winner", "no_worse", "no_winner", "inconclusive")

_REFRESH_SHARE = 50  # a refresh every 1/50 of the comparisons so far
_SIDE_BY_SIDE_CELLS = 20_000  # pairs per batch of runs: keeps its arrays inside the processor's cache


@dataclass(frozen=True, slots=True)
class Trial:
    """What to simulate.

    Attributes:
        world: The truth.
        method: A key of `METHODS`.
        stopping: One of `STOPPING_RULES`.
        delta: Error level.
        epsilon: Margin.
        max_comparisons: Budget, or None.
        in_flight: Outcomes on their way at any time: assigned, not yet counted.
        refresh_every: Comparisons between refreshes, or None for every 2 % of those so far.

    Raises:
        UnsupportedError: If the method or the stopping rule does not exist.
        DesignError: If a number is out of range.
    """

    world: World
    method: str = "llm-po"
    stopping: str = "e-process"
    delta: float = 0.05
    epsilon: float = 0.0
    max_comparisons: int | None = None
    in_flight: int = 0
    refresh_every: int | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UnsupportedError("method", self.method, tuple(METHODS))
        if self.stopping not in STOPPING_RULES:
            raise UnsupportedError("stopping", self.stopping, STOPPING_RULES)
        checked_delta(self.delta)
        checked_epsilon(self.epsilon)
        if self.in_flight < 0 or (self.refresh_every is not None and self.refresh_every < 1):
            raise DesignError(
                f"in_flight is {self.in_flight}, refresh_every {self.refresh_every}; at least 0 and 1."
            )

    @property
    def design(self) -> Design:
        """The design every run follows; no incumbent is favoured, since no costs differ."""
        costs = (0.0,) * self.world.policies
        return Design(self.delta, self.epsilon, 0, costs, self.max_comparisons)

    @property
    def hardness(self) -> float:
        """T* of the world, or T_eps when epsilon > 0; infinite where there is nothing to identify."""
        if self.epsilon > 0:
            return no_worse_hardness(self.world.preferences, self.epsilon)
        if self.world.champion is None:
            return float("inf")
        return optimal_allocation(self.world.preferences).hardness


@dataclass(frozen=True, slots=True)
class Ending:
    """How one run ended: the verdict's kind, whether it promoted wrongly, comparisons assigned by then."""

    kind: str
    is_wrong: bool
    comparisons: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What many runs of a trial came to."""

    trial: Trial
    endings: tuple[Ending, ...]

    @property
    def mean(self) -> float:
        """Mean comparisons."""
        return float(np.mean([ending.comparisons for ending in self.endings]))

    @property
    def stderr(self) -> float:
        """Standard error of the mean; 0 for a single run."""
        counts = [ending.comparisons for ending in self.endings]
        return float(np.std(counts, ddof=1) / np.sqrt(len(counts))) if len(counts) > 1 else 0.0

    @property
    def wrong(self) -> int:
        """Wrong promotions."""
        return sum(ending.is_wrong for ending in self.endings)

    @property
    def outcomes(self) -> dict[str, int]:
        """How many runs ended in each way."""
        counted = Counter(ending.kind for ending in self.endings)
        return {kind: counted.get(kind, 0) for kind in OUTCOMES}

    def to_json(self) -> dict[str, Any]:
        """Plain values; `hardness` and `ratio` are None where there is nothing to identify."""
        trial, hardness = self.trial, self.trial.hardness
        yardstick = hardness * elimination_threshold(trial.delta)
        return {
            "world": trial.world.name,
            "method": trial.method,
            "stopping": trial.stopping,
            "delta": trial.delta,
            "epsilon": trial.epsilon,
            "seeds": len(self.endings),
            "hardness": hardness if np.isfinite(hardness) else None,
            "mean_comparisons": self.mean,
            "stderr": self.stderr,
            "ratio": self.mean / yardstick if np.isfinite(hardness) else None,
            "wrong": self.wrong,
            "outcomes": self.outcomes,
        }


def simulate(trial: Trial, seeds: int, seed: int = 0) -> Summary:
    """Run a trial `seeds` times; see `simulate_batches`."""
    return Summary(trial, tuple(chain.from_iterable(simulate_batches(trial, seeds, seed))))


def simulate_batches(trial: Trial, seeds: int, seed: int = 0) -> Iterator[list[Ending]]:
    """The endings of `seeds` runs, as they become known.

    Args:
        trial: What to simulate.
        seeds: How many runs, at least 1.
        seed: Fixes every run; another seed gives independent ones.

    Raises:
        DesignError: If `seeds` or `seed` is out of range.
    """
    if seeds < 1 or seed < 0:
        raise DesignError(f"seeds is {seeds} and seed {seed}; at least 1 and 0.")
    together = max(1, min(seeds, _SIDE_BY_SIDE_CELLS // trial.world.policies**2))
    for batch in range(0, seeds, together):
        rng = np.random.default_rng([seed, batch])
        yield _Batch(trial, min(together, seeds - batch), rng).run()


class _Batch:
    """Runs advancing in lockstep; a run that ends leaves."""

    def __init__(self, trial: Trial, runs: int, rng: np.random.Generator) -> None:
        self._trial, self._design, self._rng = trial, trial.design, rng
        self._sampler = METHODS[trial.method]()
        policies = trial.world.policies
        self._worlds = [trial.world.relabelled(rng.permutation(policies)) for _ in range(runs)]
        self._truth = np.stack([world.preferences for world in self._worlds])
        self._ledgers = Ledgers(runs, policies, trial.delta, trial.epsilon)
        self._flying = np.empty((runs, 0, 3), dtype=np.int64)  # first, second, whether first was preferred
        self._fit: Fit | None = None

    def run(self) -> list[Ending]:
        """Advance until every run has ended."""
        endings: list[Ending] = []
        while self._worlds:
            endings += self._leave()
            if self._worlds:
                self._advance()
        return endings

    def _advance(self) -> None:
        """Plan, assign a block of pairs, count as many outcomes as are due."""
        counted = self._ledgers.comparisons
        block = self._trial.refresh_every or max(1, counted // _REFRESH_SHARE)
        if self._design.max_comparisons is not None:
            block = min(block, self._design.max_comparisons - counted)
        situation = self._situation()
        pairs = np.sort(self._sampler.pairs(situation, block, self._rng), axis=2)
        first, second = pairs[..., 0], pairs[..., 1]
        runs = np.arange(len(self._worlds))[:, None]
        preferred = self._rng.random(first.shape) < self._truth[runs, first, second]
        self._flying = np.concatenate(
            [self._flying, np.stack([first, second, preferred.astype(np.int64)], axis=2)], axis=1
        )
        due = self._flying.shape[1] - self._trial.in_flight
        if due > 0:
            landed, self._flying = self._flying[:, :due], self._flying[:, due:]
            self._count(landed, self._published(situation))

    def _count(self, landed: IntArray, published: IntArray | None) -> None:
        """Count outcomes in order against the forecasts published now, before they were looked at."""
        runs = np.arange(landed.shape[0])
        for position in range(landed.shape[1]):
            first, second, preferred = landed[:, position].T
            results: list[Result] = ["win" if won else "loss" for won in preferred]
            q = [None] * runs.size if published is None else published[runs, first, second].tolist()
            self._ledgers.count(first, second, results, q)

    def _published(self, situation: Situation) -> IntArray | None:
        """The forecasts of this refresh, shape (R, K, K); the likelihood-ratio rule needs none."""
        if self._trial.stopping == "glr":
            return None
        self._fit = situation.fit
        return np.stack([in_millionths(q) for q in forecasts(situation.fit)])

    def _situation(self) -> Situation:
        ledgers = self._ledgers
        return Situation(ledgers.wins, ledgers.evidence, ledgers.eliminated, self._design, self._fit)

    def _leave(self) -> list[Ending]:
        """Endings of the runs that reached a verdict, which are dropped."""
        leaving = np.zeros(len(self._worlds), dtype=np.bool_)
        endings = []
        for run in np.flatnonzero(self._candidates()):
            reached = self._verdict(int(run))
            if reached is not None:
                leaving[run] = True
                endings.append(self._ending(int(run), reached))
        if leaving.any():
            self._keep(~leaving)
        return endings

    def _candidates(self) -> BoolArray:
        ledgers, budget = self._ledgers, self._design.max_comparisons
        if budget is not None and ledgers.comparisons >= budget:
            return np.ones(len(self._worlds), dtype=np.bool_)
        if ledgers.comparisons == 0:
            return np.zeros(len(self._worlds), dtype=np.bool_)
        if self._trial.stopping == "glr":
            return glr.may_conclude(ledgers.wins, self._design)
        return may_conclude(ledgers.wins, ledgers.evidence, ledgers.eliminated, self._design)

    def _verdict(self, run: int) -> Verdict | None:
        if self._trial.stopping == "glr":
            return glr.glr_verdict(self._ledgers.wins[run], self._design)
        only = np.array([run])
        return conclusion(self._ledgers.tally(run), self._design, fit(self._ledgers.wins[only]))

    def _ending(self, run: int, reached: Verdict) -> Ending:
        promoted = reached.champion
        wrong = promoted is not None and self._worlds[run].is_wrong(promoted, self._trial.epsilon)
        return Ending(reached.kind, wrong, self._ledgers.comparisons + self._flying.shape[1])

    def _keep(self, runs: BoolArray) -> None:
        self._worlds = [world for world, kept in zip(self._worlds, runs, strict=True) if kept]
        self._truth, self._flying = self._truth[runs], self._flying[runs]
        self._ledgers.keep(runs)
        self._fit = None if self._fit is None else self._fit.of(runs)
