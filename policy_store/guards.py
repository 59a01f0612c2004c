"""Guardrails: adds up pairs of numbers over all replicas, and records what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from policy_store import codec
from policy_store.errors import ContradictingOutcomeError
from policy_store.events import EventKind, encoded
from policy_store.guard_events import GuardrailTripped, Readmitted
from policy_store.guard_records import CountedFor, GuardCounts, GuardStanding, PairCounts
from policy_store.moves import Move
from policy_store.scripting import StorePart
from policy_store.view import ExperimentView

_FIRST: Final = "first"
_EVERY: Final = "0"
_HOURS_KEPT: Final = 2


class GuardStore(StorePart):
    """The part of the store for guardrails."""

    async def add_pairs(
        self,
        name: str,
        run: int,
        sender: str,
        number: int,
        counted: Mapping[CountedFor, PairCounts],
    ) -> None:
        """Add counted pairs to those of other replicas, in the hour of the store's clock; all or none.

        Args:
            name: Experiment.
            run: The generation, or the run of a watch.
            sender: The process that counted.
            number: Numbers the sender's additions from 1. The same number again changes nothing.
            counted: How often each pair of numbers occurred.
        """
        own = self._names.experiment(name).generation(run)
        words: list[str | int] = []
        for each, pairs in counted.items():
            for (candidate, incumbent), amount in pairs.items():
                words += (each.label, f"{candidate}:{incumbent}", amount)
        await self._scripts.run("add_pairs", (own.guards, own.added(sender)), number, *words)

    async def counted_pairs(self, name: str, run: int) -> dict[CountedFor, GuardCounts]:
        """Everything counted in a run."""
        own = self._names.experiment(name).generation(run)
        found: dict[CountedFor, GuardCounts] = {}
        for field, value in (await self._answer(self._redis.hgetall(own.guards))).items():
            guardrail, policy, reference, count, when, *numbers = field.split(":")
            about = CountedFor(guardrail, policy, reference, int(count))
            counts = found.setdefault(about, GuardCounts())
            if when == _FIRST:
                found[about] = replace(counts, first_hour=int(value))
                continue
            candidate, incumbent = map(int, numbers)
            pairs = counts.pairs if when == _EVERY else counts.hours.setdefault(int(when), {})
            pairs[candidate, incumbent] = int(value)
        return found

    async def forget_hours(
        self, name: str, run: int, counted: Mapping[CountedFor, GuardCounts], hour: int
    ) -> None:
        """Delete what was counted in single hours that are over since an hour or longer."""
        own = self._names.experiment(name).generation(run)
        old = [
            f"{about.label}:{each}:{candidate}:{incumbent}"
            for about, counts in counted.items()
            for each, pairs in counts.hours.items()
            if each <= hour - _HOURS_KEPT
            for candidate, incumbent in pairs
        ]
        if old:
            await self._answer(self._redis.hdel(own.guards, *old))

    async def trip(
        self,
        view: ExperimentView,
        after: GuardStanding,
        tripped: GuardrailTripped,
        *,
        move: Move | None,
        moved: Mapping[str, Any],
    ) -> ExperimentView:
        """Record that a guardrail found a policy worse, and make the planner's move that follows.

        Atomic, and repeating it changes nothing.

        Args:
            view: The experiment as it was read; nothing may have moved since.
            after: What is found from now on.
            tripped: The event.
            move: The move that follows, if any.
            moved: Detail of the move's event.

        Raises:
            StaleFenceError: Another planner took over.
            DecisionConflictError: The experiment is not as it was read.
        """
        detail = codec.dump_json(encoded(tripped))
        return await self._change(
            view, after, EventKind.GUARDRAIL_TRIPPED, detail, fence=tripped.fence, move=move, moved=moved
        )

    async def readmit(
        self, view: ExperimentView, after: GuardStanding, readmitted: Readmitted
    ) -> ExperimentView:
        """Record that a person admits a policy again; repeating it changes nothing.

        Raises:
            DecisionConflictError: The experiment is not as it was read.
        """
        detail = codec.dump_json(encoded(readmitted))
        return await self._change(view, after, EventKind.READMITTED, detail)

    async def _change(
        self,
        view: ExperimentView,
        after: GuardStanding,
        kind: EventKind,
        detail: str,
        *,
        fence: int | str = "",
        move: Move | None = None,
        moved: Mapping[str, Any] | None = None,
    ) -> ExperimentView:
        keys = self._names.experiment(view.experiment.name)
        own = keys.generation(view.generation)
        reply = await self._scripts.run(
            "change_guards",
            (keys.control, keys.events, own.log, own.held),
            *(view.generation, fence, view.guards.to_text(), after.to_text(), kind.value, detail),
            *("" if move is None else move.value, codec.dump_json(moved or {})),
        )
        return codec.view_from(reply)

    async def note_metric(self, name: str, run: int, digest: str, value: str, keep_seconds: int) -> bool:
        """Remember that a number was posted about an answer; whether it is new.

        Args:
            name: Experiment.
            run: The generation, or the run of a watch.
            digest: Stands for the answer and the metric.
            value: The number as text.
            keep_seconds: How long a repetition is known.

        Raises:
            ContradictingOutcomeError: Another number was posted before; it stands.
        """
        key = self._names.experiment(name).generation(run).metric(digest)
        before = await self._answer(self._redis.set(key, value, nx=True, get=True, ex=keep_seconds))
        if before is not None and before != value:
            raise ContradictingOutcomeError("Another number was posted before; it stands.", reported=before)
        return before is None
