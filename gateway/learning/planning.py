"""Turns what was counted into the next plan and, once the evidence suffices, into a decision.

Every replica runs this task, and for each experiment only the replica that holds the store's lease plans.
The lease comes with a number that only grows, so the store can refuse plans and decisions of a replica that
has lost the lease. A plan that cannot be computed or published leaves the last good one in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Final

from gateway.config.promotion import PromotionSpec
from gateway.experiments.agreement import Agreement
from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.coins import lags
from gateway.experiments.collecting import WAYS
from gateway.experiments.conclusions import voting_of
from gateway.experiments.definitions import Definition
from gateway.experiments.exposure import ExposureCaps
from gateway.experiments.fitness import failing_candidate
from gateway.experiments.guardrails import ejected_policies, held_back
from gateway.experiments.happenings import Generations
from gateway.experiments.holds import holds
from gateway.experiments.plan_values import InformingSource
from gateway.experiments.snapshot import without_ejected
from gateway.experiments.stages import is_step_over
from gateway.experiments.store_history import StoreHistory
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import FeedbackDiscarded, PlanningFailed, PlanPublished
from gateway.learning.guarding import GuardKeeper
from gateway.learning.informing import Informing, informed_roles
from gateway.learning.plan_jobs import plan_job
from gateway.learning.plan_worker import PlanJob, PlanResult
from gateway.learning.promotion import Promoter
from gateway.learning.rota import Rota
from gateway.learning.under_way import outcomes_under_way
from gateway.learning.watching import PromotionWatch
from gateway.running.logs import get_logger
from policy_store.counts import Counts
from policy_store.errors import StaleFenceError, StoreError, StoreUnavailableError, UnknownExperimentError
from policy_store.guard_records import GuardStanding
from policy_store.moves import MOVES, Move
from policy_store.plan_records import ProposedPlan
from policy_store.report_records import Receipt
from policy_store.roles import Role
from policy_store.stage_records import Stage
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView

_log = get_logger(__name__)

_STORE_REASONS: Final[dict[type[StoreError], str]] = {
    StaleFenceError: "stale_fence",
    StoreUnavailableError: "store_unavailable",
    UnknownExperimentError: "unknown_experiment",
}
# The refresher logs failures of the store and registers experiments; losing the lease is no fault.
_QUIET_REASONS: Final = frozenset(_STORE_REASONS.values())
# For reports whose hold is over: how many of them one step of the store counts (it answers nothing else
# meanwhile), and how many steps there are before the next plan.
_DUE_PER_STEP: Final = 100
_MOST_STEPS: Final = 100
_RECEIPTS: Final = frozenset(receipt.value for receipt in Receipt)


@dataclass(frozen=True, slots=True)
class _Basis:
    """The data from which a plan was made. While they are unchanged, there is nothing to plan."""

    fence: int
    generation: int
    state: ExperimentState
    incumbent: int
    comparisons: int
    may_decide: bool
    is_agreed: bool
    stage: Stage | None
    is_step_over: bool
    promotion: PromotionSpec
    caps: ExposureCaps
    look: str | None
    guards: GuardStanding
    # pairs with unequal numbers of waiting outcomes, the side with fewer, and about by how many
    lagging: frozenset[tuple[int, int, int]]
    sources: tuple[InformingSource, ...]


class Planner:
    """Plans every experiment of this gateway.

    Args:
        store: The shared state.
        catalogue: Names the experiments to plan.
        compute: Turns a job into a plan, away from the event loop.
        promoter: Makes the decisions.
        history: Knows whether the store lost something; then nothing is planned or decided.
        agreement: Says whether replicas run the same configuration: while they do not, nothing is decided.
        holder: This replica's name in leases.
        interval_seconds: Shortest time between two plans of an experiment.
        lease_seconds: How long a replica that stopped answering keeps the right to plan.
        hooks: Hear of plans and failures.
        rng: Source of the plans' seeds.
        timer: Monotonic seconds.
    """

    def __init__(
        self,
        store: PolicyStore,
        catalogue: CatalogueHolder,
        compute: Callable[[PlanJob], Awaitable[PlanResult]],
        promoter: Promoter,
        *,
        history: StoreHistory,
        agreement: Agreement,
        holder: str,
        interval_seconds: float,
        lease_seconds: float,
        hooks: Hooks,
        rng: random.Random,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._compute = compute
        self._promoter = promoter
        self._history = history
        self._agreement = agreement
        self._holder = holder
        self._interval_seconds = interval_seconds
        self._lease_seconds = lease_seconds
        self._hooks = hooks
        self._rng = rng
        self._watcher = PromotionWatch(store, hooks, interval_seconds)
        self._rota = Rota(store, holder, lease_seconds, timer)
        self._guards = GuardKeeper(store, hooks)
        self._informing = Informing(store, Generations(store, history))
        self._done: dict[str, _Basis] = {}
        self._failing: dict[str, str] = {}

    async def run(self) -> None:
        """Plan until cancelled; then let another replica take over at once."""
        try:
            while True:
                await self.plan_all()
                await asyncio.sleep(self._interval_seconds)
        finally:
            with contextlib.suppress(StoreError):  # a lease that is not given back expires by itself
                for name in self._catalogue.current.definitions:
                    await self._store.release_lease(name, self._holder)

    async def plan_all(self) -> None:
        """Plan every experiment whose turn it is. A fault in one is announced, and does not stop others."""
        catalogue, history, agreement = self._catalogue.current, self._history, self._agreement
        self._rota.notice((id(catalogue), history.held, history.epoch, agreement.held is None))
        for name in await self._rota.due(tuple(catalogue.definitions)):
            try:
                await self._plan(name, catalogue.definitions[name])
            except StoreError as error:
                reasons = (reason for kind, reason in _STORE_REASONS.items() if isinstance(error, kind))
                self._failed(name, next(reasons, "store_refused"), error)
            except BrokenProcessPool as error:
                self._failed(name, "worker_died", error)
            except Exception as error:  # noqa: BLE001 - one experiment's fault must not stop the others
                self._failed(name, "plan", error)
            else:
                self._failing.pop(name, None)

    def _failed(self, name: str, reason: str, error: Exception) -> None:
        """Announce a failure, log it once while it lasts, and let the next interval try again."""
        self._done.pop(name, None)
        self._rota.failed(name)
        self._hooks.tell(PlanningFailed(name, reason))
        if self._failing.get(name) != reason and reason not in _QUIET_REASONS:
            _log.error(
                "planning_failed",
                experiment=name,
                reason=reason,
                exc_info=error,
            )
        self._failing[name] = reason

    async def _plan(self, name: str, definition: Definition) -> None:
        view = await self._store.view(name)
        self._rota.saw(view, is_guarded=bool(definition.guardrails))
        if self._is_held(name, view.revision):
            return
        if self._watcher.is_due(view, definition.spec.promotion):
            await self._watch(view, definition)
        elif view.state.facts.is_planned:
            fence = await self._store.acquire_lease(name, self._holder, self._lease_seconds)
            if fence is not None:
                async with self._rota.kept(name):  # a log of a million comparisons takes a minute to read
                    view = await self._guards.look(view, definition, fence)
                    await self._replan(view, definition, fence)
        elif view.state.facts.counts_outcomes:
            await self._count_due(name, view.generation)

    async def _replan(self, view: ExperimentView, definition: Definition, fence: int) -> None:
        """Publish a new plan and conclude from it, unless guardrails stopped that or nothing changed."""
        name = view.experiment.name
        if not view.state.facts.is_planned:
            return
        counts = await self._store.counts(name, view.generation)
        if counts.reports_held:
            await self._count_due(name, view.generation)
            counts = await self._store.counts(name, view.generation)
        if definition.found is not None:
            await self._settle_ratings(name, view.generation)
        failing = failing_candidate(counts, view.incumbent, definition.spec.promotion)
        may_give_up = view.state in MOVES[Move.GIVE_UP].sources and self._agreement.held is None
        if failing is not None and may_give_up:
            await self._promoter.give_up(view, failing, fence)
        else:
            await self._plan_from(counts, view, definition, fence)

    async def _plan_from(
        self, counts: Counts, view: ExperimentView, definition: Definition, fence: int
    ) -> None:
        """Publish the plan that follows from what was counted, and act on what can be concluded from it."""
        name, promotion = view.experiment.name, definition.spec.promotion
        held = holds(view.experiment, promotion, counts)
        waiting = counts.waiting.items()
        lagging = frozenset((*pair, how) for pair, counted in waiting if (how := lags(counted)))
        for role in informed_roles(definition):
            await self._count_due(name, view.generation, role)
        informing = await self._informing.counts(definition, view)
        sources = await self._informing.sources(definition, view, informing, counts.inherited_from)
        basis = _Basis(
            fence=fence,
            generation=view.generation,
            state=view.state,
            incumbent=view.incumbent,
            comparisons=counts.comparisons,
            may_decide=not held,
            is_agreed=self._agreement.held is None,
            stage=view.stage,
            is_step_over=is_step_over(view, counts),
            promotion=promotion,
            caps=definition.caps,
            look=view.look,
            guards=view.guards,
            lagging=lagging,
            sources=sources,
        )
        if self._done.get(name) == basis:
            return
        job, costs = await plan_job(
            self._store,
            self._catalogue.current,
            definition,
            view,
            counts,
            may_decide=not held,
            seed=self._rng.getrandbits(63),
            sources=sources,
        )
        result = await self._compute(job)
        if self._is_held(name, view.revision):
            return
        version = await self._store.publish_plan(
            *(name, view.generation, _admitted(result.proposal, view), result.forecasts, fence),
            await self._under_way(definition, view.generation, counts.now),
        )
        self._hooks.tell(PlanPublished(name, version, counts.comparisons, result.proposal.duration_seconds))
        is_agreed = self._agreement.held is None
        if is_agreed:  # else no certificate is withdrawn either: nothing is known against it
            voting = voting_of(counts.votes, counts.voters, counts.largest_voter)
            found = held_back(view, result.decision)
            await self._promoter.conclude(
                view,
                None if found is not None else result.decision,
                voting,
                costs,
                held=held if found is None else [found],
                counts=counts,
                plan_version=version,
                fence=fence,
            )
        self._done[name] = replace(basis, is_agreed=is_agreed)

    async def _under_way(self, definition: Definition, run: int, now: float) -> float | None:
        """How many outcomes are under way; None where none are matched."""
        name, collect = definition.name, definition.spec.traffic.collect
        if not WAYS[collect].rates_answers:
            return None
        return await outcomes_under_way(self._store, name, run, now, self._interval_seconds)

    async def _watch(self, view: ExperimentView, definition: Definition) -> None:
        """Look after the promotion, if this replica plans the experiment."""
        name = view.experiment.name
        fence = await self._store.acquire_lease(name, self._holder, self._lease_seconds)
        if fence is None:
            return
        if view.watch is not None and definition.spec.feedback.hold is not None:
            await self._count_due(name, view.watch.run)
        is_agreed = self._agreement.held is None
        view = await self._guards.look(view, definition, fence)
        if not self._watcher.is_due(view, definition.spec.promotion):
            return
        await self._watcher.look(view, definition.spec.promotion, fence, is_agreed=is_agreed)

    async def _count_due(self, name: str, generation: int, informs: Role | None = None) -> None:
        """Count reports whose hold is over, oldest answers first, up to the number allowed before a plan."""
        for _ in range(_MOST_STEPS):
            became = await self._store.count_due(name, generation, _DUE_PER_STEP, informs)
            for reason in became.keys() - _RECEIPTS:
                for _ in range(became[reason]):
                    self._hooks.tell(FeedbackDiscarded(reason))
            if became.total() < _DUE_PER_STEP:
                return

    async def _settle_ratings(self, name: str, generation: int) -> None:
        """Compare ratings with what was found of the same answers, as soon as that is known."""
        for _ in range(_MOST_STEPS):
            if await self._store.settle_ratings(name, generation, _DUE_PER_STEP) < _DUE_PER_STEP:
                return

    def _is_held(self, name: str, revision: int) -> bool:
        return self._history.held is not None or revision < self._history.revision(name)


def _admitted(proposal: ProposedPlan, view: ExperimentView) -> ProposedPlan:
    """The proposal without pairs of policies that guardrails ejected, unless no other pair is proposed."""
    ejected = ejected_policies(view)
    kept = without_ejected(proposal.pairs, ejected) if ejected else ()
    return replace(proposal, pairs=kept) if kept else proposal
