"""Delivers events to webhooks: at least once, under permanent ids, by one process at a time.

Every replica runs a task for each webhook of its file, and for each webhook only the replica that holds the
store's lease delivers. It moves new events into the store's list of due messages, sends due messages, and
records each result. Each receiver has its own task, so a slow one delays nothing else.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any, Final

from gateway.config.webhooks import WebhookSpec
from gateway.errors import UnknownWebhookError
from gateway.experiments.catalogue import CatalogueHolder
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import WebhookAttempted
from gateway.notifying.reading import EventPages, report_unreadable
from gateway.notifying.sending import ReceiverAnswer, Sender, address_digest
from gateway.running.background import stop
from gateway.running.isolation import Isolation
from gateway.running.logs import get_logger
from policy_store.deliveries import (
    Batch,
    DeadLetter,
    DeliveryOutcome,
    DeliveryState,
    DeliveryStore,
    Holding,
    Message,
)
from policy_store.errors import StoreError
from policy_store.events import PlacedEvent

_log = get_logger(__name__)

_MINUTE: Final = 60
_HOUR: Final = 3600
# Waits between attempts at a message: three days and four hours in all, plus or minus the jitter.
WAITS_SECONDS: Final = (
    *(5, 5 * _MINUTE, 30 * _MINUTE),
    *(2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 20 * _HOUR, 24 * _HOUR),
)
_JITTER: Final = 0.2
_LONGEST_WAIT_SECONDS: Final = 24 * _HOUR
_SENT_TOGETHER: Final = 10
_READ_AT_ONCE: Final = 100
_MOST_WAITING: Final = 1_000  # beyond these, events stay in the experiments' own streams until there is room


def message_of(experiment: str, event: PlacedEvent) -> Message:
    """The message about an event for a receiver."""
    told = event.event
    data = {
        "id": event.id,
        "experiment": experiment,
        "kind": told.kind,
        "at": told.at,
        "detail": told.detail,
    }
    return Message(event.id, _body(f"experiment.{told.kind}", told.at, data))


def _body(kind: str, at: float, data: Mapping[str, Any]) -> str:
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": kind, "timestamp": moment, "data": data}, separators=(",", ":"))


class Deliverer:
    """Delivers to every webhook of this gateway.

    Args:
        deliveries: The store of deliveries.
        reader: Reads events.
        sender: Sends requests.
        catalogue: Names the webhooks.
        hooks: Hear of every message sent.
        holder: This replica's name in leases.
        clock: Unix seconds.
        rng: Source of the jitter.
        look_seconds: Time between two checks for new events.
        lease_seconds: How long a replica that stopped answering keeps the right to deliver.

    Attributes:
        standings: The state of deliveries to each webhook when this replica last checked.
    """

    def __init__(
        self,
        deliveries: DeliveryStore,
        reader: EventPages,
        sender: Sender,
        catalogue: CatalogueHolder,
        hooks: Hooks,
        *,
        holder: str,
        clock: Callable[[], float],
        rng: random.Random,
        look_seconds: float,
        lease_seconds: float,
    ) -> None:
        self.standings: dict[str, DeliveryState] = {}
        self._deliveries = deliveries
        self._reader = reader
        self._sender = sender
        self._catalogue = catalogue
        self._hooks = hooks
        self._holder = holder
        self._clock = clock
        self._rng = rng
        self._look_seconds = look_seconds
        self._lease_seconds = lease_seconds
        self._failing: set[str] = set()
        self._isolation = Isolation(report_unreadable)

    # Background work

    async def run(self) -> None:
        """Keep a task running for each webhook, until cancelled."""
        tasks: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                wanted = self._catalogue.current.webhooks
                for name in wanted.keys() - tasks.keys():
                    tasks[name] = asyncio.create_task(self._tell(name), name=f"webhook {name}")
                for name in tasks.keys() - wanted.keys():
                    await stop(tasks.pop(name))
                await asyncio.sleep(self._look_seconds)
        finally:
            for task in tasks.values():
                await stop(task)

    async def _tell(self, name: str) -> None:
        """Deliver to one webhook until cancelled; then let another replica take over at once."""
        is_broken = False
        try:
            while True:
                has_more = False
                try:
                    has_more = await self.round(name)
                except StoreError:
                    pass  # the store's health reports that it is away; due messages stay due
                except Exception as error:  # noqa: BLE001 - one webhook's fault must not stop it for good
                    if not is_broken:
                        _log.error("webhook_round_failed", webhook=name, exc_info=error)
                    is_broken = True
                else:
                    is_broken = False
                if not has_more:
                    await asyncio.sleep(self._look_seconds)
        finally:
            self.standings.pop(name, None)
            with suppress(StoreError):  # a lease that is not given back expires by itself
                await self._deliveries.release(name, self._holder)

    async def round(self, name: str) -> bool:
        """Take up new events and send due messages; returns whether there is more. Needs the lease.

        Raises:
            StoreError: From the store; messages whose result was not recorded are sent again.
        """
        spec = self._catalogue.current.webhooks.get(name)
        if spec is None:
            return False
        holding = await self._deliveries.hold(name, self._holder, self._lease_seconds)
        self.standings[name] = await self._deliveries.standing(name)
        if holding is None:
            return False
        if holding.waiting < _MOST_WAITING:
            await self._take_up(name, spec, holding)
        due = await self._deliveries.due(name, _SENT_TOGETHER)
        await self._send(name, spec, holding.fence, due)
        return len(due) == _SENT_TOGETHER

    async def _send(self, name: str, spec: WebhookSpec, fence: int, due: Iterable[Message]) -> None:
        """Send messages together, and keep the lease during that time."""
        tasks = [asyncio.create_task(self._deliver(name, spec, fence, message)) for message in due]
        under_way = set(tasks)
        try:
            while under_way:
                _, under_way = await asyncio.wait(under_way, timeout=self._lease_seconds / 3)
                if under_way:
                    await self._deliveries.hold(name, self._holder, self._lease_seconds)
        finally:
            for task in under_way:
                await stop(task)
        for task in tasks:
            task.result()  # an unexpected fault is the round's, once the others have ended

    async def _take_up(self, name: str, spec: WebhookSpec, holding: Holding) -> None:
        for experiment in self._catalogue.current.definitions:
            batch: Batch | None = None
            with self._isolation.of(experiment):
                batch = await self._new_messages(experiment, spec, holding)
            if batch is not None:
                await self._deliveries.take(name, holding.fence, address_digest(spec), batch)

    async def _new_messages(self, experiment: str, spec: WebhookSpec, holding: Holding) -> Batch | None:
        """The messages about an experiment's new events, and where these end; None if there are none."""
        before = holding.places.get(experiment)
        found = await self._reader.later(experiment, before or holding.beginning, _READ_AT_ONCE)
        if not found:
            return None
        wanted = [event for event in found if spec.wants(experiment, event.event.kind)]
        told = await self._reader.told(experiment, wanted)
        messages = [message_of(experiment, event) for event in told]
        return Batch(experiment, before, found[-1].entry, messages)

    async def _deliver(self, name: str, spec: WebhookSpec, fence: int, message: Message) -> None:
        receipt = await self._sender.send(spec, message.id, message.body)
        outcome = receipt.outcome(may_retry=message.attempts < len(WAITS_SECONDS))
        wait = 0.0
        if outcome is DeliveryOutcome.FAILED:
            planned = WAITS_SECONDS[message.attempts] * self._rng.uniform(1 - _JITTER, 1 + _JITTER)
            wait = min(max(planned, receipt.retry_after_seconds or 0.0), _LONGEST_WAIT_SECONDS)
        with suppress(StoreError):  # unrecorded messages are sent again, perhaps by another replica
            await self._deliveries.record(
                name,
                fence,
                message,
                outcome,
                reason=receipt.reason,
                wait_seconds=wait,
                address=address_digest(spec),
            )
            self._say(name, outcome, receipt)

    def _say(self, name: str, outcome: DeliveryOutcome, receipt: ReceiverAnswer) -> None:
        self._hooks.tell(WebhookAttempted(name, outcome.value))
        if outcome is DeliveryOutcome.DELIVERED:
            if name in self._failing:
                _log.info("webhook_delivers_again", webhook=name)
            self._failing.discard(name)
        elif outcome is not DeliveryOutcome.FAILED or name not in self._failing:
            _log.warning("webhook_not_delivered", webhook=name, outcome=outcome.value, reason=receipt.reason)
            self._failing.add(name)

    # What administrators ask for. Each raises StoreUnavailableError.

    def spec(self, name: str) -> WebhookSpec:
        """The webhook of that name.

        Raises:
            UnknownWebhookError: There is no such webhook.
        """
        webhooks = self._catalogue.current.webhooks
        if name not in webhooks:
            known = ", ".join(webhooks) or "none"
            raise UnknownWebhookError(
                f"There is no webhook {name[:64]!r}. Configured: {known}.",
                param="name",
                code="unknown_webhook",
            )
        return webhooks[name]

    async def listed(self) -> Iterable[tuple[str, WebhookSpec, DeliveryState]]:
        """Every webhook with the state of its deliveries."""
        webhooks = self._catalogue.current.webhooks
        return [(name, spec, await self._deliveries.standing(name)) for name, spec in webhooks.items()]

    async def test(self, name: str) -> ReceiverAnswer:
        """Send a test to a webhook from this replica at once; it is not kept."""
        body = _body("webhook.test", self._clock(), {"webhook": name})
        return await self._sender.send(self.spec(name), f"evt_test_{token_hex(12)}", body)

    async def dead_letters(self, name: str, at_most: int) -> list[DeadLetter]:
        """The latest messages that could not be delivered to a webhook, newest first."""
        self.spec(name)
        return await self._deliveries.dead_letters(name, at_most)

    async def replay(self, name: str, ids: list[str]) -> int:
        """Send dead letters with these ids (without any: all) again; returns their number."""
        self.spec(name)
        return await self._deliveries.replay(name, ids)
