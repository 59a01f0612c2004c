"""Counts how often each policy was asked and how often it failed, to end an experiment that one starves.

Reports say nothing of a candidate that gives no answers, so failures are counted apart, in the store, over
all replicas (docs/decisions/0132-failing-candidates.md). A hook counts, and a task adds the counts to the
store from time to time, off the request path.

A failure may be known before the end of answers that were begun earlier, which would make a policy look
worse than it is. So a failure is added only once every request that began before it has ended; answers are
added at once. Answers that only a judge sees count like those that users see.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Final

from gateway.experiments.catalogue import CatalogueHolder
from gateway.instrumentation.hooks import Listener
from gateway.instrumentation.records import AttemptEnded, JudgeCalled, PolicyFailed
from gateway.upstream.failures import NOT_ASKED
from policy_store.errors import StoreError
from policy_store.store import PolicyStore

MOST_FAILURES: Final = 10_000
_ANSWERED: Final = frozenset({"answered", "abandoned"})  # a caller that leaves is no failure


class TrialCounter(Listener):
    """The counts of one process.

    Args:
        store: Keeps the sums.
        catalogue: Maps names to policies.
        timer: Monotonic seconds.
        lag_seconds: How long a request may last.
        interval_seconds: Time between two writes to the store.
    """

    def __init__(
        self,
        store: PolicyStore,
        catalogue: CatalogueHolder,
        timer: Callable[[], float],
        *,
        lag_seconds: float,
        interval_seconds: float,
    ) -> None:
        super().__init__(
            {
                AttemptEnded: self._attempt_ended,
                PolicyFailed: self._policy_failed,
                JudgeCalled: self._judge_called,
            }
        )
        self._store = store
        self._catalogue = catalogue
        self._timer = timer
        self._lag_seconds = lag_seconds
        self._interval_seconds = interval_seconds
        self._defined = catalogue.current.definitions
        # not a Counter, to which adding takes three times as long
        self._answered: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._failed: deque[tuple[float, tuple[str, str]]] = deque()

    def _attempt_ended(self, event: AttemptEnded) -> None:
        """Count an answer of a policy."""
        if event.policy and event.ending in _ANSWERED:
            self._answered[event.experiment, event.policy] += 1

    def _policy_failed(self, event: PolicyFailed) -> None:
        """Count a failure of a policy that was asked, some time later."""
        if event.reason not in NOT_ASKED and len(self._failed) < MOST_FAILURES:
            self._failed.append((self._timer(), (event.experiment, event.policy)))

    def _judge_called(self, event: JudgeCalled) -> None:
        """Count an answer or a failure of a policy that was asked for a judge."""
        if event.policy and event.outcome == "answered":
            self._answered[event.experiment, event.policy] += 1
        elif event.policy:
            self._policy_failed(PolicyFailed("", event.experiment, event.policy, event.outcome))

    async def run(self) -> None:
        """Add the counts to the store until cancelled."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            await self.bring()

    async def bring(self) -> None:
        """Add the new counts to the stored ones.

        If the store does not say that it took them, the failures are dropped and the answers are sent again:
        whatever it did, no policy looks worse than it is.
        """
        self._forget_changed()
        answered, self._answered = self._answered, defaultdict(int)
        failed = self._failures_due()
        for name, definition in self._defined.items():
            names = [policy.name for policy in definition.policies]
            tried = {
                index: (answered[name, policy] + failed[name, policy], failed[name, policy])
                for index, policy in enumerate(names)
                if answered[name, policy] or failed[name, policy]
            }
            try:
                if tried:
                    await self._store.count_trials(name, definition.experiment.fingerprint(), tried)
            except StoreError:
                for index, (asked, lost) in tried.items():
                    self._answered[name, names[index]] += asked - lost

    def _forget_changed(self) -> None:
        """Forget what was counted of experiments that another file defines anew."""
        before, self._defined = self._defined, self._catalogue.current.definitions
        if before is self._defined:
            return

        def is_same(name: str) -> bool:
            old, new = before.get(name), self._defined.get(name)
            return old is not None and new is not None and old.experiment == new.experiment

        for each in [each for each in self._answered if not is_same(each[0])]:
            del self._answered[each]
        self._failed = deque(each for each in self._failed if is_same(each[1][0]))

    def _failures_due(self) -> Counter[tuple[str, str]]:
        judges = [each.spec.judge for each in self._defined.values() if each.spec.judge is not None]
        longest = max([self._lag_seconds, *(judge.timeout.total_seconds() for judge in judges)])
        due, before = Counter[tuple[str, str]](), self._timer() - longest
        while self._failed and self._failed[0][0] <= before:
            due[self._failed.popleft()[1]] += 1
        return due
