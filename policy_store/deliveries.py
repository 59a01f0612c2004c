"""What webhooks were told, were not told yet, and could not be told: one atomic step per method.

Each webhook has keys of its own, and a lease: one process delivers to it at a time. It takes up new events
together with the place up to which it read (`take`), sends what is due, and records what came of each. A
process that dies in between leaves a message due, so the next one sends it again, under the same id.
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
    """What came of sending a message."""

    DELIVERED = "delivered"
    FAILED = "failed"  # it is sent again
    GIVEN_UP = "given_up"  # it is a dead letter
    GONE = "gone"  # the receiver takes no more, so this and all that wait are dead letters


@dataclass(frozen=True, slots=True)
class Holding:
    """The right to deliver to a webhook, and how far it was told.

    Attributes:
        fence: Rises with every change of holder.
        waiting: How many messages are due now or later.
        places: Where the last event stands that was taken up, by experiment.
        beginning: Where the first event stood when the webhook was new.
    """

    fence: int
    waiting: int
    places: Mapping[str, str]
    beginning: str


@dataclass(frozen=True, slots=True)
class Message:
    """What a webhook is to be told; `attempts` is how often it was sent before."""

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
class Standing:
    """How deliveries to a webhook are going.

    Attributes:
        waiting: How many messages are due now or later.
        oldest_seconds: How long the oldest of them has waited; None where none does.
        dead_letters: How many were given up, and are kept.
        forgotten: How many were given up and are not kept any more.
        delivered: How many were delivered.
        delivered_at: When the last one was, in Unix seconds.
        gone: Digest of the address whose receiver said that it is gone; empty where none did.
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
        before: The place up to which events were taken up before; None where none were.
        upto: That of the last of these.
        messages: What the webhook is to be told of them.
    """

    experiment: str
    before: str | None
    upto: str
    messages: Sequence[Message] = field(default=())


class DeliveryStore(StorePart):
    """Deliveries to webhooks, in Redis or Valkey. Every call may be repeated."""

    async def hold(self, webhook: str, holder: str, ttl_seconds: float) -> Holding | None:
        """Take or renew the right to deliver, by the server's clock; None while another one has it.

        What is kept of a webhook is forgotten once no process asked for it for 30 days.
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
        """Give the right back at once; nothing happens if it is not the caller's."""
        await self._scripts.run("release_lease", (self._names.webhook(webhook).lease,), holder)

    async def take(self, webhook: str, fence: int, address: str, batch: Batch) -> None:
        """Take up events, each once, with the place of the last.

        Args:
            webhook: Its name.
            fence: The number of the `Holding`.
            address: Digest of the receiver's address: one that said it is gone is told nothing.
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
        """The messages that are to be sent now, those that wait longest first."""
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
        """Record what came of sending a message, and with it when it is sent again or that it is not.

        Raises:
            StaleFenceError: Another process delivers now; nothing was changed.
        """
        await self._scripts.run(
            "record_delivery",
            self._names.webhook(webhook).deliveries,
            *(fence, message.id, outcome.value, reason, math.ceil(wait_seconds * _MICRO)),
            *(MOST_DEAD_LETTERS, address),
        )

    async def standing(self, webhook: str) -> Standing:
        """How deliveries to it are going."""
        reply = await self._scripts.run("webhook_standing", self._names.webhook(webhook).deliveries)
        _, now, waiting, oldest, dead, (delivered, delivered_at, gone, forgotten) = reply
        return Standing(
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
        """Send dead letters again, those of these ids or, without any, all; how many that are."""
        reply = await self._scripts.run("replay_dead", self._names.webhook(webhook).deliveries, *ids)
        return int(reply[1])
