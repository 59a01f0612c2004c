"""A model of the gateway's queues: units that report late or not at all, and the matching of their reports.

A unit gets one policy of a pair and succeeds or fails, and some units report that after a while. An outcome
is compared with a waiting one of the pair's other policy, or waits itself. `record_outcome.lua` does this
with real outcomes. Three rules decide whether time can be mistaken for quality: which waiting outcome is
chosen, which policy answers, and how old an outcome is when it counts (docs/decisions/0019-newest-first.md).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Literal

import numpy as np

from gateway.llm_po.checks import checked_type, reals
from gateway.llm_po.errors import WorldError
from gateway.llm_po.scalars import is_real, is_whole, shown
from gateway.llm_po.wins import IntArray

Order = Literal["newest", "oldest"]

_DRAWN_AT_ONCE: Final = 4096
# Besides `rates`.
_IN_FILES: Final = ("reported", "reported_failures", "delays", "hold", "wait", "later", "drift_units")
_Queue = list[tuple[float, float]]  # the time and the value of each outcome, the oldest first


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """The outcomes of each policy's units, which of them are reported, and how reports are counted.

    Attributes:
        rates: Success rate of each policy at the first unit, each strictly between 0 and 1.
        later: Success rates from unit `drift_units` on, reached in a straight line; None: no change.
        drift_units: The unit at which rates stop changing.
        reported: Share of each policy's units that report, in (0, 1].
        delays: How many units are served until a failure, and until a success, is reported.
        hold: How many units are served until an outcome counts; a later report is refused. None: at once.
        wait: How many units are served until a waiting outcome is dropped, or None.
        order: Which waiting outcome is compared first.
        lagging_share: How often the policy with fewer outcomes waiting answers; 1/2 is a fair coin.
        reported_failures: Share of each policy's failures that are reported; None: as `reported`, which says
            it of successes otherwise.

    Raises:
        WorldError: If a number is out of range.
    """

    rates: tuple[float, ...]
    later: tuple[float, ...] | None = None
    drift_units: int = 1
    reported: tuple[float, ...] | None = None
    delays: tuple[int, int] = (0, 0)
    hold: int | None = None
    wait: int | None = None
    order: Order = "newest"
    lagging_share: float = 0.9
    reported_failures: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        checked_type(self.rates, Sequence, "rates", WorldError)
        checked_type(self.delays, Sequence, "delays", WorldError)
        for name in ("rates", "later", "reported", "reported_failures"):
            if (values := getattr(self, name)) is not None:
                shares = reals(values, name, (len(self.rates),), WorldError)
                may_be_all = name.startswith("reported")
                if not ((shares > 0) & ((shares <= 1) if may_be_all else (shares < 1))).all():
                    raise WorldError(f"{name} is {shown(values)}; give each policy a share of its units.")
        if len(self.delays) != 2 or not all(is_whole(delay, 0) for delay in self.delays):
            raise WorldError(f"delays is {shown(self.delays)}; give two whole numbers of units.")
        for name, units in (("drift_units", self.drift_units), ("wait", self.wait)):
            if units is not None and not is_whole(units, 1):
                raise WorldError(f"{name} is {shown(units)}; give at least one unit.")
        if self.hold is not None and not is_whole(self.hold, min(self.delays)):
            raise WorldError(
                f"hold is {shown(self.hold)}; give at least {min(self.delays)} units, because before that "
                "nothing is known."
            )
        if self.order not in ("newest", "oldest"):
            raise WorldError(f"order is {shown(self.order)}; newest or oldest.")
        if not is_real(self.lagging_share) or not 0 < self.lagging_share < 1:
            raise WorldError(f"lagging_share is {shown(self.lagging_share)}; strictly between 0 and 1.")

    def rate(self, policy: int, unit: int) -> float:
        """The success rate of a policy at a unit."""
        if self.later is None:
            return self.rates[policy]
        share = min(1.0, unit / self.drift_units)
        return self.rates[policy] + share * (self.later[policy] - self.rates[policy])

    @property
    def hides_outcomes(self) -> bool:
        """Whether units count before failures (or successes) are known: all counted ones are then equal."""
        return self.hold is not None and self.hold < max(self.delays)

    def shares_reported(self, policy: int) -> tuple[float, float]:
        """The share of a policy's failures, and of its successes, that are reported."""
        of_good = 1.0 if self.reported is None else self.reported[policy]
        of_bad = of_good if self.reported_failures is None else self.reported_failures[policy]
        return of_bad, of_good


def outcomes_from_json(content: Mapping[str, Any]) -> Outcomes | None:
    """The outcomes of units, if a world's file says how they report; None if it does not.

    Besides `rates` the file may have `reported`, `reported_failures`, `delays`, `hold`, `wait`, and `later`
    with `drift_units`, as in `Outcomes`.

    Raises:
        WorldError: If one of these is out of range, or another one that it needs is missing.
    """
    checked_type(content, Mapping, "content", WorldError)
    given = {name: content[name] for name in _IN_FILES if name in content}
    if not given:
        return None
    if "rates" not in content:
        raise WorldError(f'"{next(iter(given))}" says how outcomes arrive, but there are none: give "rates".')
    if ("later" in given) is not ("drift_units" in given):
        raise WorldError(
            '"later" and "drift_units" need each other: the later rates, and the units until then.'
        )
    values: dict[str, Any] = {"rates": content["rates"], **given}
    for name, value in values.items():
        values[name] = tuple(value) if isinstance(value, list) else value
    return Outcomes(**values)


class Queues:
    """Outcomes that wait for one of the other policy of their pair: a model of `record_outcome.lua`.

    Args:
        wait: How long an outcome waits before it is dropped, or None.
        order: Which waiting outcome is compared first.
    """

    def __init__(self, wait: float | None, order: Order) -> None:
        self._wait, self._from = wait, -1 if order == "newest" else 0
        self._waiting: defaultdict[tuple[int, int], tuple[_Queue, _Queue]] = defaultdict(lambda: ([], []))

    def lengths(self) -> dict[tuple[int, int], tuple[int, int]]:
        """How many outcomes of each policy of a pair wait, for every pair with waiting outcomes."""
        lengths = {pair: (len(own), len(other)) for pair, (own, other) in self._waiting.items()}
        return {pair: waiting for pair, waiting in lengths.items() if any(waiting)}

    def take(self, pair: tuple[int, int], side: int, value: float, now: float) -> int | None:
        """The result of the comparison that an outcome makes, or None if it waits.

        Args:
            pair: The policies compared.
            side: Which of the two has the outcome.
            value: The outcome; higher is better.
            now: The outcome's time, never earlier than the last one's.

        Returns:
            Seen from the pair's first policy: 0 a loss, 1 a win, 2 a tie.
        """
        queues = self._waiting[pair]
        for queue in queues:
            while queue and self._wait is not None and now - queue[0][0] > self._wait:
                del queue[0]
        if not queues[1 - side]:
            queues[side].append((now, value))
            return None
        rival = queues[1 - side].pop(self._from)[1]
        if rival == value:
            return 2
        return int((value > rival) == (side == 0))


class MatchedRun:
    """The units of one run.

    Args:
        outcomes: How units end.
        policies: The policy of `outcomes` behind each of the run's indices.
        rng: Source of everything random.
    """

    def __init__(self, outcomes: Outcomes, policies: Sequence[int], rng: np.random.Generator) -> None:
        self._outcomes, self._policies = outcomes, tuple(policies)
        self._queues = Queues(outcomes.wait, outcomes.order)
        self._unit = 0
        self._due: dict[int, list[tuple[tuple[int, int], int, bool]]] = {}
        self._made: deque[tuple[int, int, int]] = deque()
        self._random = chain.from_iterable(iter(lambda: rng.random(_DRAWN_AT_ONCE).tolist(), None))

    @property
    def waiting(self) -> dict[tuple[int, int], tuple[int, int]]:
        """How many outcomes of each policy of a pair wait, for every pair with waiting outcomes."""
        return self._queues.lengths()

    def comparisons(self, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
        """Serve units until there are as many comparisons as pairs.

        Args:
            pairs: The pairs that units are drawn from, all equally likely. The policy of a pair that lags
                behind is determined now, as routers determine it from the plan.

        Returns:
            For each comparison the pair's first policy, its second, and the result as `Queues.take` gives it.
        """
        lengths = self.waiting
        while len(self._made) < len(pairs):
            self._serve(pairs[int(next(self._random) * len(pairs))], lengths)
            for pair, side, is_good in self._due.pop(self._unit, ()):
                result = self._queues.take(pair, side, is_good, self._unit)
                if result is not None:
                    self._made.append((*pair, result))
            self._unit += 1
        return [self._made.popleft() for _ in pairs]

    def _serve(self, pair: tuple[int, int], lengths: Mapping[tuple[int, int], tuple[int, int]]) -> None:
        """Let one policy of the pair answer a unit; its outcome arrives later or never."""
        outcomes = self._outcomes
        first, second = lengths.get(pair, (0, 0))
        chance_of_second = outcomes.lagging_share if first > second else 1 - outcomes.lagging_share
        side = int(next(self._random) < (0.5 if first == second else chance_of_second))
        policy = self._policies[pair[side]]
        shares, said = outcomes.shares_reported(policy), next(self._random)
        if said >= max(shares):
            return
        is_good = next(self._random) < outcomes.rate(policy, self._unit)
        if said >= shares[is_good]:
            return
        delay = outcomes.delays[is_good]
        if outcomes.hold is None or delay <= outcomes.hold:
            due = self._unit + (delay if outcomes.hold is None else outcomes.hold)
            self._due.setdefault(due, []).append((pair, side, is_good))


def matched_runs(outcomes: Outcomes | None, orders: IntArray, rng: np.random.Generator) -> list[MatchedRun]:
    """The units of each run; none if the world does not match outcomes.

    Args:
        outcomes: How units end and are matched, or None.
        orders: Shape (R, K): each run's order of the policies.
        rng: Source of every run's own generator.
    """
    if outcomes is None:
        return []
    generators = rng.spawn(len(orders))
    return [MatchedRun(outcomes, order, own) for order, own in zip(orders.tolist(), generators, strict=True)]
