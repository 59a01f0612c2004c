"""Counts what units report, at once or when it is due."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Final, Literal

from policy_store import codec
from policy_store.clients import StoreClient
from policy_store.log_records import Result
from policy_store.names import ExperimentKeys, GenerationKeys
from policy_store.report_records import MissingVerdict, Recorded, Report
from policy_store.roles import Role
from policy_store.scripting import StorePart
from policy_store.shared_trips import SharedTrips

# Held reports are deleted after a week without a gateway; so are those of former generations.
_KEEP_HELD_MILLISECONDS: Final = 7 * 24 * 3600 * 1000


class ReportStore(StorePart):
    """The part of the store for reports. Reports that arrive together travel together."""

    def __init__(self, redis: StoreClient, *, timeout_seconds: float = 1.0) -> None:
        super().__init__(redis, timeout_seconds=timeout_seconds)
        self._record = SharedTrips(self._scripts).run if redis.shares_trips else self._scripts.run

    async def record_preference(self, report: Report, result: Result) -> Recorded:
        """Count the preference of a user who saw both answers, with the forecast of the current plan.

        Atomic and counted once: a unit's feedback sent again is a DUPLICATE, even after the end. A report
        that is due later is HELD, until `count_due` counts it. One that only informs (`Report.informs`) is
        counted in the ledger of its role, without a forecast and without adding to the evidence.

        Args:
            report: The unit and the pair it is about.
            result: The result of the comparison, seen from the pair's first policy.

        Raises:
            ContradictingOutcomeError: The unit reported something else before.
            ExperimentFinishedError: The generation is decided, and the unit is new.
            OverCapError: The voter or the key has given all votes allowed; nothing was changed.
            AfterHoldError: The unit's hold is over; nothing was changed.
            ValueError: The policies are not a pair of the experiment, with the lower index first.
        """
        said = (*_counting_arguments(report), result.value)
        if report.due_at is not None:
            return await self._hold(report, report.due_at, said)
        keys = self._names.experiment(report.experiment)
        touched = _counting_keys(keys, keys.generation(report.generation, report.informs), report)
        reply = await self._record("record_preference", touched, report.drawn, *said)
        return codec.recorded_from(reply, report)

    async def record_outcome(
        self,
        report: Report,
        *,
        side: Literal[0, 1],
        value: float | MissingVerdict,
        tie_margin: float,
        wait_seconds: float,
    ) -> Recorded:
        """Record the outcome of one policy of a pair, and compare it with the other's newest waiting one.

        Atomic and counted once, like `record_preference`, whose errors it shares. An outcome is never
        matched with one of the same unit; if there is none to match, it is PENDING.

        Args:
            report: The unit and the pair it is about.
            side: 0 if the pair's first policy served the unit, 1 if the second did.
            value: The outcome, higher is better; or what an outcome that is missing comes to.
            tie_margin: Two outcomes that differ by at most this much are a tie.
            wait_seconds: How long an outcome waits, by the server's clock, before it is dropped.
        """
        if not isinstance(value, MissingVerdict) and not math.isfinite(value):
            raise ValueError(f"An outcome must be a finite number, not {value!r}.")
        word = value.value if isinstance(value, MissingVerdict) else repr(float(value))
        waits = repr(float(tie_margin)), repr(float(wait_seconds))
        said = (*_counting_arguments(report), report.unit, side, word, *waits)
        if report.due_at is not None:
            return await self._hold(report, report.due_at, said)
        keys = self._names.experiment(report.experiment)
        own = keys.generation(report.generation, report.informs)
        touched = (*_counting_keys(keys, own, report), own.waiting, *own.queues(report.first, report.second))
        how = report.standing, report.idempotency, report.drawn
        return codec.recorded_from(await self._record("record_outcome", touched, *how, *said), report)

    async def _hold(self, report: Report, due_at: float, said: Sequence[str | int]) -> Recorded:
        keys = self._names.experiment(report.experiment)
        own = keys.generation(report.generation, report.informs)
        reply = await self._record(
            "hold_report",
            (keys.control, own.unit(report.unit), own.votes, own.held, own.replaceable, own.log, own.counts),
            *(report.unit, codec.micros(due_at), _KEEP_HELD_MILLISECONDS),
            *(report.standing, report.idempotency, report.drawn, *said),
        )
        return codec.recorded_from(reply, report)

    async def count_due(
        self, name: str, generation: int, at_most: int, informs: Role | None = None
    ) -> Counter[str]:
        """Count the first held reports that are due, in order of their times, as if they came now.

        Each is counted once, in this order, however many callers there are. Only now is it decided whether
        its voter may give it, so it may not count. With `informs` they are those that only inform in a role.

        Returns:
            How many reports had each result: a `Receipt`, or the cap of an OverCapError. If there are fewer
            than `at_most` in all, no more are due, or another caller counts them.
        """
        keys = self._names.experiment(name)
        own = keys.generation(generation, informs)
        _, members = await self._scripts.run("due_reports", (own.held,), at_most)
        if not members:
            return Counter()
        touched = [keys.control, own.held, own.counts, own.forecasts, own.log, keys.events]
        touched += [own.votes, own.waiting, own.replaceable, own.segments]
        pairs = [codec.pair_of_held(member) for member in members]
        places: dict[tuple[int, int], int] = {}
        for pair in dict.fromkeys(pairs):
            places[pair] = len(touched) + 1
            touched += own.queues(*pair)
        marked = chain.from_iterable(zip((places[pair] for pair in pairs), members, strict=True))
        _, became = await self._scripts.run("count_due", touched, generation, *marked)
        return Counter(became)


def _counting_keys(keys: ExperimentKeys, own: GenerationKeys, report: Report) -> tuple[str, ...]:
    unit = own.unit(report.unit)
    return keys.control, own.counts, own.forecasts, own.log, keys.events, unit, own.votes, own.segments


def _counting_arguments(report: Report) -> tuple[str | int, ...]:
    if not 0 <= report.first < report.second:
        raise ValueError(
            f"A pair is two different policies with the lower index first, not {report.first}, "
            f"{report.second}."
        )
    return (
        report.generation,
        report.fingerprint,
        report.keep_seconds,
        report.first,
        report.second,
        report.source,
        report.voter,
        report.key,
        report.caps,
        repr(float(report.key_share)),
        f"{report.definition}{codec.segments_on(report)}|{codec.note_on(report)}",
    )
