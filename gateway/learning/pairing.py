"""Pairs the numbers of a policy's answers with numbers of the policy that it is compared with.

The newest number that waits is paired first, so both numbers of a pair are from nearly the same time, and an
outage hits both. Which numbers make a pair depends only on when answers ended, and which are dropped only on
how many wait.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from gateway.experiments.guardrails import Guardrail, Measure
from gateway.llm_po.guardrails import in_steps

_MOST_WAITING: Final = 64
_REMEMBERED: Final = 200
_FEWEST_REMEMBERED: Final = 50


class _Usual(NamedTuple):
    """A number of the reference, and the slowness that was usual before it; None while that is not known."""

    number: float
    usual: float | None


class UsualTimes:
    """How long the latest answers of a policy took.

    Args:
        quantile: The share of answers that are to be no slower than the usual time.
    """

    def __init__(self, quantile: float) -> None:
        self._quantile = quantile
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        """Take another one."""
        self._latest.append(seconds)
        insort(self._sorted, seconds)
        if len(self._latest) > _REMEMBERED:
            del self._sorted[bisect_left(self._sorted, self._latest.popleft())]

    @property
    def usual(self) -> float | None:
        """The quantile of those that are remembered; None while they are too few to say."""
        if len(self._sorted) < _FEWEST_REMEMBERED:
            return None
        return self._sorted[min(int(self._quantile * len(self._sorted)), len(self._sorted) - 1)]


class GuardrailPairing:
    """Pairs numbers of one guardrail and reference.

    Args:
        guardrail: Whose numbers they are.
        rng: Rounds numbers to steps at random.
    """

    def __init__(self, guardrail: Guardrail, rng: random.Random) -> None:
        self._guardrail = guardrail
        self._rng = rng
        self._times = UsualTimes(guardrail.quantile)
        self._waiting: defaultdict[int, deque[float]] = defaultdict(_waiting)
        self._references: defaultdict[int, deque[_Usual]] = defaultdict(_waiting)

    def of_policy(self, policy: int, number: float) -> tuple[int, int] | None:
        """The pair, in steps, that a policy's number completes; None if it waits."""
        references = self._references[policy]
        if references:
            return self._pair(number, references.pop())
        self._waiting[policy].append(number)
        return None

    def of_reference(self, policies: Iterable[int], number: float) -> Iterable[tuple[int, tuple[int, int]]]:
        """The pairs that a number of the reference completes, with the policies that they are about."""
        found = _Usual(number, None)
        if self._guardrail.measure is Measure.SLOWNESS:
            found = _Usual(number, self._times.usual)
            self._times.add(number)
            if found.usual is None:
                return
        for policy in policies:
            waiting = self._waiting[policy]
            if waiting:
                yield policy, self._pair(waiting.pop(), found)
            else:
                self._references[policy].append(found)

    def _pair(self, number: float, reference: _Usual) -> tuple[int, int]:
        slack = self._guardrail.slack
        return self._step(number, slack, reference), self._step(reference.number, 1.0, reference)

    def _step(self, number: float, slack: float, reference: _Usual) -> int:
        if reference.usual is not None:
            number = float(number > slack * reference.usual)
        return in_steps(self._guardrail.scaled(number), self._rng.random())


def _waiting() -> deque[Any]:
    return deque(maxlen=_MOST_WAITING)
