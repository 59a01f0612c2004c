"""A gateway asked to stop: not ready first, then nothing new, and answers under way end truthfully."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
import orjson
import pytest

from tests.gateway.fake_upstream import FakeUpstream, answer, stall
from tests.gateway.process import Served
from tests.gateway.whole import eventually
from tests.servers import free_port

CHAT = "/v1/chat/completions"
WORKERS = pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "workers"])


def question(**fields: object) -> dict[str, object]:
    """A chat request for a plain model."""
    return {"model": "plain", "messages": [{"role": "user", "content": "Hello?"}], **fields}


async def test_it_is_not_ready_before_it_stops_answering(serve: Callable[..., Served]) -> None:
    """Load balancers learn of it while every request is still answered; the process lives all the while."""
    served = serve()
    gateway = await served.start(LLMPO_DRAIN_NOTICE_SECONDS="1.5")
    assert (await gateway.get("/readyz")).status == 200

    ending = asyncio.create_task(served.end(signal.SIGTERM))

    await gateway.eventually(lambda: _status_is(gateway.url + "/readyz", 503), "not ready any more")
    assert (await gateway.get("/readyz")).json["status"] == "draining"
    assert (await gateway.get("/healthz")).status == 200
    assert (await gateway.ask()).status == 200
    assert await ending == 0


@WORKERS
async def test_a_signal_right_after_listening_still_gives_notice(
    serve: Callable[..., Served], options: tuple[str, ...]
) -> None:
    """Once the address is announced, SIGTERM drains the gateway instead of killing it."""
    served = serve()
    await served.start(*options, port=free_port(), LLMPO_DRAIN_NOTICE_SECONDS="0.1")

    assert await served.end(signal.SIGTERM) == 0
    assert "draining" in [line["event"] for line in served.events]


async def test_a_second_signal_skips_the_notice(serve: Callable[..., Served]) -> None:
    """An operator who presses Ctrl-C twice does not wait for load balancers."""
    served = serve()
    gateway = await served.start(LLMPO_DRAIN_NOTICE_SECONDS="600")
    assert served.process is not None
    served.process.send_signal(signal.SIGTERM)
    await gateway.eventually(lambda: _status_is(gateway.url + "/readyz", 503), "not ready any more")

    assert await served.end(signal.SIGTERM) == 0


@WORKERS
async def test_an_answer_longer_than_the_drain_says_that_it_ended(
    serve: Callable[..., Served], upstream: FakeUpstream, options: tuple[str, ...]
) -> None:
    """What came is kept, an error event follows, no [DONE] is made up, and the provider is free."""
    upstream.on("plain", stall(after=2))
    served = serve()
    gateway = await served.start(*options, port=free_port(), LLMPO_DRAIN_SECONDS="0.3")
    async with gateway.session.post(gateway.url + CHAT, json=question(stream=True)) as stream:
        await stream.content.readany()
        ending = asyncio.create_task(served.end(signal.SIGTERM))
        rest = await stream.content.read()

    last = orjson.loads(rest.strip().rpartition(b"data: ")[2])
    assert last["error"]["code"] == "shutting_down"
    assert b"[DONE]" not in rest
    assert await ending == 0
    assert upstream.in_flight == 0


async def test_an_unbegun_answer_at_the_end_of_the_drain_is_503(
    serve: Callable[..., Served], upstream: FakeUpstream
) -> None:
    """The caller may ask another replica at once."""
    upstream.on("plain", stall())
    served = serve()
    gateway = await served.start(LLMPO_DRAIN_SECONDS="0.3")
    asking = asyncio.create_task(gateway.call("POST", CHAT, question()))
    await gateway.eventually(lambda: upstream.in_flight, "the provider asked")

    ended = await served.end(signal.SIGTERM)

    reply = await asking
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "shutting_down", "1")
    assert ended == 0


@dataclass
class Balancer:
    """Sends each request to the next replica that was ready when last asked, as a load balancer does."""

    session: aiohttp.ClientSession
    replicas: list[str]
    ready: list[str] = field(default_factory=list)
    _turn: itertools.count[int] = field(default_factory=itertools.count)

    async def watch(self) -> None:
        """Ask all replicas again and again whether they are ready."""
        while True:
            answers = [await _status_is(f"{replica}/readyz", 200) for replica in self.replicas]
            self.ready = [
                replica for replica, is_ready in zip(self.replicas, answers, strict=True) if is_ready
            ]
            await asyncio.sleep(0.05)

    async def ask(self, body: dict[str, object]) -> bytes:
        """One request, its answer read to the end."""
        replica = self.ready[next(self._turn) % len(self.ready)]
        async with self.session.post(replica + CHAT, json=body) as reply:
            assert reply.status == 200, await reply.read()
            return await reply.read()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="one process"),
        # What workers add, draining at a signal and at the end of the time, is shown by itself above.
        pytest.param(("--workers", "2"), id="workers", marks=pytest.mark.long),
    ],
)
async def test_a_rolling_restart_under_load_truncates_nothing(
    serve: Callable[..., Served],
    upstream: FakeUpstream,
    session: aiohttp.ClientSession,
    options: tuple[str, ...],
) -> None:
    """Two replicas behind a load balancer that asks /readyz: one is replaced, then the other one stops."""
    upstream.on("plain", answer("one two three four five six seven eight", pause_seconds=0.05))
    replicas = [(serve(), free_port()) for _ in range(2)]
    settings = {"LLMPO_DRAIN_NOTICE_SECONDS": "1"}
    urls = [(await served.start(*options, port=port, **settings)).url for served, port in replicas]
    balancer = Balancer(session, urls)
    watching = asyncio.create_task(balancer.watch())

    def check() -> None:
        for served, _ in replicas:
            served.check()

    await eventually(lambda: len(balancer.ready) == 2, "both replicas ready", check=check)
    is_over = asyncio.Event()

    async def user(number: int) -> int:
        asked = 0
        while not is_over.is_set():
            is_stream = (number + asked) % 2 == 0
            reply = await balancer.ask(question(stream=is_stream))
            assert reply.rstrip().endswith(b"data: [DONE]" if is_stream else b"}"), reply[-200:]
            asked += 1
        return asked

    users = [asyncio.create_task(user(number)) for number in range(6)]
    (one, port), (other, _) = replicas
    assert await one.end(signal.SIGTERM) == 0
    await one.start(*options, port=port, **settings)
    await eventually(lambda: len(balancer.ready) == 2, "both replicas ready again", check=check)
    assert await other.end(signal.SIGTERM) == 0
    is_over.set()

    assert min(await asyncio.gather(*users)) > 5
    watching.cancel()


async def _status_is(url: str, expected: int) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as reply:
            return reply.status == expected
    except aiohttp.ClientError:
        return False
