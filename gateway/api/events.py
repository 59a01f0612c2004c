"""`GET /v1/experiments/{name}/events`: events in pages or as a stream. Needs an admin key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Literal, Self

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import BaseModel, Field

from gateway.api.guards import Guard
from gateway.experiments.snapshot import SnapshotHolder
from gateway.notifying.feed import EventFeed
from gateway.notifying.reading import START, EventPage
from policy_store.events import PlacedEvent

MOST_ON_A_PAGE: Final = 500
_EVENT_STREAM: Final = "text/event-stream"
_NOT_HELD_UP: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


class EventListed(BaseModel):
    """One event of an experiment."""

    id: str = Field(description="An id that is unique among the events of all experiments.")
    at: float = Field(description="Unix seconds.")
    kind: str
    detail: dict[str, Any] = Field(description="Details of the event; policies are given by name.")

    @classmethod
    def of(cls, placed: PlacedEvent) -> Self:
        """The wire form of an event."""
        event = placed.event
        return cls(id=placed.id, at=event.at, kind=event.kind, detail=event.detail)


class EventList(BaseModel):
    """A page of events."""

    data: list[EventListed] = Field(description="The events in the requested order.")
    last_id: str | None = Field(description="Give it as `after` for the next page; null on an empty page.")
    has_more: bool = Field(description="Whether there is a next page.")

    @classmethod
    def of(cls, page: EventPage) -> Self:
        """The wire form of a page."""
        data = [EventListed.of(event) for event in page.events]
        return cls(data=data, last_id=page.last_id, has_more=page.has_more)


def event_routes(feed: EventFeed, snapshots: SnapshotHolder, require_admin: Guard) -> APIRouter:
    """The route of an experiment's events."""
    reader = feed.reader
    router = APIRouter(prefix="/v1/experiments", dependencies=[Depends(require_admin)], tags=["experiments"])

    @router.get(
        "/{name}/events",
        response_model=EventList,
        responses={200: {"content": {_EVENT_STREAM: {"schema": {"type": "string"}}}}},
    )
    async def experiment_events(
        name: str,
        limit: Annotated[int, Query(ge=1, le=MOST_ON_A_PAGE, description="How many on a page.")] = 50,
        order: Annotated[
            Literal["asc", "desc"], Query(description="`asc`: oldest first; `desc`: newest first.")
        ] = "desc",
        after: Annotated[
            str | None, Query(description="The id of the last event of the page before.")
        ] = None,
        accept: Annotated[str, Header(include_in_schema=False)] = "",
        last_event_id: Annotated[
            str | None, Header(description="The last id that an interrupted stream got; instead of `after`.")
        ] = None,
    ) -> Any:
        """List what happened to one experiment in all its generations: who did what, and why.

        With `Accept: text/event-stream` the answer is a stream of the events after `after`, or from now on.
        It ends when this replica stops.
        """
        name = snapshots.current.experiment(name).name
        if _EVENT_STREAM not in accept:
            return EventList.of(await reader.page(name, after, limit, newest_first=order == "desc"))
        seen = last_event_id or after
        start = await reader.latest_place(name) if seen is None else reader.place_after(name, seen)
        return await _stream(feed, name, start)

    return router


async def _stream(feed: EventFeed, name: str, start: str) -> Response:
    followed = feed.follow(name, start)
    await anext(followed)  # a refusal comes before the status

    async def written() -> AsyncIterator[bytes]:
        # An id without data, so that a reader that is cut off before the first event misses none when it
        # returns.
        yield format_sse_event(comment=name, id=None if start == START else feed.reader.id_at(name, start))
        async for events in followed:
            if not events:
                yield format_sse_event(comment="nothing new")
            for event in events:
                told = EventListed.of(event)
                yield format_sse_event(data_str=told.model_dump_json(), event=told.kind, id=told.id)

    return EventSourceResponse(written(), headers=_NOT_HELD_UP)
