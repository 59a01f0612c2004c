"""Keeps the snapshot that requests read in step with the shared store.

A task asks the store a few times a second whether an experiment changed (one number to compare) and, when
one did, reads it and swaps a whole new snapshot in. A promotion taken by any replica is therefore served by
every replica within one interval. While the store does not answer, the last snapshot goes on being served;
before it ever answered, the configuration's incumbents are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from gateway.experiments.definitions import Definition
from gateway.experiments.snapshot import LiveExperiment, Snapshot, SnapshotHolder
from gateway.running.logs import get_logger
from gateway.running.store_health import StoreHealth
from gateway.upstream.base import ModelTarget
from policy_store.errors import StoreError, UnknownExperimentError
from policy_store.models import Experiment, ExperimentState, ExperimentView

_log = get_logger(__name__)


class ExperimentReader(Protocol):
    """What the refresher needs of the store."""

    async def register(self, experiment: Experiment, elimination_nano_nats: int) -> ExperimentView:
        """Make the experiment known; the same one again changes nothing."""
        ...

    async def revision(self, name: str) -> int:
        """A number that changes when anything a router reads changes."""
        ...

    async def view(self, name: str) -> ExperimentView:
        """One consistent read."""
        ...


class Refresher:
    """Owns the snapshot; see the module."""

    def __init__(
        self,
        store: ExperimentReader,
        definitions: Sequence[Definition],
        models: Mapping[str, ModelTarget],
        health: StoreHealth,
        *,
        clock: Callable[[], float],
        interval_seconds: float,
    ) -> None:
        self._store = store
        self._definitions = {definition.name: definition for definition in definitions}
        self._models = models
        self._health = health
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._views: dict[str, ExperimentView] = {}
        self.holder = SnapshotHolder(self._snapshot())

    @property
    def views(self) -> Mapping[str, ExperimentView]:
        """The last known state of each experiment; none of those the store was never asked about."""
        return self._views

    async def run(self) -> None:
        """Refresh until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._interval_seconds)

    async def refresh(self) -> None:
        """Ask the store about every experiment once; swap the snapshot if anything changed."""
        try:
            changed = [await self._update(definition) for definition in self._definitions.values()]
        except StoreError as error:
            self._health.failed(error)
            return
        self._health.answered()
        if any(changed):
            self.holder.current = self._snapshot()

    async def _update(self, definition: Definition) -> bool:
        known = self._views.get(definition.name)
        if known is not None:
            try:
                if await self._store.revision(definition.name) == known.revision:
                    return False
                view = await self._store.view(definition.name)
            except UnknownExperimentError:
                # The store came back without its data: begin again rather than serve a ghost.
                _log.error("the store lost an experiment; starting it anew", experiment=definition.name)
                view = await self._register(definition)
        else:
            view = await self._register(definition)
        self._views[definition.name] = view
        self._report(known, view)
        return True

    async def _register(self, definition: Definition) -> ExperimentView:
        return await self._store.register(definition.experiment, definition.elimination_nano_nats)

    def _report(self, before: ExperimentView | None, now: ExperimentView) -> None:
        name = now.experiment.name
        incumbent = now.experiment.policies[now.incumbent]
        if before is None or before.generation != now.generation:
            _log.info(
                "experiment joined",
                experiment=name,
                generation=now.generation,
                state=now.state.value,
                incumbent=incumbent,
            )
        elif before.state != now.state:
            _log.info(
                "experiment decided",
                experiment=name,
                generation=now.generation,
                state=now.state.value,
                incumbent=incumbent,
            )

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            experiments={
                name: live_experiment(definition, self._views.get(name))
                for name, definition in self._definitions.items()
            },
            models=self._models,
            taken_at=self._clock(),
        )


def live_experiment(definition: Definition, view: ExperimentView | None) -> LiveExperiment:
    """What a router needs of one experiment.

    Args:
        definition: What this gateway's configuration says.
        view: What the store says, or None while it never answered: then the configured incumbent serves
            everything. The same where the store runs another definition (replicas being upgraded): indices
            would not mean the same policies.
    """
    matches = view is not None and definition.is_same_as(view.experiment)
    spec = definition.spec
    return LiveExperiment(
        name=definition.name,
        policies=definition.policies,
        generation=view.generation if view else 0,
        state=view.state if view else ExperimentState.RUNNING,
        incumbent=_incumbent(definition, view, matches=matches),
        plan=view.plan if view and matches else None,
        share=spec.traffic.share,
        collect=spec.traffic.collect,
        unit=spec.traffic.unit,
        window_seconds=spec.feedback.window.total_seconds(),
        signals={name: signal.weight for name, signal in spec.feedback.signals.items()},
        tie_margin=spec.feedback.tie_margin,
        matches_store=matches,
    )


def _incumbent(definition: Definition, view: ExperimentView | None, *, matches: bool) -> int:
    """The store's incumbent if this gateway has the same policy, else the configured one."""
    if view is None:
        return definition.experiment.incumbent
    if matches:
        return view.incumbent
    mine = definition.experiment
    wanted = (view.experiment.policies[view.incumbent], view.experiment.policy_fingerprints[view.incumbent])
    candidates = list(zip(mine.policies, mine.policy_fingerprints, strict=True))
    return candidates.index(wanted) if wanted in candidates else mine.incumbent
