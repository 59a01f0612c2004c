"""What can go wrong with a provider, each fault before and after its first byte, and what it means."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tests.gateway.fake_upstream import (
    Behaviour,
    Exchange,
    answer,
    chunk,
    cut,
    hang_up,
    malformed,
    raw,
    raw_stream,
    stall,
    status,
    stream_error,
    without_done,
)

SAID_BEFORE_BREAKING = "word word "


@dataclass(frozen=True)
class Fault:
    """One way to fail.

    Attributes:
        whole: What the provider does when asked for a whole answer; None where it cannot fail so.
        before: The same for a stream, before its first event.
        after: And after two events.
        status: What the caller is told if there is no fallback, before the first byte.
        code: The word for it in the error's body.
    """

    whole: Behaviour | None = None
    before: Behaviour | None = None
    after: Behaviour | None = None
    status: int = 502
    code: str = "upstream_cut"


def drip() -> Behaviour:
    """Send something all the time, but never an event."""

    async def behave(exchange: Exchange) -> None:
        await exchange.begin("text/event-stream" if exchange.is_stream else "application/json")
        while True:
            await exchange.send(b": wait\n\n" if exchange.is_stream else b" ")
            await asyncio.sleep(0.03)

    return behave


def stall_in_body() -> Behaviour:
    """Begin a whole answer and go silent."""

    async def behave(exchange: Exchange) -> None:
        await exchange.begin("application/json")
        await exchange.send(b'{"id": "x",')
        await exchange.until_left()

    return behave


def slow() -> Behaviour:
    """Take longer in all than any single wait may last, but never that long at once."""
    return answer("one two three four", pause_seconds=0.08)


def in_band(code: int) -> Behaviour:
    """Report an error inside the stream after two events."""
    return stream_error(after=2, code=code)


def two_in_one_block(last: bytes) -> Behaviour:
    """Two good events and what makes the stream fail, all in one piece."""

    async def behave(exchange: Exchange) -> None:
        await exchange.begin()
        good = chunk(exchange, {"content": "word "})
        await exchange.send(good + good + last)
        await exchange.end()

    return behave


FAULTS: dict[str, Fault] = {
    "refuses connections": Fault(whole=hang_up(), before=hang_up(), code="upstream_connect"),
    "hangs up": Fault(whole=hang_up(), before=hang_up(), code="upstream_connect"),
    "401": Fault(status(401), status(401), in_band(401), 502, "upstream_status_4xx"),
    "403": Fault(status(403), status(403), in_band(403), 502, "upstream_status_4xx"),
    "404": Fault(status(404), status(404), None, 502, "upstream_status_4xx"),
    "429": Fault(
        status(429, retry_after="3"), status(429, retry_after="3"), in_band(429), 429, "rate_limit_exceeded"
    ),
    "500": Fault(status(500), status(500), in_band(500), 502, "upstream_status_5xx"),
    "503": Fault(status(503), status(503), in_band(503), 502, "upstream_status_5xx"),
    "error, status 200": Fault(
        raw(b'{"error":{"message":"x","code":500}}'), stream_error(), None, 502, "upstream_status_5xx"
    ),
    "stalls": Fault(stall(), stall(), stall(after=2), 504, "upstream_timeout"),
    "stalls in its body": Fault(whole=stall_in_body(), status=504, code="upstream_timeout"),
    "drips": Fault(drip(), drip(), None, 504, "upstream_timeout"),
    "is cut": Fault(cut(), cut(after=0), cut(after=2), 502, "upstream_cut"),
    "ends early": Fault(None, without_done(after=0), without_done(after=2), 502, "upstream_cut"),
    "is malformed": Fault(malformed(), malformed(), malformed(after=2), 502, "upstream_protocol"),
    "is malformed in one piece": Fault(
        raw(b'{"id": "x", "choices": []}{'),
        raw_stream(b'data: {"id": \n\ndata: {"id": "y"}\n\ndata: [DONE]\n\n'),
        two_in_one_block(b'data: {"id": "x", "choices": [\n\ndata: [DONE]\n\n'),
        502,
        "upstream_protocol",
    ),
    "is no object": Fault(
        raw(b'["choices"]'),
        raw_stream(b'data: "choices"\n\ndata: [DONE]\n\n'),
        two_in_one_block(b"data: 17\n\ndata: [DONE]\n\n"),
        502,
        "upstream_protocol",
    ),
    "wrong content type": Fault(
        raw(b"<html>", content_type="text/html"),
        raw_stream(b"<html>", content_type="text/html"),
        None,
        502,
        "upstream_protocol",
    ),
}
