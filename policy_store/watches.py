"""Watched promotions: begins a watch and reads its latest comparisons.

A watch is a separate run, whose number comes from the same sequence as generations. Counts, plans, units and
the log with this number are written and read like those of a generation.
"""

from __future__ import annotations

from dataclasses import asdict

from policy_store import codec
from policy_store.errors import UnknownExperimentError
from policy_store.log_records import Comparison
from policy_store.moves import Move
from policy_store.scripting import StorePart
from policy_store.view import PLAN_FIELDS, ExperimentView
from policy_store.watch_records import Watch, WatchTerms


class WatchStore(StorePart):
    """The part of the store for watches."""

    async def begin_watch(
        self, name: str, generation: int, fence: int, terms: WatchTerms, line_nano_nats: int
    ) -> ExperimentView:
        """Make the planner's move that begins a watch.

        Args:
            name: Experiment.
            generation: Must be the current one.
            fence: The number `acquire_lease` gave.
            terms: The terms of the watch.
            line_nano_nats: Evidence at which the champion is found worse.

        Raises:
            StaleFenceError: Another planner took over.
            DecisionConflictError: It is not promoted, or the generation is no longer current.
        """
        keys = self._names.experiment(name)
        own = keys.generation(generation)
        said = asdict(terms)
        reply = await self._scripts.run(
            "begin_watch",
            (keys.control, keys.events, own.log, own.held),
            *(generation, fence, Move.WATCH.value, codec.dump_json(said), line_nano_nats),
            codec.dump_json({**said, "fence": fence, "generation": generation}),
        )
        return codec.view_from(reply)

    async def watch(self, name: str, run: int) -> Watch:
        """A watch of any generation, by the number of its run, without its plan."""
        control = self._names.experiment(name).control
        fields = [f"{run}:{field}" for field in ("champion", "previous", "terms", "started_at", "verdict")]
        found = await self._answer(self._redis.hmget(control, fields))
        if found[0] is None:
            raise UnknownExperimentError(f"The store holds no watch {run} of {name!r}.")
        return codec.watch_from(str(run), *found, *[None] * len(PLAN_FIELDS))

    async def latest_comparisons(self, name: str, run: int, count: int) -> list[Comparison]:
        """The comparisons among the latest `count` entries of a run's log, newest first."""
        log = self._names.experiment(name).generation(run).log
        entries = await self._answer(self._redis.xrevrange(log, count=count))
        records = (codec.log_record_from(fields) for _, fields in entries)
        return [record for record in records if isinstance(record, Comparison)]
