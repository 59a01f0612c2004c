"""`/v1/webhooks`: the state of deliveries, tests and replays. Needs an admin key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from gateway.api.control_body import ControlBody
from gateway.api.described_body import described_body
from gateway.api.guards import Guard
from gateway.config.webhooks import WebhookSpec
from gateway.notifying.delivering import Deliverer
from gateway.notifying.sending import address_digest
from policy_store.deliveries import MOST_DEAD_LETTERS, DeadLetter, DeliveryState

_MOST_IDS: Final = MOST_DEAD_LETTERS


class WebhookShown(BaseModel):
    """A webhook and the state of its deliveries."""

    name: str
    host: str = Field(description="Scheme and host of its address; the rest may be a secret.")
    events: list[str] | None = Field(description="Kinds of events that it gets; null for all.")
    experiments: list[str] | None = Field(description="Experiments whose events it gets; null for all.")
    state: Literal["active", "gone"] = Field(
        description="`gone`: its receiver answered 410 and gets nothing until a replay."
    )
    waiting: int = Field(description="Events that are not delivered yet.")
    oldest_seconds: float | None = Field(description="How long the oldest waiting event has waited.")
    dead_letters: int = Field(description="Events that were given up and are kept.")
    forgotten: int = Field(description="Events that were given up and are not kept any more.")
    delivered: int
    delivered_at: float | None = Field(description="When an event was delivered last; Unix seconds.")

    @classmethod
    def of(cls, name: str, spec: WebhookSpec, standing: DeliveryState) -> Self:
        """The wire form of a webhook."""
        address = urlsplit(spec.url.get_secret_value())
        return cls(
            name=name,
            host=f"{address.scheme}://{address.netloc}",
            events=spec.events,
            experiments=spec.experiments,
            state="gone" if standing.gone == address_digest(spec) else "active",
            waiting=standing.waiting,
            oldest_seconds=standing.oldest_seconds,
            dead_letters=standing.dead_letters,
            forgotten=standing.forgotten,
            delivered=standing.delivered,
            delivered_at=standing.delivered_at,
        )


class WebhookList(BaseModel):
    """All webhooks of this replica's file."""

    data: list[WebhookShown]


class Tested(BaseModel):
    """A receiver's answer to a test."""

    delivered: bool
    status: int | None = Field(description="Its status; null if no answer came.")
    reason: str = Field(description="What was wrong; empty if nothing was.")


class DeadLetterShown(BaseModel):
    """An event that could not be delivered."""

    id: str = Field(description="The event's.")
    experiment: str
    kind: str
    at: float = Field(description="When it was given up; Unix seconds.")
    attempts: int = Field(description="How often it was sent.")
    reason: str = Field(description="Why the last attempt failed.")

    @classmethod
    def of(cls, letter: DeadLetter) -> Self:
        """The wire form of a dead letter."""
        told = orjson.loads(letter.message.body)["data"]
        return cls(
            id=letter.message.id,
            experiment=told["experiment"],
            kind=told["kind"],
            at=letter.at,
            attempts=letter.message.attempts,
            reason=letter.reason,
        )


class DeadLetterList(BaseModel):
    """Events that could not be delivered, newest first."""

    data: list[DeadLetterShown]


class ToReplay(ControlBody):
    """The dead letters to send again."""

    ids: list[str] = Field(
        default=[], max_length=_MOST_IDS, description="Ids of events; an empty list means all dead letters."
    )


class Replayed(BaseModel):
    """The result of a replay."""

    replayed: int = Field(description="How many events are sent again.")


def webhook_routes(
    deliverer: Deliverer, require_admin: Guard, read_body: Callable[[Request], Awaitable[dict[str, Any]]]
) -> APIRouter:
    """The routes below `/v1/webhooks`."""
    router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], dependencies=[Depends(require_admin)])

    @router.get("")
    async def list_webhooks() -> WebhookList:
        """List the webhooks with the state of their deliveries."""
        return WebhookList(data=[WebhookShown.of(*each) for each in await deliverer.listed()])

    @router.post("/{name}/test")
    async def send_test(name: str) -> Tested:
        """Send a test to a webhook now, signed like an event; it is not kept."""
        receipt = await deliverer.test(name)
        return Tested(delivered=receipt.is_taken, status=receipt.status, reason=receipt.reason)

    @router.get("/{name}/dead-letters")
    async def list_dead_letters(
        name: str, limit: Annotated[int, Query(ge=1, le=MOST_DEAD_LETTERS)] = 50
    ) -> DeadLetterList:
        """List the latest events that could not be delivered to a webhook."""
        letters = await deliverer.dead_letters(name, limit)
        return DeadLetterList(data=[DeadLetterShown.of(letter) for letter in letters])

    @router.post("/{name}/replay", openapi_extra=described_body(ToReplay))
    async def replay_webhook(name: str, request: Request) -> Replayed:
        """Send dead letters again, under their own ids; a receiver that was gone is asked again."""
        wanted = ToReplay.of(await read_body(request))
        return Replayed(replayed=await deliverer.replay(name, wanted.ids))

    return router
