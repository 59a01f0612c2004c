"""The progress of experiments, as /metrics and the experiments API show it.

It is read from the store when a page or a scrape asks, at most once a second. While the store does not
answer, the last reading is shown. Nothing here is on the request path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.config.promotion import PromotionSpec
from gateway.experiments.agreement import Agreement
from gateway.experiments.awaiting import whom_it_awaits
from gateway.experiments.balance import Balance, Reporting, balance_of, reporting_of
from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.conclusions import BY_HAND
from gateway.experiments.costs import AnswerCosts, answer_costs
from gateway.experiments.definitions import Definition
from gateway.experiments.found_signals import SignalAgreement, signal_agreements
from gateway.experiments.gain import Gain, gain
from gateway.experiments.guardrails import GuardReading, counted_run, held_by_guardrails, readings
from gateway.experiments.happenings import Generations, generation_of
from gateway.experiments.holds import holds, waits_for_check
from gateway.experiments.judge import counts_beside_users
from gateway.experiments.outlook import Outlook, outlook
from gateway.experiments.segments import BY, JUDGE, USERS
from gateway.experiments.source_standing import SourceStanding, standing
from gateway.experiments.store_history import StoreHistory
from gateway.experiments.watches import verdict_on, watch_seconds_left, watched_so_far
from gateway.learning.informing import Informing
from gateway.learning.judge_reading import JudgeReading, agreements, wins_in
from policy_store.counts import Counts, Segments
from policy_store.errors import StoreError, UnknownExperimentError
from policy_store.events import ByHand, LoggedEvent
from policy_store.experiment import Experiment
from policy_store.moves import MOVES, recorded_move
from policy_store.roles import Role
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView
from policy_store.watch_records import Watch

FRESH_SECONDS: Final = 1.0
EVENTS_READ: Final = 500
READ_TOGETHER: Final = 10
"""Experiments read side by side: taking up what the store answered of them holds requests up as little."""


@dataclass(frozen=True, slots=True)
class ExperimentProgress:
    """One reading of one experiment.

    Attributes:
        view: The part that the router reads.
        counts: Everything counted in the generation.
        events: The latest events, oldest first.
        promotion: The promotion section of the configuration in force.
        generations: The experiment in each generation that the events mention.
        contents: The content of its policies by fingerprint, if it may be shown.
        costs: The costs of answers.
        watch_counts: Everything counted in the watch over the promotion; None without one.
        disagreement: Why replicas do not agree; None while they do.
        log_entries: How many entries the generation's log has in the store.
        archive_lag_seconds: How long the oldest entry of that log has waited for the archive; None without
            one.
        judge: How the judge has done; None without one.
        guard_readings: What guardrails say of policies.
        unpriced: The policies that a guardrail on costs cannot measure.
        sources: What informs forecasts without being evidence.
        signals: How far the signals that the gateway finds agree with what users say.
        segments: The results by segment, if the file names any.
    """

    view: ExperimentView
    counts: Counts
    events: tuple[LoggedEvent, ...]
    promotion: PromotionSpec
    generations: Mapping[int, Experiment]
    contents: Mapping[str, Mapping[str, Any]]
    costs: AnswerCosts
    watch_counts: Counts | None = None
    disagreement: str | None = None
    log_entries: int = 0
    archive_lag_seconds: float | None = None
    judge: JudgeReading | None = None
    guard_readings: Sequence[GuardReading] = ()
    unpriced: Sequence[int] = ()
    sources: tuple[SourceStanding, ...] = ()
    signals: tuple[SignalAgreement, ...] = ()
    segments: Segments = field(default_factory=dict)

    @property
    def leader(self) -> int | None:
        """The policy ahead according to the latest plan; None before the first plan."""
        return self.view.plan.proposal.leader if self.view.plan else None

    @property
    def champion(self) -> int | None:
        """The certified policy; None before the decision, and if none was certified or a person chose."""
        certificate = self.view.certificate or {}
        champion = None if certificate.get("outcome") == BY_HAND else certificate.get("champion")
        return champion if isinstance(champion, int) else None

    @property
    def promotions(self) -> int:
        """How often a candidate became the incumbent, according to the latest events."""
        moves = (recorded_move(event.kind) for event in self.events)
        return sum(move is not None and MOVES[move].is_promotion for move in moves)

    @property
    def by_hand(self) -> LoggedEvent | None:
        """The move to the present state, if a person made it and it is among the latest events."""
        moves = (event for event in reversed(self.events) if recorded_move(event.kind) is not None)
        last = next(moves, None)
        if last is None or generation_of(last) != self.view.generation:
            return None
        return last if isinstance(last.told, ByHand) else None

    @property
    def elapsed_seconds(self) -> float:
        """Seconds from the start to the decision, or to now."""
        decided_at = (self.view.certificate or {}).get("decided_at", self.counts.now)
        return max(0.0, float(decided_at) - self.counts.started_at)

    @property
    def plan_age_seconds(self) -> float | None:
        """Age of the plan in force, by the store's clock."""
        plan = self.view.plan
        return max(0.0, self.counts.now - plan.created_at) if plan else None

    @property
    def outlook(self) -> Outlook | None:
        """How much is missing to a decision; None once there is one, before the first plan, or if unknown."""
        plan = self.view.plan
        if plan is None or not self.view.state.facts.is_planned:
            return None
        return outlook(self.view.experiment, plan.proposal, self.counts, self.promotion.min_voters)

    @property
    def compared_with(self) -> int:
        """The policy that others are to gain over: the incumbent, or who was it when it was decided."""
        incumbent = (self.view.certificate or {}).get("incumbent", self.view.incumbent)
        return incumbent if isinstance(incumbent, int) else self.view.incumbent

    @property
    def gain(self) -> Gain | None:
        """What the champion, or before the decision the policy ahead, gains over the incumbent."""
        ahead = self.leader if self.view.certificate is None else self.champion
        if ahead is None:
            return None
        experiment, counts = self.view.experiment, self.counts
        return gain(
            experiment.policies,
            counts.wins,
            ahead,
            self.compared_with,
            delta=experiment.delta,
            policies_ever=counts.policies_ever or len(experiment.policies),
        )

    @property
    def watched(self) -> WatchReading | None:
        """How the watch over the promotion stands; None where it is not watched."""
        watch, counts = self.view.watch, self.watch_counts
        if watch is None or counts is None:
            return None
        figures = watch.verdict or verdict_on(
            watch, watched_so_far(watch, counts), self.view.experiment.policies
        )
        is_open = self.view.state.facts.is_watched
        return WatchReading(
            watch, figures, watch_seconds_left(watch, counts.now) if is_open else None, is_open
        )

    @property
    def holds(self) -> list[str]:
        """The reasons that hold a decision back even if the evidence suffices."""
        if not self.view.state.facts.is_planned:
            return []
        experiment, plan = self.view.experiment, self.view.plan
        found = holds(experiment, self.promotion, self.counts, self.disagreement)
        waits = None if found or plan is None else waits_for_check(experiment, plan.proposal)
        found = found if waits is None else [waits]
        awaits = whom_it_awaits(self.view, self.promotion, self.events, self.counts.now)
        return [*found, *held_by_guardrails(self.view), *([] if awaits is None else [awaits])]

    @property
    def balance(self) -> Balance | None:
        """The pair whose reports are furthest from the coin; None before the first report."""
        return balance_of(self.counts)

    @property
    def reporting(self) -> list[Reporting]:
        """How often the answers of each policy are reported; empty without reports on single answers."""
        return reporting_of(self.view.experiment, self.counts)

    def win_rate(self, policy: int, rival: int) -> float | None:
        """The share of decisive comparisons that `policy` won against `rival`; None before the first."""
        won, lost = self.counts.wins[policy][rival], self.counts.wins[rival][policy]
        return won / (won + lost) if won + lost else None


@dataclass(frozen=True, slots=True)
class WatchReading:
    """How a watch stands.

    Attributes:
        watch: The watch.
        figures: What it has counted, in the form of a verdict.
        seconds_left: What is left of its time; None where time does not end it, or it is over.
        is_open: Whether it goes on.
    """

    watch: Watch
    figures: Mapping[str, Any]
    seconds_left: float | None
    is_open: bool


class ProgressReader:
    """Reads progress and remembers the last reading.

    Args:
        store: The shared state; its client should gather calls.
        catalogue: Names this gateway's experiments.
        agreement: Says whether replicas run the same configuration.
        history: Knows whether what was read before still holds.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        store: PolicyStore,
        catalogue: CatalogueHolder,
        agreement: Agreement,
        history: StoreHistory,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._agreement = agreement
        self._clock = clock
        self._last: dict[str, ExperimentProgress] = {}
        self._contents_known: dict[str, Mapping[str, Mapping[str, Any]]] = {}
        self._generations = Generations(store, history)
        self._informing = Informing(store, self._generations)
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    @property
    def last(self) -> Mapping[str, ExperimentProgress]:
        """The last reading of each experiment; experiments that were never read are missing."""
        names = self._catalogue.current.definitions
        return {name: progress for name, progress in self._last.items() if name in names}

    async def read(self) -> Mapping[str, ExperimentProgress]:
        """A reading at most a second old if the store answers, otherwise the last one."""
        async with self._reading:  # many readers at once share one reading
            if self._read_at is None or self._clock() - self._read_at >= FRESH_SECONDS:
                names = tuple(self._catalogue.current.definitions)
                for start in range(0, len(names), READ_TOGETHER):
                    together = names[start : start + READ_TOGETHER]
                    if not all(await asyncio.gather(*map(self._read, together))):
                        break  # a silent store costs one timeout, not one for each experiment
                self._read_at = self._clock()
        return self.last

    async def read_one(self, name: str) -> ExperimentProgress | None:
        """A new reading, or the last one if the store fails; None if the experiment was never read."""
        await self._read(name)
        return self._last.get(name)

    async def _read(self, name: str) -> bool:
        """Read one experiment; returns whether the store answered."""
        definition = self._catalogue.current.definitions.get(name)  # the file may just have dropped it
        try:
            view = await self._store.view(name)
            counts = await self._store.counts(name, view.generation)
            events = await self._store.events(name, EVENTS_READ)
            self._generations.saw(view)
            generations = await self._generations.of(name, events)
            contents = await self._contents(view)
            usage = await self._store.usage(name)
            log_entries = await self._store.log_entries(name, view.generation)
            lag = await self._store.archive_lag(name, view.generation, counts.now)
            watch_counts = await self._store.counts(name, view.watch.run) if view.watch else None
            informing = await self._informing.counts(definition, view) if definition else {}
            segments = await self._segments(definition, view)
            judge = await self._judge(definition, view, counts, informing.get(Role.JUDGE), segments)
            guards = await self._guard_readings(view, definition)
            sources = (
                await self._informing.sources(definition, view, informing, counts.inherited_from)
                if definition
                else ()
            )
            signals = await self._signals(definition, view)
        except UnknownExperimentError:
            return True
        except StoreError:
            return False
        used = view.plan.proposal.used if view.plan else {}
        self._last[name] = ExperimentProgress(
            view,
            counts,
            tuple(reversed(events)),
            definition.spec.promotion if definition else PromotionSpec(),
            generations,
            contents,
            answer_costs(view.experiment, definition, self._catalogue.current.prices, usage),
            watch_counts,
            self._agreement.held,
            log_entries,
            lag,
            judge,
            guards,
            definition.unpriced(self._catalogue.current.prices) if guards and definition else (),
            tuple(standing(source, counts.wins, used) for source in sources),
            signals,
            {segment: said for segment, said in segments.items() if segment[0] != BY},
        )
        return True

    async def _segments(self, definition: Definition | None, view: ExperimentView) -> Segments:
        """The results by segment, if the file asks for any."""
        if definition is None or not (definition.spec.segments or counts_beside_users(definition.spec)):
            return {}
        return await self._store.segments(view.experiment.name, view.generation)

    async def _judge(
        self,
        definition: Definition | None,
        view: ExperimentView,
        counts: Counts,
        said: Counts | None,
        segments: Segments,
    ) -> JudgeReading | None:
        """How the judge has done; `said` is what it only informed of, None where that is evidence."""
        if definition is None or definition.judge is None:
            return None
        policies = view.experiment.policies
        account = await self._store.judging(view.experiment.name, view.generation)
        if said is None:
            users, judge = (wins_in(segments.get((BY, who), {}), len(policies)) for who in (USERS, JUDGE))
        else:
            users, judge = counts.wins, said.wins
        pairs = tuple(agreements(policies, users, judge))
        return JudgeReading(definition.judge, account, said is None, pairs, counts.now)

    async def _signals(
        self, definition: Definition | None, view: ExperimentView
    ) -> tuple[SignalAgreement, ...]:
        """How far found signals agree with users, if the file lists any."""
        if definition is None or definition.found is None:
            return ()
        weights = {name: each.weight for name, each in definition.spec.feedback.signals.items()}
        counted = await self._store.ratings(view.experiment.name, view.generation)
        return signal_agreements(definition.found, weights, counted)

    async def _guard_readings(
        self, view: ExperimentView, definition: Definition | None
    ) -> Sequence[GuardReading]:
        """What guardrails say, if the file has any for what the store runs."""
        if definition is None or not definition.guardrails or not definition.is_same_as(view.experiment):
            return ()
        counted = await self._store.counted_pairs(view.experiment.name, counted_run(view))
        return readings(view, definition.guardrails, counted)

    async def _contents(self, view: ExperimentView) -> Mapping[str, Mapping[str, Any]]:
        """The content of the policies. The content of a fingerprint never changes, so it is read once."""
        if self._catalogue.current.policies_shown != "full":
            return {}
        name, prints = view.experiment.name, view.experiment.policy_fingerprints
        known = self._contents_known.get(name, {})
        if not known.keys() >= set(prints):
            known = self._contents_known[name] = await self._store.contents(name)
        return known
