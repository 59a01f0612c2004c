"""Over HTTP/2 to a server of another make: Node's, whose protocol library is nghttp2."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.upstream.base import ModelTarget, Timeouts, UpstreamRequest
from gateway.upstream.relay import Relay
from tests.gateway.whole import eventually
from tests.pace import impatient

PROGRAM = Path(__file__).with_name("provider.cjs")
CANCEL = 8


@dataclass
class NodeProvider:
    """The server, and its output so far."""

    port: int = 0
    lines: list[dict[str, Any]] = field(default_factory=list)

    def count(self, what: str) -> int:
        """How often a kind of line is in its output."""
        return sum(what in line for line in self.lines)

    def request(self, model: str, **fields: Any) -> UpstreamRequest:
        """A question for one of its models."""
        base = f"http://127.0.0.1:{self.port}/v1"
        target = ModelTarget(model, "openai", "openai", model, base, "k", http2=True)
        return UpstreamRequest(target, {"messages": [], **fields})


@pytest.fixture
async def provider() -> AsyncIterator[NodeProvider]:
    """Listening, over plain TCP."""
    process = await asyncio.create_subprocess_exec("node", str(PROGRAM), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    said = NodeProvider(json.loads(await process.stdout.readline())["port"])

    async def listen(output: asyncio.StreamReader) -> None:
        async for line in output:
            said.lines.append(json.loads(line))

    listening = asyncio.create_task(listen(process.stdout))
    yield said
    process.kill()
    await process.wait()
    await listening


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """As the gateway has it."""
    relay = Relay(Timeouts(connect=5, first_byte=10, stall=10, total=20))
    yield relay
    await relay.aclose()


async def whole(relay: Relay, provider: NodeProvider, model: str, **fields: Any) -> str:
    """What a model says."""
    reply = await relay.complete(provider.request(model, **fields))
    said: str = json.loads(reply.body)["choices"][0]["message"]["content"]
    return said


async def streamed(relay: Relay, provider: NodeProvider, model: str) -> bytes:
    """All of a stream."""
    stream = await relay.stream(provider.request(model, stream=True))
    blocks = []
    while block := await stream.read():
        blocks.append(block)
    await stream.aclose()
    return b"".join(blocks)


async def test_answers_of_all_sizes_share_a_connection(relay: Relay, provider: NodeProvider) -> None:
    """Short, streamed and very long answers, and a long request, share a connection at once."""
    calls = [whole(relay, provider, "small") for _ in range(20)]
    calls += [whole(relay, provider, "long") for _ in range(2)]
    calls.append(whole(relay, provider, "small", user="z" * 2_000_000))
    streams = [streamed(relay, provider, "small") for _ in range(20)]
    said, texts = await asyncio.gather(asyncio.gather(*calls), asyncio.gather(*streams))
    assert said[:20] == ["I am small, 0."] * 20
    assert {len(text) for text in said[20:22]} == {3_000_000}
    assert said[22] == "I am small, 2000000."
    assert all(text.count(b"data: ") == 3 and text.endswith(b"data: [DONE]\n\n") for text in texts)
    await eventually(lambda: provider.count("asked") == 43, "all asked")
    assert (provider.count("connection"), provider.count("aborted")) == (1, 0)


async def test_leaving_frees_the_server(relay: Relay, provider: NodeProvider) -> None:
    """The server learns within a second that the caller left, by the code for cancelling."""
    stream = await relay.stream(provider.request("endless", stream=True))
    await stream.read()
    await stream.aclose()
    await eventually(
        lambda: {"aborted": CANCEL} in provider.lines, "the stream given up", seconds=impatient(1.0)
    )
    assert await whole(relay, provider, "small") == "I am small, 0."
    assert provider.count("connection") == 1


async def test_its_goaway_lets_the_answer_end(relay: Relay, provider: NodeProvider) -> None:
    """The next request goes to another connection."""
    assert (await streamed(relay, provider, "leaves")).endswith(b"data: [DONE]\n\n")
    assert await whole(relay, provider, "small") == "I am small, 0."
    await eventually(lambda: provider.count("connection") == 2, "another connection")


async def test_what_it_refuses_is_asked_again(relay: Relay, provider: NodeProvider) -> None:
    """A refused request is sent again once."""
    assert await whole(relay, provider, "refused") == "I am refused, 0."
    await eventually(lambda: provider.count("asked") == 2, "asked twice")
