"""The same as server-sent events: as it happens, without a gap and without a cost per reader."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from gateway.cli import main
from gateway.running.lifecycle import Lifecycle
from policy_store.names import Names
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, gateway_config
from tests.gateway.whole import Whole, eventually, quick_settings, whole_gateway
from tests.pace import impatient
from tests.servers import EmbeddedServer, SentinelServer

EVENTS = f"/v1/experiments/{NAME}/events"
STREAM = {"accept": "text/event-stream"}


@pytest.fixture
async def gateway(embedded_url: str) -> AsyncIterator[Whole]:
    """A gateway that asks for no keys."""
    async with whole_gateway(gateway_config(), quick_settings(embedded_url)) as gateway:
        yield gateway


async def move(gateway: Whole, verb: str, reason: str = "because") -> None:
    """A person's move, which is an event."""
    assert (await gateway.call("POST", f"/v1/experiments/{NAME}/{verb}", {"reason": reason})).status == 200


@asynccontextmanager
async def stream(
    gateway: Whole, query: str = "", **headers: str
) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
    """An open stream: each block of lines as a mapping, a comment under the empty name."""
    shown = {**STREAM, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with gateway.session.get(gateway.url + EVENTS + query, headers=shown) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")

        async def blocks() -> AsyncIterator[dict[str, str]]:
            block: dict[str, str] = {}
            async for line in answer.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if line == b"\n":
                    yield block
                    block = {}
                else:
                    block[name.strip(":")] = value

        async with aclosing(blocks()) as found:
            yield found


async def happenings(blocks: AsyncIterator[dict[str, str]], count: int) -> list[dict[str, Any]]:
    """The next events."""
    found = []
    while len(found) < count:
        block = await anext(blocks)
        if "data" in block:
            event = json.loads(block["data"])
            assert (block["id"], block["event"]) == (event["id"], event["kind"])
            found.append(event)
    return found


async def test_what_happens_is_told_as_it_happens(gateway: Whole) -> None:
    """A stream begins now, and gets each event in the same form as the pages."""
    await move(gateway, "pause", "before")
    async with stream(gateway) as blocks:
        await anext(blocks)
        await move(gateway, "resume", "one")
        await move(gateway, "pause", "two")
        told = await happenings(blocks, 2)
    assert [event["detail"]["reason"] for event in told] == ["one", "two"]
    assert told[0]["detail"]["incumbent"] == "plain"
    assert told[::-1] == (await gateway.get(f"{EVENTS}?limit=2")).json["data"]


async def test_a_stream_goes_on_where_it_was_cut(gateway: Whole) -> None:
    """A stream resumes even if it was cut before its first event, because it gets its position at once."""
    async with stream(gateway) as blocks:
        first = await anext(blocks)
    assert "data" not in first
    for reason in ("one", "two", "three"):
        await move(gateway, "pause" if reason != "two" else "resume", reason)

    async with stream(gateway, last_event_id=first["id"]) as blocks:
        told = await happenings(blocks, 2)
    async with stream(gateway, f"?after={first['id']}", last_event_id=told[1]["id"]) as blocks:
        told += await happenings(blocks, 1)
    assert [event["detail"]["reason"] for event in told] == ["one", "two", "three"]

    async with stream(gateway) as late, stream(gateway, f"?after={first['id']}") as early:
        await move(gateway, "resume", "four")
        assert [event["id"] for event in (await happenings(early, 4))[:3]] == [each["id"] for each in told]
        assert (await happenings(late, 1))[0]["detail"]["reason"] == "four"


async def test_a_wrong_place_is_refused_before_the_stream(gateway: Whole) -> None:
    """A stream refuses an unknown position with the same error as a page."""
    reply = await gateway.call("GET", EVENTS, headers={**STREAM, "last-event-id": "7"})
    assert (reply.status, reply.code) == (400, "invalid_value")
    assert (await gateway.call("GET", "/v1/experiments/no/events", headers=STREAM)).status == 404


async def test_silence_is_told(gateway: Whole) -> None:
    """A comment now and then keeps proxies from closing the connection."""
    with patch("gateway.notifying.feed.HEARTBEAT_SECONDS", 0.01):
        async with stream(gateway) as blocks:
            assert [("data" in await anext(blocks)) for _ in range(3)] == [False] * 3


async def test_streams_are_bounded_and_their_places_come_back(gateway: Whole) -> None:
    """One stream too many gets a retry-after; closed streams do not count."""
    with (
        patch("gateway.notifying.feed.MOST_FOLLOWERS", 2),
        patch("gateway.notifying.feed.HEARTBEAT_SECONDS", 0.01),
    ):
        async with stream(gateway), stream(gateway):
            reply = await gateway.call("GET", EVENTS, headers=STREAM)
            assert (reply.status, reply.code) == (503, "too_many_streams")
            assert "retry-after" in reply.headers

        async def has_room() -> bool:
            async with gateway.session.get(gateway.url + EVENTS, headers=STREAM) as answer:
                return answer.status == 200

        await eventually(has_room, "room for another stream")


async def test_many_streams_cost_one_reading(gateway: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the store is asked does not grow with who looks."""
    asked: list[str] = []
    page = PolicyStore.events_page

    async def counted(store: PolicyStore, name: str, **how: Any) -> Any:
        found = await page(store, name, **how)
        asked.extend(event.event.detail.get("reason", "") for event in found)
        return found

    async with stream(gateway) as one, stream(gateway) as two, stream(gateway) as three:
        for blocks in (one, two, three):
            await anext(blocks)
        monkeypatch.setattr(PolicyStore, "events_page", counted)
        await move(gateway, "pause", "seen by all")
        for blocks in (one, two, three):
            assert (await happenings(blocks, 1))[0]["detail"]["reason"] == "seen by all"
    assert asked.count("seen by all") == 1


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A store to be killed."""
    server = EmbeddedServer(tmp_path)
    server.start()
    yield server
    server.stop()


async def test_a_stream_outlives_its_store(own_server: EmbeddedServer) -> None:
    """The store is killed and comes back; the stream tells what happened before and after."""
    async with (
        whole_gateway(gateway_config(), quick_settings(own_server.url)) as gateway,
        stream(gateway) as blocks,
    ):
        await anext(blocks)
        await move(gateway, "pause", "before")
        assert (await happenings(blocks, 1))[0]["detail"]["reason"] == "before"
        own_server.kill()
        await asyncio.to_thread(own_server.start)

        async def is_moved() -> bool:
            body = {"reason": "after"}
            reply = await gateway.call("POST", f"/v1/experiments/{NAME}/resume", body)
            return reply.status == 200

        await gateway.eventually(is_moved, "a move once the store is back")
        assert (await happenings(blocks, 1))[0]["detail"]["reason"] == "after"


async def test_streams_end_when_the_process_is_about_to_stop(embedded_url: str) -> None:
    """Readers then go to another replica, and no stream delays the end of the process."""
    lifecycle = Lifecycle()
    settings = quick_settings(embedded_url)
    async with (
        whole_gateway(gateway_config(), settings, lifecycle=lifecycle) as gateway,
        stream(gateway) as blocks,
    ):
        await anext(blocks)
        lifecycle.drain()
        assert [block async for block in blocks] == []


async def test_the_command_follows(gateway: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command shows the latest events, then new ones, and resumes after its stream was cut."""
    told: list[str] = []
    monkeypatch.setattr("gateway.cli.events.typer.echo", told.append)
    monkeypatch.setattr("gateway.cli.events._AGAIN_SECONDS", 0.0)
    monkeypatch.setattr("gateway.cli.events.get_lines", _cut_after_an_event(told))
    await move(gateway, "pause", "one")

    arguments = ["experiments", "events", NAME, "--follow", "--json", "--url", gateway.url]
    command = asyncio.create_task(asyncio.to_thread(main, arguments))
    for count, (verb, reason) in enumerate((("resume", "two"), ("pause", "three")), start=3):
        await eventually(lambda count=count: len(told) >= count - 1, "what happened before")
        await move(gateway, verb, reason)
        await eventually(lambda count=count: len(told) >= count, "what happened since")

    assert await command == 0
    assert [json.loads(line)["detail"].get("reason") for line in told] == [None, "one", "two", "three"]


def _cut_after_an_event(told: list[str]) -> Callable[..., Iterator[bytes]]:
    """Streams that break off after one event; the third is the user's Ctrl-C."""
    from gateway.cli.remote import UnansweredError, get_lines  # noqa: PLC0415 - before it is patched

    def cut(*asked: Any, **how: Any) -> Iterator[bytes]:
        if len(told) >= 4:
            raise SystemExit(0)
        before = len(told)
        for line in get_lines(*asked, **how):
            yield line
            if line == b"\n" and len(told) > before:
                raise UnansweredError("cut")

    return cut


async def test_a_stream_goes_on_through_a_failover(tmp_path: Path) -> None:
    """Events from before and after a replica took over come once each, on the connection that was open."""
    group = SentinelServer(tmp_path)
    try:
        await asyncio.to_thread(group.start)
        settings = quick_settings(group.url, store_timeout_seconds=impatient(1.0))
        async with whole_gateway(gateway_config(), settings) as gateway, stream(gateway) as blocks:
            await anext(blocks)
            await move(gateway, "pause", "before")
            told = await happenings(blocks, 1)
            replica = group.servers[1]
            length = ("xlen", Names().experiment(NAME).events)
            await eventually(lambda: replica.ask(*length) == group.servers[0].ask(*length), "replication")

            group.servers[0].end()
            await eventually(lambda: _is_resumed(gateway), "the replica taking over")
            told += await happenings(blocks, 1)
        assert [event["kind"] for event in told] == ["paused", "unpaused"]
    finally:
        group.stop()


async def _is_resumed(gateway: Whole) -> bool:
    reply = await gateway.call("POST", f"/v1/experiments/{NAME}/resume", {"reason": "after"})
    return reply.status == 200
