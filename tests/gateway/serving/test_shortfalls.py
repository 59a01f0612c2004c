"""What an answer lacks is read from its format's own fields, whole or streamed, and never from its words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.config.feedback import Missing
from gateway.errors import UpstreamError
from gateway.serving.shortfalls import WatchedEnd, shortfall
from gateway.upstream.base import RawHeaders
from gateway.upstream.surfaces import CHAT, MESSAGES, RESPONSES, Surface

REFUSAL, EMPTY, TRUNCATED = Missing.REFUSAL, Missing.EMPTY, Missing.TRUNCATED


def chat(end: str = "stop", **message: Any) -> dict[str, Any]:
    """A chat's answer."""
    return {"choices": [{"index": 0, "finish_reason": end, "message": {"role": "assistant", **message}}]}


def message(end: str = "end_turn", *blocks: dict[str, Any]) -> dict[str, Any]:
    """A message."""
    return {"type": "message", "content": list(blocks), "stop_reason": end}


def response(*output: dict[str, Any], why: str | None = None) -> dict[str, Any]:
    """A response."""
    details = None if why is None else {"reason": why}
    return {"object": "response", "output": list(output), "incomplete_details": details}


def said(*parts: dict[str, Any]) -> dict[str, Any]:
    """A response's message."""
    return {"type": "message", "role": "assistant", "content": list(parts)}


TEXT = {"type": "text", "text": "Hello."}
OUTPUT = said({"type": "output_text", "text": "Hello."})
WHOLE: list[tuple[Surface, dict[str, Any], Missing | None]] = [
    (CHAT, chat(content="Hello."), None),
    (CHAT, chat(content="I cannot help with that."), None),
    (CHAT, chat(content=None, tool_calls=[{"id": "1"}]), None),
    (CHAT, chat(content=[{"type": "text", "text": "Hello."}]), None),
    (CHAT, chat(content=None, refusal="No."), REFUSAL),
    (CHAT, chat("content_filter", content="Hel"), REFUSAL),
    (CHAT, chat(content=""), EMPTY),
    (CHAT, chat(content=" \n"), EMPTY),
    (CHAT, chat("length", content=None, reasoning_content="Hm"), EMPTY),
    (CHAT, chat("length", content="Hel"), TRUNCATED),
    (CHAT, {"choices": []}, EMPTY),
    (MESSAGES, message("end_turn", TEXT), None),
    (MESSAGES, message("end_turn", {"type": ["thinking"]}), None),
    (MESSAGES, message("tool_use", {"type": "tool_use", "id": "1"}), None),
    (MESSAGES, message("refusal", TEXT), REFUSAL),
    (MESSAGES, message("end_turn", {"type": "thinking", "thinking": "Hm"}), EMPTY),
    (MESSAGES, message("max_tokens", TEXT), TRUNCATED),
    (MESSAGES, message("model_context_window_exceeded", TEXT), TRUNCATED),
    (RESPONSES, response(OUTPUT), None),
    (RESPONSES, response({"type": "function_call", "name": "f"}), None),
    (RESPONSES, response(said({"type": "refusal", "refusal": "No."})), REFUSAL),
    (RESPONSES, response(OUTPUT, why="content_filter"), REFUSAL),
    (RESPONSES, response({"type": "reasoning", "summary": []}), EMPTY),
    (RESPONSES, response(OUTPUT, why="max_output_tokens"), TRUNCATED),
    *((surface, odd, EMPTY) for surface in (CHAT, MESSAGES, RESPONSES) for odd in ({}, {"choices": 7})),
]


@pytest.mark.parametrize(("surface", "answer", "lacking"), WHOLE)
def test_what_a_whole_answer_lacks(surface: Surface, answer: dict[str, Any], lacking: Missing | None) -> None:
    """Refusals, empty and truncated answers are told apart; everything else lacks nothing."""
    assert shortfall(json.dumps(answer).encode(), surface) is lacking


def delta(end: str | None = None, **fields: Any) -> dict[str, Any]:
    """An event of a chat."""
    return {"choices": [{"index": 0, "finish_reason": end, "delta": fields}]}


STREAMED: list[tuple[Surface, list[dict[str, Any]], Missing | None]] = [
    (CHAT, [delta(role="assistant", content=""), delta(content="Hi"), delta("stop")], None),
    (CHAT, [delta(tool_calls=[{"index": 0}]), delta("tool_calls")], None),
    (CHAT, [delta(refusal="No"), delta("stop")], REFUSAL),
    (CHAT, [delta(content="Hi"), delta("content_filter"), {"choices": []}], REFUSAL),
    (CHAT, [delta(role="assistant", content=""), delta("stop")], EMPTY),
    (CHAT, [delta(content="Hi"), delta("length")], TRUNCATED),
    (
        MESSAGES,
        [
            {"type": "message_start", "message": {"content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        ],
        None,
    ),
    (
        MESSAGES,
        [
            {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking"}},
            {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "Hm"}},
            {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}},
        ],
        EMPTY,
    ),
    (MESSAGES, [{"type": "message_delta", "delta": {"stop_reason": "refusal"}}], REFUSAL),
    (RESPONSES, [{"type": "response.completed", "response": response(OUTPUT)}], None),
    (
        RESPONSES,
        [
            {"type": "response.created", "response": response(why="content_filter")},
            {"type": "response.incomplete", "response": response(OUTPUT, why="max_output_tokens")},
        ],
        TRUNCATED,
    ),
]


class Blocks:
    """A stream of blocks; an error among them is raised."""

    headers: RawHeaders = ()

    def __init__(self, *blocks: bytes | UpstreamError) -> None:
        self._blocks = list(blocks)

    async def read(self) -> bytes:
        """The next block."""
        block = self._blocks.pop(0) if self._blocks else b""
        if isinstance(block, UpstreamError):
            raise block
        return block

    async def aclose(self) -> None:
        """Nothing to close."""


def told(surface: Surface | None, *blocks: bytes | UpstreamError) -> tuple[WatchedEnd, list[Missing | None]]:
    """A watched stream of these blocks, and what it tells."""
    heard: list[Missing | None] = []
    return WatchedEnd(Blocks(*blocks), surface, heard.append), heard


def block(event: dict[str, Any]) -> bytes:
    """An event as bytes."""
    return b"data: " + json.dumps(event).encode() + b"\n\n"


@pytest.mark.parametrize(("surface", "events", "lacking"), STREAMED)
async def test_what_a_streamed_answer_lacks(
    surface: Surface, events: list[dict[str, Any]], lacking: Missing | None
) -> None:
    """It is told once, when the stream has ended, and every block passes unchanged."""
    blocks = [*map(block, events), b"data: [DONE]\n\n"]
    stream, heard = told(surface, *blocks)
    assert [await stream.read() for _ in blocks] == blocks
    assert not heard
    assert await stream.read() == b""
    await stream.aclose()
    assert heard == [lacking]


async def test_a_stream_that_breaks_off_is_a_failure() -> None:
    """Its caller got no whole answer, even if the first words arrived."""
    broken = UpstreamError("Broken.", status=502, reason="stream")
    late = UpstreamError("Late.", status=504, reason="timeout")
    for error, what in ((broken, Missing.FAILURE), (late, Missing.TIMEOUT)):
        stream, heard = told(None, block(delta(content="Hi")), error)
        await stream.read()
        with pytest.raises(UpstreamError):
            await stream.read()
        await stream.aclose()
        assert heard == [what]


async def test_a_caller_that_leaves_makes_no_answer_short() -> None:
    """What was not read is nobody's shortfall; an end that was seen counts."""
    for events, what in (([delta(content="Hi")], None), ([delta("length", content="Hi")], TRUNCATED)):
        stream, heard = told(CHAT, *map(block, events))
        await stream.read()
        await stream.aclose()
        assert heard == [what]
