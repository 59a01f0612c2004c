"""What answers requests: the clients of providers, the attempts, and the routing above them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.assembly.foundation import Foundation
from gateway.experiments.response_ids import ResponseIds
from gateway.experiments.sealing_key import SealingKeyHolder
from gateway.experiments.snapshot import LiveExperiment, SnapshotHolder
from gateway.judging.queue import JudgeQueue
from gateway.learning.found_signals import FoundSignals
from gateway.learning.kept_answers import KeptAnswers
from gateway.learning.missing_outcomes import MissingOutcomes
from gateway.learning.recording import ReportRecorder
from gateway.learning.unreported import UnreportedOutcomes
from gateway.serving.answer_notes import AnswerNotes
from gateway.serving.answering import Answering
from gateway.serving.attempts import Attempts
from gateway.serving.continuing import Continuing
from gateway.serving.conversations import Conversations
from gateway.serving.ejection import EjectionBook
from gateway.serving.exchange import Gauge
from gateway.serving.finding import Finding
from gateway.serving.makers import Makers
from gateway.serving.regenerating import Regenerating
from gateway.serving.shadowing import Shadowing
from gateway.serving.sticky import Sticky
from gateway.upstream.base import Timeouts
from gateway.upstream.dispatch import Upstreams
from gateway.upstream.relay import Relay
from gateway.upstream.retry_budget import RetryBudget
from gateway.upstream.translating.upstream import LitellmUpstream
from policy_store.answer_names import AnswerNameStore
from policy_store.conversations import ConversationStore
from policy_store.turns import TurnStore


def open_upstreams(base: Foundation) -> tuple[Upstreams, RetryBudget]:
    """Clients of providers with connections of their own, and the budget of their second attempts."""
    settings = base.settings
    timeouts = Timeouts(
        connect=settings.connect_timeout_seconds,
        first_byte=settings.first_byte_timeout_seconds,
        stall=settings.stall_timeout_seconds,
        total=settings.upstream_timeout_seconds,
    )
    budget = RetryBudget(settings.retry_ratio, settings.retry_burst)
    upstreams = Upstreams(Relay(timeouts, budget), LitellmUpstream(timeouts))
    base.resources.push_async_callback(upstreams.aclose)
    return upstreams, budget


def open_attempts(base: Foundation) -> tuple[Upstreams, Attempts]:
    """The clients of providers, and what asks providers through them; both spend one retry budget."""
    settings, (upstreams, budget) = base.settings, open_upstreams(base)
    ejections = EjectionBook(
        base.hooks,
        base.timer,
        failures=settings.eject_after_failures,
        longest_seconds=settings.eject_max_seconds,
    )
    total_seconds = settings.request_timeout_seconds
    return upstreams, Attempts(upstreams, ejections, budget, base.hooks, total_seconds=total_seconds)


async def open_answering(
    base: Foundation,
    attempts: Attempts,
    response_ids: ResponseIds,
    keys: SealingKeyHolder,
    snapshots: SnapshotHolder,
    has_several_keys: Callable[[], bool],
    judges: JudgeQueue,
    gauge: Callable[[LiveExperiment, Sequence[int]], Gauge | None],
) -> Answering:
    """What answers a question, and has counted what follows from an answer without a report."""
    conversations, turns = base.store_part(ConversationStore), base.store_part(TurnStore)
    makers = Makers(conversations, keys, base.breaker)
    base.resources.push_async_callback(makers.aclose)
    recorder = ReportRecorder(base.store, base.history, base.clock, has_several_keys)
    missing = MissingOutcomes(recorder)
    base.resources.push_async_callback(missing.write)
    await base.run("missing outcomes", missing.run)
    outcomes = UnreportedOutcomes(recorder, base.hooks)
    findings = FoundSignals(
        store=base.store,
        recorder=recorder,
        outcomes=outcomes,
        note_abandoned=missing.note,
        response_ids=response_ids,
        snapshots=snapshots,
        breaker=base.breaker,
    )
    return Answering(
        attempts=attempts,
        response_ids=response_ids,
        sticky=Sticky(conversations, keys, base.hooks, base.breaker),
        conversations=Conversations(
            Regenerating(
                store=turns,
                keys=keys,
                response_ids=response_ids,
                report=KeptAnswers(outcomes, response_ids, snapshots).count,
                hooks=base.hooks,
                breaker=base.breaker,
                draws=base.rng,
            ),
            Finding(base.store, keys, findings, base.breaker),
            Continuing(turns, keys, base.breaker),
        ),
        makers=makers,
        shadowing=Shadowing(judges.offer, base.hooks),
        hooks=base.hooks,
        draws=base.rng,
        note_missing=missing.note,
        gauge=gauge,
        clock=base.clock,
    )


async def open_notes(base: Foundation, response_ids: ResponseIds) -> AnswerNotes:
    """What remembers answers by names that callers give them."""
    notes = AnswerNotes(base.store_part(AnswerNameStore), response_ids.request_digests)
    base.resources.push_async_callback(notes.write)
    await base.run("answer notes", notes.run)
    return notes
