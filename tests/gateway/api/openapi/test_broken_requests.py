"""Rich requests with something wrong in them: refused by name or answered, never a failure of the gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.gateway.api.openapi.breaking import ASKED, RICH, Broken, broken_requests
from tests.gateway.api.openapi.fuzzing import MESSAGES, broken_answers
from tests.gateway.whole import Reply, Whole

pytestmark = pytest.mark.asyncio(loop_scope="package")

AT_ONCE = 4


@pytest.mark.parametrize(("path", "model"), [pair for pair in ASKED if pair[1] in ("plain", "support")])
async def test_whole_requests_are_answered(gateway: Whole, path: str, model: str) -> None:
    """What is broken below is right as it stands."""
    reply = await gateway.call("POST", path, {"model": model, **RICH[path]})
    assert reply.status == 200, reply.body


async def test_broken_requests_are_refused_by_name_or_answered(gateway: Whole) -> None:
    """Two hundred broken requests are each refused by name or answered."""
    assert await faults(gateway, broken_requests(200, seed=1)) == []
    assert await broken_answers(gateway) == 0


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_twenty_thousand_broken_requests_are_refused_by_name_or_answered(gateway: Whole) -> None:
    """Broken requests never get a server error, over a longer run."""
    assert await faults(gateway, broken_requests(20_000, seed=2)) == []
    assert await broken_answers(gateway) == 0


async def faults(gateway: Whole, requests: Iterator[Broken]) -> list[str]:
    """The requests that failed as none should, and how."""
    found = []

    async def send() -> None:
        for request in requests:
            reply = await gateway.call("POST", request.path, request.body)
            if wrong := _wrong(request, reply):
                found.append(f"{wrong}: {request.path} {json.dumps(request.body)}: {reply.body!r:.300}")

    await asyncio.gather(*(send() for _ in range(AT_ONCE)))
    return found


def _wrong(request: Broken, reply: Reply) -> str:
    """What is wrong with a reply, or nothing."""
    if reply.status >= 500:
        return f"status {reply.status}"
    if reply.status == 200:
        is_broken_off = b'"error":{' in reply.body or b'"type":"error"' in reply.body
        return "a broken stream" if request.body.get("stream") and is_broken_off else ""
    error = reply.json["error"]
    fields = {"type", "message"} if request.path == MESSAGES else {"type", "message", "param", "code"}
    return "" if fields <= error.keys() and error["message"] else "no error of the right shape"
