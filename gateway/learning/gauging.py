"""Measures answers for guardrails, and adds the pairs of numbers to those of all replicas.

A request measures only if its experiment has guardrails, and never waits for the store: a task adds what was
counted from time to time. A process that is killed loses what it counted since, and the numbers that wait
for a pair; no number is counted twice. What is lost does not depend on the numbers.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from gateway.experiments.guardrails import Guardrail, Measure, counted_for
from gateway.experiments.snapshot import LiveExperiment
from gateway.experiments.store_history import StoreHistory
from gateway.learning.pairing import GuardrailPairing
from gateway.upstream.prices import TokenPrices
from gateway.upstream.usage import Tokens
from policy_store.errors import StoreError
from policy_store.guard_records import CountedFor, PairCounts
from policy_store.store import PolicyStore

GAUGES_FLUSH_SECONDS: Final = 1.0
"""Time between two additions to the counts in the store: what a killed process loses at most."""


class _Batch(NamedTuple):
    """Counts on their way to the store; sent again under the same number until it took them."""

    number: int
    counted: Mapping[CountedFor, PairCounts]


class Gauges:
    """Counts the pairs of this process.

    Args:
        store: Adds up the counts of all replicas.
        history: Knows whether the store lost something; then nothing is added.
        prices: Gives the known prices, by model.
        sender: The name of this process.
        rng: Rounds numbers at random.
        interval_seconds: Time between two additions to the store.
    """

    def __init__(
        self,
        store: PolicyStore,
        history: StoreHistory,
        prices: Callable[[], Mapping[str, TokenPrices]],
        *,
        sender: str,
        rng: random.Random,
        interval_seconds: float,
    ) -> None:
        self._store = store
        self._history = history
        self.prices = prices
        self._sender = sender
        self._rng = rng
        self._interval_seconds = interval_seconds
        self._pairings: dict[tuple[str, int], dict[tuple[str, str], GuardrailPairing]] = {}
        self._counted: dict[tuple[str, int], dict[CountedFor, Counter[tuple[int, int]]]] = {}
        self._underway: dict[tuple[str, int], _Batch] = {}
        self._number = 0

    def gauge(self, experiment: LiveExperiment, policies: Sequence[int]) -> AnswerGauge | None:
        """What measures the answers of these policies to one request; None if nothing compares them."""
        return AnswerGauge(self, experiment, frozenset(policies)) if policies else None

    def take(self, experiment: LiveExperiment, guardrail: Guardrail, policy: int, number: float) -> None:
        """Take a number of a policy's answer."""
        pairing = self._pairing(experiment, guardrail)
        if policy == experiment.reference:
            for other, pair in pairing.of_reference(_others(experiment), number):
                self._count(experiment, guardrail, other, pair)
        elif policy in _others(experiment):
            found = pairing.of_policy(policy, number)
            if found is not None:
                self._count(experiment, guardrail, policy, found)

    async def run(self) -> None:
        """Add the counts to the store until cancelled, and once more at the end."""
        try:
            while True:
                await asyncio.sleep(self._interval_seconds)
                await self._add_if_possible()
        finally:
            await self._add_if_possible()

    async def add(self) -> None:
        """Add what was counted to the store, that of all experiments at once: a part of it may be away.

        Raises StoreError; what was not added is then sent next time.
        """
        if self._history.held is not None:
            return
        for key in self._counted.keys() - self._underway.keys():
            self._number += 1
            self._underway[key] = _Batch(self._number, self._counted.pop(key))
        found = await asyncio.gather(
            *(self._add(key, batch) for key, batch in self._underway.items()), return_exceptions=True
        )
        for fault in found:
            if fault is not None:
                raise fault

    async def _add(self, key: tuple[str, int], batch: _Batch) -> None:
        await self._store.add_pairs(*key, self._sender, batch.number, batch.counted)
        del self._underway[key]

    async def _add_if_possible(self) -> None:
        # the refresher reports it; the counts are sent again
        with contextlib.suppress(StoreError):
            await self.add()

    def _pairing(self, experiment: LiveExperiment, guardrail: Guardrail) -> GuardrailPairing:
        """What waits for a pair; numbers of earlier runs and of another reference are dropped."""
        run = experiment.name, experiment.generation
        if run not in self._pairings:
            self._pairings = {key: kept for key, kept in self._pairings.items() if key[0] != run[0]}
            self._pairings[run] = {}
        compared = guardrail.id, experiment.policies[experiment.reference].fingerprint
        if compared not in self._pairings[run]:
            self._pairings[run][compared] = GuardrailPairing(guardrail, self._rng)
        return self._pairings[run][compared]

    def _count(
        self, experiment: LiveExperiment, guardrail: Guardrail, policy: int, pair: tuple[int, int]
    ) -> None:
        own, other = (experiment.policies[each].fingerprint for each in (policy, experiment.reference))
        about = counted_for(guardrail, own, other, experiment.guards)
        counted = self._counted.setdefault((experiment.name, experiment.generation), {})
        counted.setdefault(about, Counter())[pair] += 1


class AnswerGauge:
    """Measures the answers to one request.

    Args:
        gauges: Takes the numbers.
        experiment: As it was when the request was routed.
        policies: The policies that were drawn; answers of others are not measured.
    """

    __slots__ = ("_experiment", "_gauges", "_names")

    def __init__(self, gauges: Gauges, experiment: LiveExperiment, policies: frozenset[int]) -> None:
        self._gauges = gauges
        self._experiment = experiment
        self._names = {experiment.policies[policy].name: policy for policy in policies}

    @property
    def reads_answers(self) -> bool:
        """Whether refusals are measured."""
        return any(each.measure is Measure.REFUSAL for each in self._experiment.guardrails)

    def answered(
        self, policy: str, model: str, seconds: float, tokens: Tokens | None, *, refused: bool
    ) -> None:
        """Measure an answer that is complete."""
        prices = self._gauges.prices().get(model)
        numbers = {
            Measure.ERROR: 0.0,
            Measure.REFUSAL: float(refused),
            Measure.LATENCY: seconds,
            Measure.SLOWNESS: seconds,
        }
        if tokens is not None:
            numbers[Measure.OUTPUT_TOKENS] = float(tokens[1])
            if prices is not None:
                numbers[Measure.COST] = prices.of(*tokens)
        self._take(policy, numbers)

    def left(self, policy: str, seconds: float) -> None:
        """Measure an answer that its caller did not wait for: it would have taken at least as long."""
        self._take(policy, {Measure.LATENCY: seconds, Measure.SLOWNESS: seconds})

    def failed(self, policy: str) -> None:
        """Measure a failure."""
        self._take(policy, {Measure.ERROR: 1.0})

    def _take(self, name: str, numbers: Mapping[Measure, float]) -> None:
        policy = self._names.get(name)
        if policy is None:
            return
        for guardrail in self._experiment.guardrails:
            number = numbers.get(guardrail.measure)
            if number is not None:
                self._gauges.take(self._experiment, guardrail, policy, number)


def _others(experiment: LiveExperiment) -> Sequence[int]:
    """The policies that are compared with the reference."""
    if experiment.watched is not None:
        return [each for each in experiment.watched if each != experiment.reference]
    return [each for each in range(len(experiment.policies)) if each != experiment.reference]
