"""Runs watched promotions: begins them, forecasts their comparisons, and ends them by their evidence.

If the file asks for a watch, it begins when the planner first sees the promoted experiment, whoever promoted
it. From then on it follows the terms in the store, whatever the file says later. Each step is one step of
the store, made only by the planner that holds the lease, so another planner can continue after any of them.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from gateway.config.promotion import PromotionSpec
from gateway.experiments.coins import lags
from gateway.experiments.watches import (
    GATEWAY_ACTOR,
    holdback_of,
    is_over,
    is_worse,
    reason_for_rollback,
    terms_of,
    verdict_on,
    watched_so_far,
)
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import DecisionTaken, PlanPublished
from gateway.learning.under_way import under_way
from gateway.llm_po.holdback import LATEST, Watched
from gateway.llm_po.lines import NANO, elimination_nano_nats
from policy_store.counts import Counts
from policy_store.errors import DecisionConflictError
from policy_store.log_records import Result
from policy_store.moves import MOVES, Move
from policy_store.plan_records import Forecast, PlannedPair, ProposedPlan
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView
from policy_store.watch_records import Watch


@dataclass(frozen=True, slots=True)
class _Basis:
    """The data from which a forecast was made. While they are unchanged, there is nothing to publish."""

    fence: int
    run: int
    comparisons: int
    lagging: int


class PromotionWatch:
    """Watches promotions.

    Args:
        store: The shared state.
        hooks: Hear of decisions.
        interval_seconds: How long it takes until it looks again.
    """

    def __init__(self, store: PolicyStore, hooks: Hooks, interval_seconds: float) -> None:
        self._store = store
        self._hooks = hooks
        self._interval_seconds = interval_seconds
        self._done: dict[str, _Basis] = {}

    def is_due(self, view: ExperimentView, promotion: PromotionSpec) -> bool:
        """Whether a promotion is watched or has to be."""
        is_next = view.state in MOVES[Move.WATCH].sources and promotion.watch is not None
        return is_next or view.state.facts.is_watched

    async def look(
        self, view: ExperimentView, promotion: PromotionSpec, fence: int, *, is_agreed: bool
    ) -> None:
        """Take the next due step of a watch, if there is one.

        Args:
            view: The experiment.
            promotion: The file's promotion section.
            fence: The planner's number.
            is_agreed: Whether replicas run the same configuration. While they do not, no watch begins and no
                promotion is confirmed; one that turned out worse is taken back all the same.

        Raises:
            StaleFenceError: Another planner took over; nothing was changed.
            StoreUnavailableError: It is not known whether the step was taken; looking again is safe.
        """
        with suppress(DecisionConflictError):  # a person made a move first
            if not view.state.facts.is_watched and promotion.watch is not None and is_agreed:
                terms = terms_of(promotion.watch, view.experiment)
                view = await self._store.begin_watch(
                    view.experiment.name, view.generation, fence, terms, elimination_nano_nats(terms.level)
                )
                self._tell(view)
            if view.state.facts.is_watched and view.watch is not None:
                watch = view.watch
                counts = await self._store.counts(view.experiment.name, watch.run)
                watched = watched_so_far(watch, counts)
                if is_worse(watch, watched) or (is_agreed and is_over(watch, watched, counts.now)):
                    await self._end(view, watch, watched, fence)
                else:
                    await self._forecast(view, watch, counts, fence)

    async def _end(self, view: ExperimentView, watch: Watch, watched: Watched, fence: int) -> None:
        name = view.experiment.name
        verdict = verdict_on(watch, watched, view.experiment.policies)
        if is_worse(watch, watched):
            ended = await self._store.move_by_hand(
                name,
                view.generation,
                Move.ROLL_BACK,
                actor=GATEWAY_ACTOR,
                reason=reason_for_rollback(verdict, view.experiment),
                fence=fence,
                verdict=verdict,
            )
        else:
            ended = await self._store.decide(
                name,
                view.generation,
                fence,
                move=Move.CONFIRM,
                champion=watch.champion,
                certificate={},
                verdict=verdict,
            )
        self._done.pop(name, None)
        self._tell(ended)

    async def _forecast(self, view: ExperimentView, watch: Watch, counts: Counts, fence: int) -> None:
        """Publish the forecast of the next comparison."""
        name = view.experiment.name
        lagging = lags(counts.waiting.get(watch.pair, (0, 0)))
        basis = _Basis(fence, watch.run, counts.comparisons, lagging)
        if self._done.get(name) == basis:
            return
        holdback = holdback_of(watch)
        latest = await self._store.latest_comparisons(name, watch.run, 2 * LATEST)  # plans stand between
        won = Result.WIN if holdback.champion < holdback.previous else Result.LOSS
        preferred = [each.result is won for each in latest if each.result is not Result.TIE]
        millionths = holdback.forecast(preferred)
        forecast = Forecast(*watch.pair, millionths, holdback.increments(millionths))
        version = await self._store.publish_plan(
            *(name, watch.run, _proposal(view, watch, counts), [forecast], fence),
            under_way(latest, counts.now, self._interval_seconds) if counts.waiting else None,
        )
        self._hooks.tell(PlanPublished(name, version, counts.comparisons, 0.0))
        self._done[name] = basis

    def _tell(self, view: ExperimentView) -> None:
        serves = view.experiment.policies[view.incumbent]
        self._hooks.tell(DecisionTaken(view.experiment.name, view.generation, view.state.value, serves))


def _proposal(view: ExperimentView, watch: Watch, counts: Counts) -> ProposedPlan:
    """The pair that is watched, with the evidence that its champion is worse."""
    watched, policies = watched_so_far(watch, counts), range(len(view.experiment.policies))
    line, last = holdback_of(watch).line_nano_nats / NANO, watch.terms.comparisons
    return ProposedPlan(
        comparisons=counts.comparisons,
        pairs=(PlannedPair(*watch.pair, 1.0),),
        leader=watch.champion if watched.wins >= watched.losses else watch.previous,
        evidence_nats=tuple(
            watched.nano_nats / NANO if policy == watch.champion else 0.0 for policy in policies
        ),
        needed_nats=(line,) * len(policies),
        expected_remaining=None if last is None else float(last - counts.comparisons),
        duration_seconds=0.0,
    )
