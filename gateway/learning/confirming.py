"""Asks the confirm hook whether a certified policy may be promoted, and does what it answers.

A certified policy awaits approval meanwhile, and evidence goes on being gathered. The replica that plans the
experiment asks; the id of a request is that of the certificate, so a replica that takes over asks again under
the same id, until the deadline that counts from the certificate. The answer is one step of the store, made
once, and only while that certificate is in force.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

from gateway.config.webhooks import ConfirmSpec
from gateway.errors import ConflictError
from gateway.experiments.agreement import Agreement
from gateway.experiments.awaiting import is_awaited, seconds_to_answer
from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.definitions import Definition
from gateway.experiments.hook_answer import HookAnswer
from gateway.experiments.store_history import StoreHistory
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import MovedByHand
from gateway.running.background import stop
from gateway.running.logs import get_logger
from policy_store.counts import Counts
from policy_store.errors import DecisionConflictError, StaleFenceError, StoreError
from policy_store.events import LoggedEvent
from policy_store.moves import Move
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView

_log = get_logger(__name__)

HOOK_ACTOR: Final = "confirm hook"
"""Who moved the experiment; no API key can have this name."""
_WAITS_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 30.0)  # between two requests; the last one again and again
_SUMMARY: Final = (
    *("champion_name", "outcome", "guarantee", "delta", "epsilon", "comparisons", "statistic_nats"),
    *("threshold_nats", "gain", "config_hash", "code_version", "decided_at"),
)


Ask = Callable[[ConfirmSpec, str, Mapping[str, Any]], Awaitable[HookAnswer | None]]
"""One request under an id; None where the hook gave no answer that counts."""


@dataclass(frozen=True, slots=True)
class HookQuestion:
    """A certificate that the hook is asked about.

    Attributes:
        view: The experiment, with the certificate.
        spec: What the file says of the hook.
        is_last_word: Whether no person is asked after it.
        left_seconds: Time until the deadline, by the store's clock: a gateway's may jump.
    """

    view: ExperimentView
    spec: ConfirmSpec
    is_last_word: bool
    left_seconds: float = 0.0

    @property
    def id(self) -> str:
        """The same for the same certificate, whoever asks."""
        about = [self.view.experiment.name, self.view.generation, self.view.certificate]
        return f"confirm_{sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]}"

    @property
    def due_at(self) -> float:
        """When it is too late for an answer; Unix seconds."""
        return float((self.view.certificate or {})["decided_at"]) + self.spec.deadline.total_seconds()

    def timed(self, events: Iterable[LoggedEvent], counts: Counts) -> HookQuestion:
        """The question with the time that is left for its answer, after what the store told just now."""
        return replace(self, left_seconds=seconds_to_answer(self.view, self.spec, events, counts.now))

    @property
    def body(self) -> dict[str, Any]:
        """What the hook is told."""
        certificate, experiment = self.view.certificate or {}, self.view.experiment
        return {
            "experiment": experiment.name,
            "generation": self.view.generation,
            "incumbent": experiment.policies[self.view.incumbent],
            "answer_by": self.due_at,
            "certificate": {name: certificate[name] for name in _SUMMARY if name in certificate},
        }

    def without_answer(self) -> HookAnswer | None:
        """What the file says where no answer came; None where a person decides."""
        said = (
            f"No answer within {self.spec.deadline.total_seconds():g} s; no_answer is {self.spec.no_answer}."
        )
        match self.spec.no_answer:
            case "promote":
                return HookAnswer(decision="approve", reason=said)
            case "reject":
                return HookAnswer(decision="veto", reason=said)
            case "wait":
                return None


class Confirmer:
    """Asks about every certificate whose experiment has a confirm hook.

    Args:
        store: The shared state.
        catalogue: Says which experiments there are.
        ask: Sends a request.
        check: Concludes anew; raises ConflictError where a certificate holds no more.
        history: Says when the store is not what it was: then nothing is asked.
        agreement: Says when replicas run different configurations: then nothing is asked either.
        hooks: Are told of moves.
        holder: This replica's name in the leases of planners.
        interval_seconds: Time between two looks for certificates.
        lease_seconds: How long a silent replica keeps the right to ask.
    """

    def __init__(
        self,
        store: PolicyStore,
        catalogue: CatalogueHolder,
        ask: Ask,
        check: Callable[[ExperimentView], Awaitable[None]],
        *,
        history: StoreHistory,
        agreement: Agreement,
        hooks: Hooks,
        holder: str,
        interval_seconds: float,
        lease_seconds: float,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._ask = ask
        self._check = check
        self._history = history
        self._agreement = agreement
        self._hooks = hooks
        self._holder = holder
        self._interval_seconds = interval_seconds
        self._lease_seconds = lease_seconds
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._left_to_people: set[str] = set()

    async def run(self) -> None:
        """Look for certificates until cancelled. Each is asked about in a task of its own."""
        try:
            while True:
                with suppress(StoreError):
                    await self.look()
                await asyncio.sleep(self._interval_seconds)
        finally:
            for task in self._asking.values():
                await stop(task)

    async def look(self) -> None:
        """Begin to ask about certificates that nothing asks about yet."""
        for name, definition in self._catalogue.current.definitions.items():
            if definition.spec.promotion.confirm is None or self._is_held:
                continue
            question = _question(await self._store.view(name), definition)
            if question is None or question.id in self._left_to_people:
                continue
            running = self._asking.get(name)
            if running is None or running.done():
                self._asking[name] = asyncio.create_task(self._confirm(name), name=f"confirm {name}")

    @property
    def _is_held(self) -> bool:
        return self._history.held is not None or self._agreement.held is not None

    async def _confirm(self, name: str) -> None:
        """Ask until there is an answer, the deadline is over or the certificate is out of force; then act."""
        attempts = 0
        while (question := await self._current(name)) is not None:
            timer = asyncio.get_running_loop().time
            left, began = question.left_seconds, timer()
            answer = question.without_answer()
            if left > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        answer = await self._ask(question.spec, question.id, question.body)
                if answer is None:
                    wait = _WAITS_SECONDS[min(attempts, len(_WAITS_SECONDS) - 1)]
                    await asyncio.sleep(max(0.0, min(wait, began + left - timer())))
                    attempts += 1
                    continue
            await self._act(question, answer)
            return

    async def _current(self, name: str) -> HookQuestion | None:
        """The certificate in force, if this replica is to ask about it."""
        definition = self._catalogue.current.definitions.get(name)
        if definition is None or self._is_held:
            return None
        with suppress(StoreError):
            if await self._store.acquire_lease(name, self._holder, self._lease_seconds) is not None:
                question = _question(await self._store.view(name), definition)
                if question is not None:
                    events = await self._store.events(name)
                    return question.timed(events, await self._store.counts(name, question.view.generation))
        return None

    async def _act(self, question: HookQuestion, answer: HookAnswer | None) -> None:
        name = question.view.experiment.name
        if answer is None or (answer.decision == "approve" and not question.is_last_word):
            self._left_to_people.add(question.id)
            said = "no answer in time" if answer is None else answer.reason
            _log.info("confirm_hook_leaves_it_to_people", experiment=name, reason=said)
            return
        try:
            await self._move(question, answer)
        except (ConflictError, DecisionConflictError, StaleFenceError) as error:
            # A person was faster, the evidence turned, or another replica asks again: the next look knows.
            _log.info("confirm_hook_overtaken", experiment=name, reason=str(error))
        except StoreError:
            pass  # the next look asks again, under the same id

    async def _move(self, question: HookQuestion, answer: HookAnswer) -> None:
        view = question.view
        name, certificate = view.experiment.name, view.certificate or {}
        is_approved = answer.decision == "approve"
        if is_approved:
            await self._check(view)
        # The hook may have taken long to answer.
        if self._history.held is not None or (is_approved and self._agreement.held is not None):
            raise ConflictError(self._agreement.held or "The store lost something.")
        fence = await self._store.acquire_lease(name, self._holder, self._lease_seconds)
        if fence is None:
            return
        moved = await self._store.move_by_hand(
            name,
            view.generation,
            Move.APPROVE if is_approved else Move.REJECT,
            actor=HOOK_ACTOR,
            reason=answer.reason,
            champion=certificate["champion"] if is_approved else None,
            seen=certificate,
            fence=fence,
        )
        serves = moved.experiment.policies[moved.incumbent]
        verb = "approve" if is_approved else "reject"
        self._hooks.tell(
            MovedByHand(name, moved.generation, verb, HOOK_ACTOR, answer.reason, moved.state.value, serves)
        )


def _question(view: ExperimentView, definition: Definition) -> HookQuestion | None:
    """What to ask, if the experiment stands where its hook is asked and this replica's file defines it."""
    promotion = definition.spec.promotion
    is_due = is_awaited(view, promotion) and definition.is_same_as(view.experiment)
    if promotion.confirm is None or not is_due:
        return None
    return HookQuestion(view, promotion.confirm, is_last_word=not promotion.asks_a_person)
