"""Keeps the snapshot that requests read in step with the shared store.

A task asks the store a few times a second whether an experiment changed, by comparing one number. If one
did, the task reads it and swaps in a whole new snapshot. So every replica serves a promotion within one
interval, whichever replica made it, and a new configuration as soon as its catalogue is in the holder. While
the store does not answer, the last snapshot remains in force; until the store answers for the first time,
the configuration's incumbents serve.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.definitions import Definition
from gateway.experiments.guardrails import ejected_policies, guarded_policies
from gateway.experiments.judge import counts_verdicts
from gateway.experiments.snapshot import LiveExperiment, Snapshot, SnapshotHolder, StagedPolicy
from gateway.experiments.store_history import Loss, StoreHistory
from gateway.running.isolation import Isolation
from gateway.running.logs import get_logger
from gateway.running.store_health import StoreHealth
from policy_store.errors import StoreError, UnknownExperimentError
from policy_store.experiment import Experiment
from policy_store.states import INITIAL
from policy_store.view import ExperimentView

_log = get_logger(__name__)

_GONE: Final = -1  # in place of the revision of an experiment that the store no longer holds


class ExperimentReader(Protocol):
    """The part of the store that the refresher needs."""

    async def register(self, experiment: Experiment, elimination_nano_nats: int) -> ExperimentView:
        """Register the experiment; repeating that changes nothing."""
        ...

    async def keep_contents(self, name: str, contents: Mapping[str, Mapping[str, Any]]) -> None:
        """Store the contents of policies by fingerprint; an empty argument deletes all of them."""
        ...

    async def revisions(self, names: Sequence[str]) -> Mapping[str, int]:
        """Numbers that change when anything a router reads changes; without experiments it does not hold."""
        ...

    async def view(self, name: str) -> ExperimentView:
        """One consistent reading."""
        ...


def _report_unreadable(experiment: str, error: Exception) -> None:
    _log.error("experiment_unreadable", experiment=experiment, exc_info=error)


class Refresher:
    """Owns the snapshot that requests read, and replaces it as the store and the configuration change."""

    def __init__(
        self,
        store: ExperimentReader,
        catalogue: CatalogueHolder,
        health: StoreHealth,
        history: StoreHistory,
        *,
        interval_seconds: float,
    ) -> None:
        self._store = store
        self._history = history
        self._configured = catalogue
        self._catalogue = catalogue.current
        self._health = health
        self._interval_seconds = interval_seconds
        self._registered: dict[str, Definition] = {}
        self._views: dict[str, ExperimentView] = {}
        self._live = self._all_live()
        self._isolation = Isolation(_report_unreadable)
        self._is_behind = False
        self._refreshing = asyncio.Lock()
        self.holder = SnapshotHolder(self._snapshot())

    async def run(self) -> None:
        """Refresh until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._interval_seconds)

    def forget(self) -> None:
        """Forget what was read before, so that the next reading takes the store as it is.

        No reading may happen between the store's new epoch and this call, because it would miss accepted
        losses.
        """
        self._views.clear()
        self._registered.clear()

    async def refresh(self) -> None:
        """Ask the store about every experiment once; swap the snapshot if anything changed.

        A store that went back in time is not followed until an operator accepts it.
        """
        async with self._refreshing:
            await self._refresh()

    async def _refresh(self) -> None:
        if self._catalogue is not self._configured.current:
            self._catalogue = self._configured.current
            for name in self._views.keys() - self._catalogue.definitions.keys():
                _log.info("experiment_left", experiment=name)
                del self._views[name], self._registered[name]  # the store keeps it
            self._live = self._all_live()
            self._is_behind = True
        try:
            await self._update_all()
        except StoreError as error:
            self._health.failed(error)
        else:
            self._health.answered()
        if self._is_behind:  # according to earlier readings as well
            self.holder.current = self._snapshot()
            self._is_behind = False

    async def _update_all(self) -> None:
        epoch, definitions = self._history.epoch, self._catalogue.definitions
        known = {name: self._history.revision(name) for name in definitions if self._history.knows(name)}
        found = dict.fromkeys(known, _GONE) | dict(await self._store.revisions(list(known))) if known else {}
        for name, definition in definitions.items():
            revision = found.get(name)
            if revision == _GONE:
                self._history.hold(Loss.KEYS_GONE, epoch=epoch, experiment=name)
                continue
            if revision is not None and revision < known[name]:
                self._history.hold(Loss.OLDER, epoch=epoch, experiment=name)
            with self._isolation.of(name):
                try:
                    await self._update(definition, epoch, revision)
                except UnknownExperimentError:
                    self._history.hold(Loss.KEYS_GONE, epoch=epoch, experiment=name)

    async def _update(self, definition: Definition, epoch: int, found: int | None) -> None:
        """Follow an experiment. `found` is its revision in the store; None if it was never seen there."""
        name, history = definition.name, self._history
        if history.held is not None:
            return
        known = self._views.get(name)
        if known is not None and self._registered[name] is definition:
            if found == known.revision:
                return
            view = await self._store.view(name)
        else:
            contents = definition.contents if self._catalogue.policies_shown == "full" else {}
            await self._store.keep_contents(name, contents)
            view = await self._store.register(definition.experiment, definition.elimination_nano_nats)
        if view.revision < history.revision(name) or epoch != history.epoch:
            return  # the next reading decides what that means
        history.saw_revision(name, view.revision)
        self._views[name], self._registered[name] = view, definition
        self._live[name] = live_experiment(definition, view)
        self._is_behind = True
        self._report(known, view)

    def _report(self, before: ExperimentView | None, now: ExperimentView) -> None:
        name = now.experiment.name
        incumbent = now.experiment.policies[now.incumbent]
        if before is None or before.generation != now.generation:
            _log.info(
                "experiment_joined",
                experiment=name,
                generation=now.generation,
                state=now.state.value,
                incumbent=incumbent,
            )
        elif before.incumbent != now.incumbent and before.state == now.state:
            _log.info("incumbent_changed", experiment=name, incumbent=incumbent)
        elif before.state != now.state:
            _log.info(
                "experiment_moved",
                experiment=name,
                generation=now.generation,
                state=now.state.value,
                incumbent=incumbent,
            )

    def _snapshot(self) -> Snapshot:
        return Snapshot(experiments=dict(self._live), models=self._catalogue.models)

    def _all_live(self) -> dict[str, LiveExperiment]:
        return {
            name: live_experiment(definition, self._views.get(name))
            for name, definition in self._catalogue.definitions.items()
        }


def live_experiment(definition: Definition, view: ExperimentView | None) -> LiveExperiment:
    """The part of an experiment that the router needs.

    Args:
        definition: What this gateway's configuration says.
        view: What the store says, or None as long as it has never answered: then the configured incumbent
            serves everything. The same holds if the store runs another definition (during an upgrade, for
            example), because its indices mean other policies.
    """
    matches = view is not None and definition.is_same_as(view.experiment)
    spec = definition.spec
    return LiveExperiment(
        name=definition.name,
        policies=definition.policies,
        state=view.state if view else INITIAL,
        incumbent=definition.incumbent_in(view),
        **_compared(definition, view, matches=matches),
        staged=StagedPolicy.of(view, definition.caps) if view and matches else None,
        judge=definition.judge,
        counts_verdicts=counts_verdicts(spec),
        collect=spec.traffic.collect,
        unit=spec.traffic.unit,
        window_seconds=spec.feedback.window.total_seconds(),
        signals={name: signal.weight for name, signal in spec.feedback.signals.items()},
        scales={
            name: (signal.scale[0], signal.scale[1])
            for name, signal in spec.feedback.signals.items()
            if signal.scale is not None
        },
        tie_margin=spec.feedback.tie_margin,
        hold_seconds=spec.feedback.hold.total_seconds() if spec.feedback.hold else None,
        voter_cap=spec.feedback.voter_cap,
        voter_cap_per_experiment=spec.feedback.voter_cap_per_experiment,
        key_share=spec.feedback.key_share,
        regenerate=spec.feedback.regenerate,
        missing=definition.missing,
        informing=definition.informing,
        found=definition.found,
        may_correct=spec.feedback.changed_mind == "replace",
        shares_ids=spec.feedback.shared_ids,
        spools=spec.feedback.spool,
        segments=tuple(spec.segments or ()),
        definition=definition.experiment.fingerprint(),
        matches_store=matches,
        **(_guarded(definition, view) if view and matches else {}),
    )


def _compared(definition: Definition, view: ExperimentView | None, *, matches: bool) -> dict[str, Any]:
    """What is compared, with which share of the units, and which run it is counted for."""
    share, caps = definition.spec.traffic.share, definition.caps
    if view is None or not matches:
        return {"generation": view.generation if view else 0, "plan": None, "share": share, "caps": caps}
    watch = view.watch
    if watch is None or not view.state.facts.is_watched:
        return {"generation": view.generation, "plan": view.plan, "share": share, "caps": caps}
    return {
        "generation": watch.run,
        "plan": watch.plan,
        "share": watch.terms.share,
        "caps": replace(caps, share=watch.terms.share),
        "watched": watch.pair,
        "share_before": share,
    }


def _guarded(definition: Definition, view: ExperimentView) -> dict[str, Any]:
    """What guardrails compare, and what they found."""
    return {
        "guardrails": definition.guardrails,
        "guards": view.guards,
        "reference": guarded_policies(view)[0],
        "ejected": ejected_policies(view),
    }
