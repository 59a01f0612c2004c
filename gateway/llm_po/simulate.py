"""Run a method in a world, many runs side by side, with the ledger and the verdicts that production uses.

Each run sees the policies in an order of its own. As in production, a method plans at refreshes: pairs
and forecasts are fixed there, outcomes are counted one by one against them, and a verdict is read at the
next refresh, every 2 % of the comparisons so far. `in_flight` holds outcomes back as slow feedback does.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from gateway.llm_po import glr
from gateway.llm_po.bradley_terry import Fit, fit
from gateway.llm_po.errors import DesignError
from gateway.llm_po.evidence import Ledgers, Result, in_millionths
from gateway.llm_po.forecast import forecasts
from gateway.llm_po.samplers import Situation
from gateway.llm_po.stopping import Verdict, conclusion, may_conclude
from gateway.llm_po.trial import METHODS, OUTCOMES, STOPPING_RULES, Ending, Summary, Trial
from gateway.llm_po.wins import BoolArray, IntArray

__all__ = [
    "METHODS",
    "OUTCOMES",
    "STOPPING_RULES",
    "Ending",
    "Summary",
    "Trial",
    "simulate",
    "simulate_batches",
]

_REFRESH_SHARE = 50  # a refresh every 1/50 of the comparisons so far
_SIDE_BY_SIDE_CELLS = 20_000  # pairs per batch of runs: keeps its arrays inside the processor's cache


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
