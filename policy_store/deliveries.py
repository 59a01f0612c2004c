"""Delivered, waiting and undeliverable messages of webhooks: one atomic step per method.

Each webhook has keys of its own, and a lease: one process delivers to it at a time. It takes up new events
together with the place up to which it read (`take`), sends due messages, and records each result. A process
that dies in between leaves a message due, so the next one sends it again, under the same id.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from policy_store.scripting import StorePart

MOST_DEAD_LETTERS: Final = 1_000
_KEEP_MILLISECONDS: Final = 30 * 24 * 3600 * 1000
_EARLIER_MICROSECONDS: Final = 10 * 1_000_000
_CURSOR: Final = "cursor:"
_MICRO: Final = 1_000_000


class DeliveryOutcome(StrEnum):
    """The result of sending a message."""

    DELIVERED = "delivered"
    FAILED = "failed"  # it is sent again
    GIVEN_UP = "given_up"  # it is a dead letter
    GONE = "gone"  # the receiver takes no more, so this and all that wait are dead letters


@dataclass(frozen=True, slots=True)
class Holding:
    """The right to deliver to a webhook, and the progress of its deliveries.

    Attributes:
        fence: Rises with every change of holder.
        waiting: How many messages are due now or later.
        places: The place of the last event taken up, by experiment.
        beginning: The place from which events are taken up for an experiment without one.
    """

    fence: int
    waiting: int
    places: Mapping[str, str]
    beginning: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message for a webhook; `attempts` is how often it was sent before."""

    id: str
    body: str
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up, at Unix seconds."""

    message: Message
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """The state of deliveries to a webhook.

    Attributes:
        waiting: How many messages are due now or later.
        oldest_seconds: How long the oldest of them has waited; None if there is none.
        dead_letters: How many were given up, and are kept.
        forgotten: How many were given up and are not kept any more.
        delivered: How many were delivered.
        delivered_at: When the last one was, in Unix seconds.
        gone: Digest of the address whose receiver said that it is gone; empty if none did.
    """

    waiting: int = 0
    oldest_seconds: float | None = None
    dead_letters: int = 0
    forgotten: int = 0
    delivered: int = 0
    delivered_at: float | None = None
    gone: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """New events of one experiment, for one webhook.

    Attributes:
        experiment: Its name.
        before: The place up to which events were taken up before; None if none were.
        upto: The place of the last of these events.
        messages: The messages about them for the webhook.
    """

    experiment: str
    before: str | None
    upto: str
    messages: Sequence[Message] = field(default=())


class DeliveryStore(StorePart):
    """Deliveries to webhooks, in Redis or Valkey. Every call may be repeated."""

    async def hold(self, webhook: str, holder: str, ttl_seconds: float) -> Holding | None:
        """Take or renew the right to deliver, by the server's clock; None while another one has it.

        The data of a webhook are deleted once no process has asked for them for 30 days.
        """
        keys = self._names.webhook(webhook)
        reply = await self._scripts.run(
            "hold_webhook",
            (*keys.deliveries, keys.lease),
            *(holder, math.ceil(ttl_seconds * 1000), _KEEP_MILLISECONDS, _EARLIER_MICROSECONDS),
        )
        if reply[0] != "ok":
            return None
        _, flat, waiting = reply
        known = dict(zip(flat[::2], flat[1::2], strict=True))
        places = {
            name.removeprefix(_CURSOR): place for name, place in known.items() if name.startswith(_CURSOR)
        }
        return Holding(int(known["fence"]), int(waiting), places, f"{int(known['since']) // 1000}-0")

    async def release(self, webhook: str, holder: str) -> None:
        """Give back the right at once; nothing happens if another process has it."""
        await self._scripts.run("release_lease", (self._names.webhook(webhook).lease,), holder)

    async def take(self, webhook: str, fence: int, address: str, batch: Batch) -> None:
        """Take up events, each once, with the place of the last.

        Args:
            webhook: Its name.
            fence: The number of the `Holding`.
            address: Digest of the receiver's address; a receiver that said it is gone gets nothing.
            batch: The events.

        Raises:
            StaleFenceError: Another process delivers now; nothing was changed.
        """
        told = [part for message in batch.messages for part in (message.id, message.body)]
        await self._scripts.run(
            "take_events",
            self._names.webhook(webhook).deliveries,
            *(fence, batch.experiment, batch.before or "", batch.upto, address, MOST_DEAD_LETTERS),
            *told,
        )

    async def due(self, webhook: str, at_most: int) -> list[Message]:
        """The messages to send now, the longest waiting first."""
        keys = self._names.webhook(webhook)
        _, found = await self._scripts.run("due_deliveries", (keys.due, keys.messages), at_most)
        return [Message(message_id, body, int(attempts)) for message_id, body, attempts in found]

    async def record(
        self,
        webhook: str,
        fence: int,
        message: Message,
        outcome: DeliveryOutcome,
        *,
        reason: str = "",
        wait_seconds: float = 0.0,
        address: str = "",
    ) -> None:
        """Record the result of sending a message, together with the time of the next attempt, if any.

        Raises:
            StaleFenceError: Another process delivers now; nothing was changed.
        """
        await self._scripts.run(
            "record_delivery",
            self._names.webhook(webhook).deliveries,
            *(fence, message.id, outcome.value, reason, math.ceil(wait_seconds * _MICRO)),
            *(MOST_DEAD_LETTERS, address),
        )

    async def standing(self, webhook: str) -> DeliveryState:
        """The state of deliveries to a webhook."""
        reply = await self._scripts.run("webhook_standing", self._names.webhook(webhook).deliveries)
        _, now, waiting, oldest, dead, (delivered, delivered_at, gone, forgotten) = reply
        return DeliveryState(
            waiting=int(waiting),
            oldest_seconds=(int(now) - int(oldest)) / _MICRO if oldest else None,
            dead_letters=int(dead),
            forgotten=int(forgotten or 0),
            delivered=int(delivered or 0),
            delivered_at=int(delivered_at) / _MICRO if delivered_at else None,
            gone=gone or "",
        )

    async def dead_letters(self, webhook: str, at_most: int) -> list[DeadLetter]:
        """The latest messages that were given up, the newest first."""
        keys = self._names.webhook(webhook)
        _, found = await self._scripts.run("dead_letters", (keys.messages, keys.dead), at_most)
        return [
            DeadLetter(Message(message_id, body, int(attempts)), float(at) / _MICRO, reason)
            for message_id, at, body, attempts, reason in found
        ]

    async def replay(self, webhook: str, ids: Sequence[str]) -> int:
        """Send dead letters with these ids (without any: all) again; returns their number."""
        reply = await self._scripts.run("replay_dead", self._names.webhook(webhook).deliveries, *ids)
        return int(reply[1])
