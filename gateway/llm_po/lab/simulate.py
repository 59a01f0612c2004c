"""Runs a method in a world, many runs at once, with the gateway's own ledger and verdicts.

Each run has the policies in another order. As in the gateway, a method plans at refreshes: pairs
and forecasts are fixed there, outcomes are counted one by one against them, and a verdict is read at the
next refresh, every 2 % of the comparisons so far. `in_flight` holds outcomes back as slow feedback does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

import numpy as np

from gateway.llm_po import glr
from gateway.llm_po.bradley_terry import Fit, Scales, fit
from gateway.llm_po.distribution import pair_distribution
from gateway.llm_po.errors import DesignError
from gateway.llm_po.evidence import ComparisonResult, Ledgers
from gateway.llm_po.exposure import Mix, capped_mix
from gateway.llm_po.forecast import bets
from gateway.llm_po.lab.going_on import GoingOn
from gateway.llm_po.lab.matching import matched_runs
from gateway.llm_po.lab.traces import Recorder, decision_progress
from gateway.llm_po.lab.trial import METHODS, STOPPING_RULES, RunEnding, Summary, Trial
from gateway.llm_po.lab.voters import Votes
from gateway.llm_po.lab.worlds import drifted
from gateway.llm_po.last_look import with_last_look
from gateway.llm_po.priors import informed
from gateway.llm_po.samplers import Sampler, Situation
from gateway.llm_po.scalars import whole_number
from gateway.llm_po.stakes import published
from gateway.llm_po.stopping import Verdict, conclusion, may_conclude
from gateway.llm_po.structured import likelihood_ratio, linear
from gateway.llm_po.structured.features import Features
from gateway.llm_po.structured.forecast import scales_for
from gateway.llm_po.structured.linear import LinearFit
from gateway.llm_po.structured.sampler import StructuredSampler
from gateway.llm_po.wins import BoolArray, IntArray

__all__ = [
    "METHODS",
    "STOPPING_RULES",
    "BatchOfRuns",
    "RunEnding",
    "Summary",
    "Trial",
    "batches",
    "run_batch",
    "simulate",
]

_RESULTS: Final[tuple[ComparisonResult, ...]] = ("loss", "win", "tie")
_TIE: Final = 2
_REFRESH_SHARE: Final = 50  # a refresh every 1/50 of the comparisons so far
_CAPPED_REFRESH_SHARE: Final = 10  # with caps, because such a plan takes much longer
_FEWEST_COMPARED: Final = 1e-6  # share of the units; below it, caps leave an experiment without comparisons
_SIDE_BY_SIDE_CELLS: Final = 20_000  # pairs per batch of runs; keeps its arrays inside the processor's cache
_MOST_SIDE_BY_SIDE: Final = 100  # more runs at once save a third at most, and more batches keep cores busy
_ENOUGH_BATCHES: Final = 20  # beyond that many, more runs go side by side instead


def simulate(trial: Trial, seeds: int, seed: int = 0, budgets: Sequence[int] = ()) -> Summary:
    """Run a trial `seeds` times, one batch after another."""
    endings = (run_batch(trial, batch, seed, budgets) for batch in batches(trial, seeds))
    return Summary(trial, tuple(chain.from_iterable(endings)))


@dataclass(frozen=True, slots=True)
class BatchOfRuns:
    """Some of a trial's runs: the index of the first one, and how many there are."""

    first: int
    runs: int


def batches(trial: Trial, seeds: int) -> list[BatchOfRuns]:
    """How `seeds` runs are divided into batches, which are independent of one another.

    Raises:
        DesignError: If `seeds` is out of range.
    """
    whole_number(seeds, "seeds", 1)
    if trial.caps is not None:  # each run has shares of its own to move within the caps
        return [BatchOfRuns(first, 1) for first in range(seeds)]
    most = max(_MOST_SIDE_BY_SIDE, seeds // _ENOUGH_BATCHES)
    together = max(1, min(most, _SIDE_BY_SIDE_CELLS // trial.world.policies**2))
    return [BatchOfRuns(first, min(together, seeds - first)) for first in range(0, seeds, together)]


def run_batch(trial: Trial, batch: BatchOfRuns, seed: int, budgets: Sequence[int] = ()) -> list[RunEnding]:
    """The endings of one batch, in the order in which they became known.

    Args:
        trial: What to simulate.
        batch: One of `batches`.
        seed: Fixes every run; another seed gives independent ones.
        budgets: Increasing numbers of comparisons at which to note leader and evidence; they do not change a
            run.

    Raises:
        DesignError: If `seed` is out of range.
    """
    whole_number(seed, "seed", 0)
    for budget in budgets:
        whole_number(budget, "A budget", 0)
    return _Batch(trial, batch.runs, np.random.default_rng([seed, batch.first]), budgets).run()


class _Batch:
    """Runs that advance in lockstep; a run leaves when it ends."""

    def __init__(self, trial: Trial, runs: int, rng: np.random.Generator, budgets: Sequence[int]) -> None:
        self._trial, self._design, self._rng = trial, trial.design, rng
        policies = trial.world.policies
        self._orders = np.stack([rng.permutation(policies) for _ in range(runs)])
        self._features: Features | None = None
        self._linear: LinearFit | None = None
        if trial.features is not None:
            self._orders[:] = self._orders[0]  # runs side by side share their features
            self._features = trial.features.relabelled(self._orders[0])
        self._sampler = _sampler(trial, self._features)
        self._budgets, self._recorder = tuple(budgets), Recorder(budgets, runs)
        self._ledgers = Ledgers(runs, policies, trial.delta, trial.epsilon, trial.promise)
        self._flying = np.empty((runs, 0, 3), dtype=np.int64)  # first, second, index in _RESULTS
        self._fit: Fit | None = None
        self._matched = matched_runs(trial.world.outcomes, self._orders, rng)
        voters = trial.world.voters
        self._votes = None if voters is None else Votes(voters, runs, rng)
        costs = np.array(trial.design.costs)[self._orders]
        self._request_costs, self._spent = costs, np.zeros(runs)
        self._caps = trial.relabelled_caps(self._orders[0])  # with caps there is one run
        self._compared, self._opportunities = 1.0, 0.0
        self._alone = scales_for(self._features, over_rivals=self._design.assumes_winner)
        self._scales = self._informed()
        self._requests = np.zeros(policies, dtype=np.int64)
        self._looks = 1 - rng.spawn(1)[0].random(runs) if trial.last_look else np.zeros(runs)

    def run(self) -> list[RunEnding]:
        """Advance until every run has ended; runs that reached a verdict are dropped."""
        endings: list[RunEnding] = []
        while self._orders.size:
            self._recorder.note(self._ledgers, self._design)
            leaving = np.zeros(self._orders.shape[0], dtype=np.bool_)
            for run in np.flatnonzero(self._candidates()):
                reached = self._verdict(int(run))
                if reached is not None:
                    leaving[run] = True
                    endings.append(self._ending(int(run), reached))
            if leaving.any():
                self._keep(~leaving)
            if self._orders.size:
                self._advance()
        return endings

    def _advance(self) -> None:
        """Plan, assign a block of pairs, count as many outcomes as are due.

        Once the budget is spent nothing more is assigned, and outcomes in flight are still counted.
        """
        counted, flying = self._ledgers.comparisons, self._flying.shape[1]
        share = _REFRESH_SHARE if self._caps is None else _CAPPED_REFRESH_SHARE
        block = self._trial.refresh_every or max(1, (counted + flying) // share)
        budget = self._design.max_comparisons
        wanted = self._after_blind_start(block, counted, flying)
        assigned = wanted if budget is None else min(wanted, budget - counted - flying)
        situation = self._situation()
        if assigned > 0:
            self._assign(self._proposed(situation, assigned))
        in_flight = round(self._trial.in_flight * self._compared)  # fewer if caps leave units uncompared
        is_flowing = assigned > 0 and not self._trial.blind_start
        due = self._flying.shape[1] - in_flight if is_flowing else min(block, self._flying.shape[1])
        if due > 0:
            landed, self._flying = self._flying[:, :due], self._flying[:, due:]
            self._count(landed, situation)

    def _after_blind_start(self, block: int, counted: int, flying: int) -> int:
        """How many comparisons to assign: none until those of a blind start are counted."""
        blind = self._trial.blind_start
        if not blind:
            return block
        return max(blind, block) if counted + flying == 0 else 0 if flying else block

    def _proposed(self, situation: Situation, assigned: int) -> IntArray:
        """The next pairs of each run, within the caps."""
        if self._caps is None:
            return self._sampler.pairs(situation, assigned, self._rng)
        mix = capped_mix(
            lambda each: Mix(*pair_distribution(self._sampler, each, self._rng)), situation, self._caps
        )
        if mix.compared < _FEWEST_COMPARED:
            raise DesignError("The caps allow no comparisons; raise them.")
        self._compared = mix.compared
        self._opportunities += assigned / mix.compared
        pairs = mix.pairs[self._rng.choice(len(mix.pairs), size=assigned, p=mix.probabilities)]
        self._requests += np.bincount(pairs.ravel(), minlength=self._requests.size)
        return np.asarray(pairs[None])

    def _assign(self, proposed: IntArray) -> None:
        """Draw the outcomes of proposed pairs, to be counted when they arrive."""
        pairs = np.sort(proposed, axis=2)
        if self._matched:
            served = zip(self._matched, pairs.tolist(), strict=True)
            made = [run.comparisons(list(map(tuple, own))) for run, own in served]
            assigned = np.array(made, dtype=np.int64)
        else:
            assigned = self._drawn(pairs)
        self._flying = np.concatenate([self._flying, assigned], axis=1)
        requests = assigned[..., :2].reshape(pairs.shape[0], -1)
        self._spent += np.take_along_axis(self._request_costs, requests, axis=1).sum(axis=1)

    def _drawn(self, pairs: IntArray) -> IntArray:
        """One comparison of each pair, as the world's preferences have it."""
        first, second = self._original(pairs[..., 0]), self._original(pairs[..., 1])
        if self._votes is not None:
            return np.concatenate([pairs, self._votes.on(first, second)[..., None]], axis=2)
        world, start = self._trial.world, self._ledgers.comparisons + self._flying.shape[1]
        chance = world.preferences[first, second]
        if world.drift is not None:
            share = world.drift.share(np.arange(start, start + pairs.shape[1]))
            chance = drifted(chance, world.drift.towards[first, second], share)
        outcomes = (self._rng.random(first.shape) < chance).astype(np.int64)
        if world.ties is not None:
            outcomes[self._rng.random(first.shape) < world.ties[first, second]] = _TIE
        return np.concatenate([pairs, outcomes[..., None]], axis=2)

    def _original(self, policies: IntArray) -> IntArray:
        """The world's indices of policies, from each run's own indices; shape (R, ...)."""
        return np.take_along_axis(self._orders, policies, axis=1)

    def _count(self, landed: IntArray, situation: Situation) -> None:
        """Count outcomes in order against the forecasts of this refresh; likelihood-ratio rules need none."""
        forecasts = None
        if self._trial.stopping == "e-process":
            self._fit = situation.fit
            over_rivals = self._design.assumes_winner
            staked = bets(situation.fit, self._design.epsilon, over_rivals=over_rivals)
            forecasts = GoingOn(published(staked, situation))
        for position in range(landed.shape[1]):
            first, second, outcomes = landed[:, position].T
            results = [_RESULTS[outcome] for outcome in outcomes]
            q = [None] * first.size if forecasts is None else forecasts.of(first, second)
            self._ledgers.count(first, second, results, q)
            if forecasts is not None:
                forecasts.count(first, second, outcomes)

    def _situation(self) -> Situation:
        ledgers = self._ledgers
        prices = None
        if self._design.objective == "cost":
            prices = self._request_costs[:, :, None] + self._request_costs[:, None, :]
        counts = ledgers.wins, ledgers.evidence, ledgers.eliminated
        return Situation(
            *counts, self._design, self._fit, prices, at_half=ledgers.at_half, scales=self._scales
        )

    def _informed(self) -> Scales:
        """The grid of the fits, with what the judges said about each run's policies."""
        if not self._trial.judges:
            return self._alone
        preferences = self._trial.world.preferences[self._orders[:, :, None], self._orders[:, None, :]]
        return informed([judge.counts(preferences, self._rng) for judge in self._trial.judges], self._alone)

    def _candidates(self) -> BoolArray:
        ledgers = self._ledgers
        if self._is_spent():
            return np.ones(self._orders.shape[0], dtype=np.bool_)
        is_early = self._opportunities - self._trial.in_flight < self._trial.min_opportunities
        if ledgers.comparisons == 0 or (self._caps is not None and is_early):
            return np.zeros(self._orders.shape[0], dtype=np.bool_)
        if self._features is not None and self._trial.decides_by_features:
            self._linear = linear.fit_structure(ledgers.wins, self._features, start=self._linear)
            return likelihood_ratio.lr_may_conclude(ledgers.wins, self._design, self._features, self._linear)
        if threshold := glr.THRESHOLDS.get(self._trial.stopping):
            return glr.glr_may_conclude(ledgers.wins, self._design, threshold)
        counted = ledgers.wins, ledgers.evidence, ledgers.eliminated
        return may_conclude(*counted, self._design, ledgers.at_half)

    def _verdict(self, run: int) -> Verdict | None:
        design = self._trial.relabelled_design(self._orders[run])
        if self._features is not None and self._trial.decides_by_features:
            reached = likelihood_ratio.lr_verdict(self._ledgers.wins[run], design, self._features)
        elif threshold := glr.THRESHOLDS.get(self._trial.stopping):
            reached = glr.glr_verdict(self._ledgers.wins[run], design, threshold)
        else:
            tally = self._ledgers.tally(run)
            if self._trial.last_look:
                design = replace(design, last_look=float(self._looks[run]))
            alone = fit(tally.wins[None], self._alone)
            reached = with_last_look(conclusion(tally, design, alone), tally, design, alone)
        if reached is None and self._is_spent():
            return Verdict("inconclusive", None, None, None)
        return reached

    def _is_spent(self) -> bool:
        """Whether every comparison of the budget has been counted, ties included."""
        budget = self._design.max_comparisons
        return budget is not None and self._ledgers.comparisons >= budget

    def _ending(self, run: int, reached: Verdict) -> RunEnding:
        world, order = self._trial.world, self._orders[run]
        promised = self._trial.epsilon, self._trial.promise
        promoted = None if reached.champion is None else int(order[reached.champion])
        comparisons = self._ledgers.comparisons + self._flying.shape[1]
        is_wrong = promoted is not None and world.is_wrong(promoted, *promised)
        ending = RunEnding(reached.kind, is_wrong, comparisons, promoted, cost=float(self._spent[run]))
        if self._caps is not None:
            requests = self._requests[np.argsort(order)].tolist()
            ending = replace(ending, opportunities=self._opportunities, requests=tuple(requests))
        if not self._budgets:
            return ending
        # At checkpoints after the end, the policy that serves after the verdict counts as the leader.
        last = self._recorder.leader(self._ledgers, run) if reached.champion is None else reached.champion
        leaders = self._recorder.leaders(run, last)
        leads = tuple(not world.is_wrong(int(order[leader]), *promised) for leader in leaders)
        if self._trial.stopping != "e-process":
            return replace(ending, leads=leads)
        is_decided = reached.kind != "inconclusive"
        share = 1.0 if is_decided else float(decision_progress(self._ledgers, self._design)[run])
        return replace(ending, leads=leads, progress=self._recorder.progress(run, share))

    def _keep(self, runs: BoolArray) -> None:
        self._orders, self._flying = self._orders[runs], self._flying[runs]
        self._matched = [run for run, kept in zip(self._matched, runs, strict=False) if kept]
        self._request_costs, self._spent = self._request_costs[runs], self._spent[runs]
        self._looks = self._looks[runs]
        if self._votes is not None:
            self._votes.keep(runs)
        self._ledgers.keep(runs)
        self._recorder.keep(runs)
        self._fit = None if self._fit is None else self._fit.of(runs)
        self._scales = self._scales.of(runs)
        self._linear = None if self._linear is None else self._linear.of(runs)


def _sampler(trial: Trial, features: Features | None) -> Sampler:
    """The method's sampler; ours approaches the structured optimum if the structure decides."""
    if features is not None and trial.decides_by_features and trial.method == "llm-po":
        return StructuredSampler(features)
    return METHODS[trial.method]()
