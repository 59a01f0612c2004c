"""How much of the room for bodies a request takes, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from gateway.api.body import read_request
from gateway.api.body_room import BodyRoom
from gateway.errors import CrowdedError

MEGABYTE = 1024 * 1024
WIDE = orjson.dumps({"model": "m", "input": "😀" + "a" * MEGABYTE})


def received(body: bytes) -> Callable[[], Awaitable[dict[str, Any]]]:
    """A request whose body comes in one piece."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    return receive


async def test_a_wide_text_has_its_room_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies that are read at the same time are parsed only as far as there is room for their texts."""
    room = BodyRoom(2 * MEGABYTE, 0)  # the least there can be: two such bodies of one megabyte
    parsed, loads = 0, orjson.loads

    def counted(body: bytes) -> Any:
        nonlocal parsed
        parsed += 1
        return loads(body)

    monkeypatch.setattr(orjson, "loads", counted)
    places = [room.place() for _ in range(4)]
    ended = await asyncio.gather(
        *(read_request(received(WIDE), [], place) for place in places), return_exceptions=True
    )

    assert [type(each) for each in ended].count(CrowdedError) == 4 - parsed
    assert parsed == 1  # a second one would need its objects' room as well
    for place in places:
        place.leave()
    assert room.left == 12 * MEGABYTE
