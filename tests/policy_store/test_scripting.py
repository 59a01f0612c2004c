"""A script has in front of it what it needs, and no more."""

from __future__ import annotations

import asyncio
import re

import pytest
import uvloop

from policy_store.confirming import TOLD_AS_DONE
from policy_store.connect import connect
from policy_store.errors import StoreUnavailableError
from policy_store.scripting import _TABLES, READS, _texts, answered_within

SCRIPTS = _texts()


def _defined(text: str) -> set[str]:
    """Functions and tables the script's own part or what is in front of it defines."""
    return set(re.findall(r"^local function (\w+)", text, re.MULTILINE)) | {
        name for name in _TABLES if f"local {name} = " in text
    }


SHARED = {
    "text",
    "micros",
    "append_event",
    "view",
    "refusal",
    "add_evidence",
    "count",
    *_TABLES,
}


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_script_has_what_it_uses_and_uses_what_it_has(name: str) -> None:
    """A function missing in front of a rare branch would fail when the branch is first taken."""
    code = re.sub(r"--[^\n]*|'[^'\n]*'", "", SCRIPTS[name])
    assert "NEEDS" not in code
    used = {
        word
        for word in SHARED
        if re.search(rf"(?<!function )(?<!local )(?<![.\w]){word}(?=[()\[.])|= {word}\n", code)
        or (word == "INITIAL_STATE" and re.search(r"(?<!local )INITIAL_STATE\b", code))
    }
    assert used == _defined(SCRIPTS[name]) & SHARED


def test_every_shared_part_is_known_here() -> None:
    """The words above are what `scripts/shared` and the tables define."""
    assert set().union(*map(_defined, SCRIPTS.values())) >= SHARED


def test_what_is_told_as_done_names_scripts_that_write() -> None:
    """Nothing would wait for replicas under a name that no script has."""
    assert SCRIPTS.keys() - READS >= TOLD_AS_DONE


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_scripts_write_json_by_encoding_it(name: str) -> None:
    """Text put together by hand is wrong JSON as soon as a value holds a quote."""
    strings = re.findall(r"'([^'\n]*)'", re.sub(r"--[^\n]*", "", SCRIPTS[name]))
    assert [text for text in strings if '"' in text] == []


def test_a_connection_closed_under_uvloop_is_a_store_that_is_away() -> None:
    """Its loop has an error of its own for that; any other RuntimeError is a fault of the program."""

    async def write_to_a_closed_connection() -> None:
        redis = connect("redis://127.0.0.1:9")
        server = await asyncio.start_server(lambda _reader, ours: ours.close(), "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.transport.abort()
        await writer.wait_closed()
        with pytest.raises(StoreUnavailableError, match="closed the connection"):
            async with answered_within(redis, 1.0):
                writer.write(b"x")
        with pytest.raises(RuntimeError, match="changed size"):
            async with answered_within(redis, 1.0):
                raise RuntimeError("dictionary changed size during iteration")
        server.close()
        await server.wait_closed()
        await redis.aclose()

    uvloop.run(write_to_a_closed_connection())
