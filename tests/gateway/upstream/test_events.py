"""Streams read to their end: whole when their format says so, failed when anything in them says so."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.errors import UpstreamError
from gateway.upstream.base import ModelTarget, UpstreamRequest
from gateway.upstream.events import EventReader, progress_of
from gateway.upstream.relay import Relay
from gateway.upstream.surfaces import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Surface, SurfaceName
from tests.gateway.fake_upstream import Exchange, FakeUpstream, Hangup, raw, raw_stream
from tests.gateway.upstream.asking import QUESTION


@pytest.fixture
async def provider() -> AsyncIterator[FakeUpstream]:
    """Sends exactly the scripted bytes."""
    async with FakeUpstream() as provider:
        yield provider


@dataclass(frozen=True)
class Read:
    """A stream, as far as it came."""

    text: bytes
    error: UpstreamError | None

    @property
    def is_whole(self) -> bool:
        """Whether it ended without an error."""
        return self.error is None


async def read(relay: Relay, provider: FakeUpstream, surface: Surface) -> Read:
    """Ask for a stream and read it to its end."""
    kind = "anthropic" if surface is MESSAGES else "openai"
    target = ModelTarget(
        "m", kind, kind, "small", provider.api_base.removesuffix("/v1" * (surface is MESSAGES))
    )
    blocks: list[bytes] = []
    try:
        stream = await relay.stream(UpstreamRequest(target, {**QUESTION, "stream": True}, surface))
        try:
            while block := await stream.read():
                blocks.append(block)
        finally:
            await stream.aclose()
    except UpstreamError as error:
        return Read(b"".join(blocks), error)
    return Read(b"".join(blocks), None)


def chunk(text: str | None = None, *, end: str | None = None, index: int = 0, **more: Any) -> bytes:
    """An event of a chat."""
    delta = {} if text is None else {"content": text}
    choice = {"index": index, "delta": delta, "finish_reason": end}
    return line({"id": "c", "model": "m", "choices": [choice], **more})


def line(event: Any, end: bytes = b"\n\n") -> bytes:
    """An event of one line."""
    return b"data: " + json.dumps(event).encode() + end


def named(kind: str, end: bytes = b"\n\n", **fields: Any) -> bytes:
    """An event with a name."""
    return f"event: {kind}\n".encode() + line({"type": kind, **fields}, end)


USAGE = line({"id": "c", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})
MESSAGE = [
    named(
        "message_start", message={"id": "msg_1", "model": "m", "content": [], "usage": {"input_tokens": 1}}
    ),
    named("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hi"}),
]
STOPPED = named("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2})
RESPONSE = [
    named(
        "response.created", response={"id": "resp_1", "model": "m", "status": "in_progress", "error": None}
    ),
    named("response.output_text.delta", delta="Hi"),
]
COMPLETED = {"id": "resp_1", "model": "m", "status": "completed", "error": None, "output": []}

WHOLE: dict[str, tuple[Surface, list[bytes]]] = {
    "usual": (CHAT, [chunk("Hi"), chunk(end="stop"), b"data: [DONE]\n\n"]),
    "no finish_reason": (CHAT, [chunk("Hi"), b"data: [DONE]\n\n"]),
    "one line end after [DONE]": (CHAT, [chunk("Hi"), b"data: [DONE]\n"]),
    "no line end after [DONE]": (CHAT, [chunk("Hi"), b"data: [DONE]"]),
    "no space before [DONE]": (CHAT, [chunk("Hi"), b"data:[DONE]\n\n"]),
    "spaces around [DONE]": (CHAT, [chunk("Hi"), b"data:   [DONE]   \n\n"]),
    "CRLF": (CHAT, [chunk("Hi").replace(b"\n", b"\r\n"), b"data: [DONE]\r\n\r\n"]),
    "CRLF, not ended": (CHAT, [chunk("Hi").replace(b"\n", b"\r\n"), b"data: [DONE]\r\n"]),
    "CR": (CHAT, [chunk("Hi").replace(b"\n", b"\r"), b"data: [DONE]\r\r"]),
    "a name": (CHAT, [chunk("Hi"), b"event: done\ndata: [DONE]\n\n"]),
    "an id and a retry": (CHAT, [b"retry: 5\nid: 1\n" + chunk("Hi"), b"id: 2\ndata: [DONE]\n\n"]),
    "a comment after it": (CHAT, [chunk("Hi"), b"data: [DONE]\n\n: bye\n\n"]),
    "no [DONE]": (CHAT, [chunk("Hi"), chunk(end="stop")]),
    "no [DONE], the end with the last word": (CHAT, [chunk("Hi", end="length")]),
    "no [DONE], usage after the end": (CHAT, [chunk("Hi"), chunk(end="stop"), USAGE]),
    "no [DONE], nothing ends": (CHAT, [chunk("Hi"), chunk(end="stop").rstrip(b"\n")]),
    "no [DONE], two choices": (CHAT, [chunk("Hi"), chunk("Ho", index=1, end="stop"), chunk(end="stop")]),
    "completions": (COMPLETIONS, [line({"choices": [{"index": 0, "text": "Hi", "finish_reason": "stop"}]})]),
    "a byte order mark": (CHAT, [b"\xef\xbb\xbf" + chunk("Hi"), b"data: [DONE]\n\n"]),
    "data over lines": (CHAT, [b'data: {"choices":\ndata: []}\n\n', b"data: [DONE]\n\n"]),
    "message": (MESSAGES, [*MESSAGE, STOPPED, named("message_stop")]),
    "message, nothing ends": (MESSAGES, [*MESSAGE, STOPPED, named("message_stop", b"")]),
    "message, one line end": (MESSAGES, [*MESSAGE, STOPPED, named("message_stop", b"\n")]),
    "message, without names": (MESSAGES, [*MESSAGE, STOPPED, line({"x": 1, "type": "message_stop"})]),
    "message, without types": (MESSAGES, [*MESSAGE, STOPPED, b"event:message_stop\ndata:{}\n\n"]),
    "message, without its stop": (MESSAGES, [*MESSAGE, STOPPED]),
    "response": (RESPONSES, [*RESPONSE, named("response.completed", response=COMPLETED)]),
    "response, nothing ends": (RESPONSES, [*RESPONSE, named("response.completed", b"", response=COMPLETED)]),
    "response, incomplete": (RESPONSES, [*RESPONSE, named("response.incomplete", response=COMPLETED)]),
    "response, and [DONE]": (
        RESPONSES,
        [*RESPONSE, line({"response": COMPLETED, "type": "response.completed"}), b"data: [DONE]\n\n"],
    ),
}
LAST: dict[Surface, bytes] = {
    CHAT: b"data: [DONE]\n\n",
    COMPLETIONS: b"data: [DONE]\n\n",
    MESSAGES: b"\n\n",
    RESPONSES: b"\n\n",
}


@pytest.mark.parametrize("is_split", [False, True], ids=["", "byte by byte"])
@pytest.mark.parametrize(("surface", "parts"), WHOLE.values(), ids=WHOLE.keys())
async def test_a_stream_is_whole_when_its_format_says_so(
    relay: Relay, provider: FakeUpstream, surface: Surface, parts: list[bytes], is_split: bool
) -> None:
    """Any spelling and any split of the bytes counts, and the caller always gets the usual last event."""
    text = b"".join(parts)
    sent = [text[at : at + 1] for at in range(len(text))] if is_split else parts
    provider.on("small", raw_stream(*sent))
    stream = await read(relay, provider, surface)
    assert stream.is_whole, stream.error
    assert stream.text.endswith(LAST[surface])
    assert b"Hi" in stream.text or b"choices" in stream.text
    if surface in (MESSAGES, RESPONSES):
        assert stream.text.count(b"message_stop") + stream.text.count(b"response.") > 0


TRUNCATED: dict[str, tuple[Surface, list[bytes]]] = {
    "neither end nor [DONE]": (CHAT, [chunk("Hi"), chunk("Ho")]),
    "an empty end": (CHAT, [chunk("Hi", end="")]),
    "the word null": (CHAT, [chunk("Hi", end="null")]),
    "one of two choices": (CHAT, [chunk("Hi"), chunk("Ho", index=1), chunk(end="stop")]),
    "in the middle of an event": (CHAT, [chunk("Hi"), chunk("Ho", end="stop")[:-12]]),
    "in the middle of [DONE]": (CHAT, [chunk("Hi"), b"data: [DO"]),
    "usage alone": (CHAT, [USAGE]),
    "message without a reason": (MESSAGES, MESSAGE),
    "response": (RESPONSES, RESPONSE),
    "response with [DONE]": (RESPONSES, [*RESPONSE, b"data: [DONE]\n\n"]),
}


@pytest.mark.parametrize(("surface", "parts"), TRUNCATED.values(), ids=TRUNCATED.keys())
async def test_a_stream_that_just_stops_is_a_failure(
    relay: Relay, provider: FakeUpstream, surface: Surface, parts: list[bytes]
) -> None:
    """What came is passed on, and no last event is made up."""
    provider.on("small", raw_stream(*parts))
    stream = await read(relay, provider, surface)
    assert stream.error is not None
    assert stream.error.reason in {"cut", "protocol"}
    assert b"[DONE]" not in stream.text
    assert b"message_stop" not in stream.text


@pytest.mark.parametrize("parts", [[chunk("Hi"), chunk(end="stop")], [chunk("Hi"), b"data: [DONE]"]])
async def test_a_whole_stream_may_break_off(relay: Relay, provider: FakeUpstream, parts: list[bytes]) -> None:
    """The answer is complete, however the connection ends."""

    async def break_off(exchange: Exchange) -> None:
        await exchange.begin()
        for part in parts:
            await exchange.send(part)
        raise Hangup

    provider.on("small", break_off)
    assert (await read(relay, provider, CHAT)).is_whole


ERROR = {"message": "engine on fire", "type": "server_error", "code": 500}
FAILURES: dict[str, tuple[Surface, bytes]] = {
    "error after id": (CHAT, line({"id": "c", "model": "m", "error": ERROR})),
    "error after choices": (CHAT, line({"id": "c", "choices": [], "error": ERROR})),
    "error as text": (CHAT, line({"id": "c", "error": "engine on fire"})),
    "error as a list": (CHAT, line({"id": "c", "error": ["engine on fire"]})),
    "a list of errors": (CHAT, line([{"error": ERROR}])),
    "error of a choice": (CHAT, line({"id": "c", "choices": [{"index": 0, "error": ERROR}]})),
    "a choice that ends in error": (CHAT, chunk(end="error")),
    "a choice that ends in ERROR": (CHAT, chunk(end="ERROR")),
    "a choice that was aborted": (CHAT, chunk(end="abort")),
    "no resources": (CHAT, chunk(end="insufficient_system_resource")),
    "an object that is an error": (CHAT, line({"object": "error", "message": "engine on fire"})),
    "FastAPI's": (CHAT, line({"detail": "engine on fire"})),
    "Cloudflare's": (CHAT, line({"success": False, "errors": [{"message": "engine on fire"}]})),
    "MiniMax's": (CHAT, line({"id": "c", "choices": None, "base_resp": {"status_code": 1004}})),
    "named, with text": (CHAT, b"event: error\ndata: engine on fire\n\n"),
    "named, after an id": (CHAT, b"id: 1\nevent:error\ndata: {}\n\n"),
    "with CRLF": (CHAT, b'data: {"id": 1,\r\ndata: "error": {"message": "x"}}\r\n\r\n'),
    "completions": (COMPLETIONS, line({"choices": [{"text": "", "finish_reason": "error"}]})),
    "messages": (MESSAGES, named("error", error={"type": "overloaded_error", "message": "busy"})),
    "messages, other order": (MESSAGES, line({"error": {"type": "api_error"}, "type": "error"})),
    "messages, its end": (MESSAGES, named("message_delta", delta={"stop_reason": "error"})),
    "response failed": (RESPONSES, named("response.failed", response={"status": "failed", "error": ERROR})),
    "response failed, other order": (
        RESPONSES,
        line({"sequence_number": 3, "response": {"id": "r", "error": ERROR}, "type": "response.failed"}),
    ),
    "response error": (RESPONSES, named("error", code="server_error", message="engine on fire")),
    "completed with failure": (
        RESPONSES,
        named("response.completed", response={"id": "r", "status": "failed", "error": ERROR}),
    ),
}
BEFORE: dict[Surface, bytes] = {
    CHAT: chunk("Hi"),
    COMPLETIONS: line({"choices": [{"index": 0, "text": "Hi"}]}),
    MESSAGES: MESSAGE[1],
    RESPONSES: RESPONSE[1],
}
AFTER: dict[Surface, bytes] = {
    CHAT: b"data: [DONE]\n\n",
    COMPLETIONS: b"data: [DONE]\n\n",
    MESSAGES: named("message_stop"),
    RESPONSES: named("response.completed", response=COMPLETED),
}


@pytest.mark.parametrize("position", ["first", "later", "same block", "last, not ended"])
@pytest.mark.parametrize(("surface", "event"), FAILURES.values(), ids=FAILURES.keys())
async def test_an_error_is_found_wherever_it_stands(
    relay: Relay, provider: FakeUpstream, surface: Surface, event: bytes, position: str
) -> None:
    """An error anywhere fails the answer; events before it are passed on, and the error is not."""
    before, after = BEFORE[surface], AFTER[surface]
    parts = {
        "first": [event, after],
        "later": [before, event, after],
        "same block": [before + event + after],
        "last, not ended": [before, event.rstrip()],
    }[position]
    provider.on("small", raw_stream(*parts))
    stream = await read(relay, provider, surface)
    assert stream.error is not None
    assert stream.text == (b"" if position == "first" else before)


FINE: dict[str, tuple[Surface, bytes]] = {
    "no error": (CHAT, line({"id": "c", "choices": [], "error": None})),
    "an empty error": (CHAT, line({"id": "c", "choices": [], "error": {}})),
    "talk of errors": (CHAT, chunk('data: {"error": {"message": "x"}}\n\n')),
    "an error in a tool's call": (CHAT, chunk(tool={"error": {"message": "x"}})),
    "a part that is no text": (CHAT, line({"choices": [{"delta": {"error": {"a": 1}}}]})),
    "an unknown event": (CHAT, line({"type": "ping"})),
    "no object": (CHAT, line(None)),
    "odd types": (CHAT, line({"type": [], "object": {}, "choices": [3, None, {"finish_reason": None}]})),
    "a ping": (MESSAGES, named("ping")),
    "a response in progress": (RESPONSES, named("response.in_progress", response={"error": None})),
}


@pytest.mark.parametrize(("surface", "event"), FINE.values(), ids=FINE.keys())
async def test_talk_of_errors_is_none(
    relay: Relay, provider: FakeUpstream, surface: Surface, event: bytes
) -> None:
    """A text that only mentions an error is not an error."""
    provider.on("small", raw_stream(BEFORE[surface], event, AFTER[surface]))
    stream = await read(relay, provider, surface)
    assert stream.is_whole, stream.error
    assert stream.text == BEFORE[surface] + event + AFTER[surface]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"id": "c", "choices": [], "error": {"message": "x", "code": 500}}', "status_5xx"),
        (b'{"id": "c", "choices": [{"finish_reason": "error", "message": {"content": "Hi"}}]}', "status_5xx"),
        (b'{"id": "c", "choices": [{"error": {"code": 502}}]}', "status_5xx"),
        (b'{"error": "engine on fire"}', "status_5xx"),
        (b'[{"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}]', "status_5xx"),
        (b'{"object": "error", "message": "x", "code": 500}', "status_5xx"),
        (b'{"detail": "x"}', "status_5xx"),
        (b'{"id": "c"}', "protocol"),
        (b"[]", "protocol"),
        (b'"text"', "protocol"),
    ],
)
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "asked for a stream"])
async def test_a_whole_answer_that_is_an_error_is_a_failure(
    relay: Relay, provider: FakeUpstream, body: bytes, reason: str, is_streamed: bool
) -> None:
    """This holds for every status and every kind of request."""
    provider.on("small", raw(body, content_type="text/plain"))
    target = ModelTarget("m", "openai", "openai", "small", provider.api_base)
    ask = relay.stream if is_streamed else relay.complete
    with pytest.raises(UpstreamError) as failed:
        await ask(UpstreamRequest(target, {**QUESTION, "stream": is_streamed}))
    assert failed.value.reason == reason
    assert not failed.value.is_callers_fault


def test_the_cases_are_distinct() -> None:
    """A case that repeats another would show nothing."""
    cases = [(surface.name, event) for surface, event in itertools.chain(FAILURES.values(), FINE.values())]
    assert len(set(cases)) == len(cases)


SAID = chunk("Hi", object="chat.completion.chunk")
LIKE_IT = [
    SAID.replace(b"Hi", said)
    for said in (
        *(b"", b"Ho!", b"\\n", b"\\u0048", "\u00e9".encode(), b'Hi", "role": "assistant'),
        *(b"\x01", b"\xff", b"\\", b"\n", b'Hi"Hi', b'Hi", "finish_reason": "stop'),
        *(b'Hi"}, "error": {"message": "no"}, "delta": {"content": "', b'Hi"}, "finish_reason": {"x": "'),
    )
]
PIECES = [
    *LIKE_IT,
    chunk("Hi"),
    chunk("Hi", object="chat.completion.chunk"),
    chunk("Hi", object="chat.completion.chunk", index=1),
    chunk("Hi", object="chat.completion.chunk", error={"message": "no"}),
    chunk(end="stop", object="chat.completion.chunk"),
    chunk(end="stop"),
    chunk(end="null"),
    chunk(end="error"),
    b'data: {"object":"","choices":[{"index":0,"delta":{},"finish_reason":null,"error":"no"}]}\n\n',
    b'data: {"object":"error","choices":[{"index":0,"delta":{},"finish_reason":null}]}\n\n',
    b'data: {"id":"x","choices":[]}\n\n',
    b'data: {"error":{"message":"no"}}\n\n',
    b"data: [1]\n\n",
    b"data: null\n\n",
    b"data: {\n\n",
    b": a comment\n\n",
    b'event: message_start\ndata: {"type":"message_start","message":{"content":[]}}\n\n',
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    b'event: error\ndata: {"type":"error","error":{"message":"no"}}\n\n',
    b'event: error\ndata: {"choices":[{"index":0,"delta":{},"finish_reason":null}]}\n\n',
    b'event: response.completed\ndata: {"type":"response.completed","response":{"status":"completed"}}\n\n',
    b"data: [DONE]\n\n",
]


@pytest.mark.parametrize("event", LIKE_IT)
def test_an_event_like_the_one_before_is_judged_by_what_it_says(event: bytes) -> None:
    """What surrounds its text was read once, and the text can still break the event or add fields."""
    later, alone = (EventReader(progress_of("chat"), _reported) for _ in range(2))

    assert later.take(SAID + SAID + event) == SAID + SAID + alone.take(event)

    assert (later.is_over, later.has_reported) == (alone.is_over, alone.has_reported)


@pytest.mark.parametrize("kind", ["chat", "responses", "messages"])
def test_events_are_judged_alike_however_their_lines_are_spelled(kind: SurfaceName) -> None:
    """The short way for the usual spelling comes to what the long way comes to for another."""
    draw = random.Random(7)
    for _ in range(3000):
        usual = b"".join(draw.choices(PIECES, k=draw.randint(1, 5)))
        short, long = (EventReader(progress_of(kind), _reported) for _ in range(2))

        passed = [reader.take(block) for reader, block in ((short, usual), (long, _unusual(usual)))]

        assert _unusual(passed[0]) == _unusual(passed[1]), usual
        assert (short.is_over, short.has_reported) == (long.is_over, long.has_reported), usual
        ends = [reader.end(b"") for reader in (short, long)]
        assert ends[0] == ends[1], usual


def _unusual(block: bytes) -> bytes:
    """Spelled without spaces."""
    return block.replace(b"data: ", b"data:").replace(b"event: ", b"event:")


def _reported(_data: bytes) -> UpstreamError:
    return UpstreamError("It said so.", status=502, reason="error_in_body")


def test_events_of_nothing_but_structure_are_not_parsed() -> None:
    """What would take a quarter of a gigabyte ends the stream as a failure, and is not passed on."""
    reader = EventReader(progress_of("chat"), _reported)
    assert reader.take(b"data: [" + b"{}," * 2_200_000 + b"{}]\n\n") == b""
    assert reader.failure is not None
    assert "too much structure" in str(reader.failure())
