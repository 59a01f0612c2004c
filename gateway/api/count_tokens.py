"""`POST /v1/messages/count_tokens`: how many tokens a message would take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import APIRouter, Request
from pydantic import BaseModel

from gateway.access.callers import Caller
from gateway.access.token_estimate import estimate_tokens
from gateway.api.body import read_request
from gateway.api.body_room import BodyRoom
from gateway.api.caller_headers import read_headers
from gateway.api.fields import check_fields
from gateway.api.requests.messages import MESSAGE_FIELDS
from gateway.api.requests.shapes import record
from gateway.experiments.snapshot import SnapshotHolder
from gateway.serving.token_counts import TokenCounts
from gateway.upstream.surfaces import MESSAGES

COUNT_TOKENS_PATH: Final = "/v1/messages/count_tokens"
# A message needs `max_tokens`, but counting its tokens does not.
_NO_LIMIT: Final = {"max_tokens": 1}


class TokenCount(BaseModel):
    """The number of tokens of the prompt, including tools and system prompt."""

    input_tokens: int


def count_tokens_routes(
    counts: TokenCounts,
    snapshots: SnapshotHolder,
    admit: Callable[[Request], Awaitable[Caller]],
    bodies: BodyRoom,
) -> APIRouter:
    """The route.

    Args:
        counts: Asks providers.
        snapshots: Hold the current models and experiments.
        admit: Gives the caller, after counting the request against the limits of its key.
        bodies: The room for bodies.
    """
    router = APIRouter(tags=["models"])
    schema = record(["model", "messages"], **MESSAGE_FIELDS)

    @router.post(
        COUNT_TOKENS_PATH,
        operation_id="count_tokens",
        openapi_extra={
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}
        },
    )
    async def count_tokens(request: Request) -> TokenCount:
        """Count the tokens of a message (Anthropic's), or estimate them.

        A provider that speaks the format counts them; otherwise the number is a quarter of the characters.
        """
        await admit(request)
        with bodies.place() as place:
            payload = await read_request(request.receive, request.headers.raw, place)
            check_fields(MESSAGES.name, {**_NO_LIMIT, **payload})
            headers = read_headers(request.headers.raw, MESSAGES)
            counted = await counts.count(payload, headers.passed_on, snapshots.current)
            estimated = estimate_tokens(counted.payload).prompt if counted.tokens is None else counted.tokens
        return TokenCount(input_tokens=estimated)

    return router
