"""What the official clients accept from a provider they get through the gateway, and get the same.

Each odd answer is asked for twice by the official clients, directly and through the gateway, and what they
make of it is compared. The gateway is stricter in the ways `test_events.py` names and in no other: an answer
that breaks off or reports an error is a failure, which clients take for an answer.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anthropic
import openai
import pytest

from gateway.config.gateway_file import ModelEntry
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import Behaviour, Exchange, FakeUpstream, Hangup
from tests.gateway.live import Live, entry, experiment, live_gateway

HELLO: list[Any] = [{"role": "user", "content": "Hello?"}]
POLICIES = {"alpha": {"model": "small"}, "beta": {"model": "small", "params": {"temperature": 0.5}}}
WHOLE = (
    b'{"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "small", "choices": '
    b'[{"index": 0, "message": {"role": "assistant", "content": "Hi", "refusal": null}, "logprobs": null, '
    b'"finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}'
)
MESSAGE = (
    b'{"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", '
    b'"content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "stop_sequence": null, '
    b'"usage": {"input_tokens": 1, "output_tokens": 2}}'
)


def chunk(delta: bytes = b'{"content": "Hi"}', end: bytes = b"null", more: bytes = b"") -> bytes:
    """An event of a chat."""
    return (
        b'data: {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, '
        b'"model": "small", "choices": [{"index": 0, "delta": %b, "finish_reason": %b}]%b}\n\n'
        % (delta, end, more)
    )


END = chunk(b"{}", b'"stop"')
DONE = b"data: [DONE]\n\n"
STREAM = chunk() + END + DONE
EVENTS = (
    b"event: message_start\ndata: "
    b'{"type": "message_start", "message": ' + MESSAGE.replace(b'"end_turn"', b"null") + b"}\n\n"
    b'event: content_block_start\ndata: {"type": "content_block_start", "index": 0, "content_block": '
    b'{"type": "text", "text": ""}}\n\n'
    b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, "delta": '
    b'{"type": "text_delta", "text": "Hi"}}\n\n'
    b'event: content_block_stop\ndata: {"type": "content_block_stop", "index": 0}\n\n'
    b'event: message_delta\ndata: {"type": "message_delta", "delta": {"stop_reason": "end_turn", '
    b'"stop_sequence": null}, "usage": {"output_tokens": 2}}\n\n'
    b'event: message_stop\ndata: {"type": "message_stop"}\n\n'
)


def sent(head: bytes, *parts: bytes, is_left: bool = False) -> Behaviour:
    """These bytes as an answer, head and all; the connection is closed after it where `is_left`."""

    async def behave(exchange: Exchange) -> None:
        for part in (head, *parts):
            exchange.writer.write(part)
            await exchange.writer.drain()
        if is_left:
            raise Hangup

    return behave


def whole(body: bytes, *lines: bytes, kind: bytes = b"content-type: application/json") -> Behaviour:
    """A body of known length."""
    length = b"content-length: %d" % len(body)
    return sent(b"\r\n".join([b"HTTP/1.1 200 OK", *([kind] if kind else []), length, *lines, b"", b""]), body)


def chunked(
    *parts: bytes, kind: bytes = b"content-type: text/event-stream", trailer: bytes = b""
) -> Behaviour:
    """A body in chunks."""
    head = b"\r\n".join(
        [b"HTTP/1.1 200 OK", *([kind] if kind else []), b"transfer-encoding: chunked", b"", b""]
    )
    pieces = [b"%x;odd=1\r\n%b\r\n" % (len(part), part) for part in parts if part]
    return sent(head, *pieces, b"0\r\n" + trailer + b"\r\n")


def bytewise(text: bytes) -> Behaviour:
    """A stream in chunks of one byte."""
    return chunked(*(text[at : at + 1] for at in range(len(text))))


def saying(text: bytes) -> bytes:
    """A whole answer whose content is this JSON."""
    return WHOLE.replace(b'"Hi"', text)


def with_field(text: bytes) -> bytes:
    """A whole answer with one more field."""
    return WHOLE.replace(b'{"id"', b'{"odd": ' + text + b', "id"', 1)


MANY = [b"x-header-%d: %s" % (number, b"v" * 50) for number in range(500)]

WHOLE_ANSWERS: dict[str, Behaviour] = {
    "usual": whole(WHOLE),
    "charset": whole(WHOLE, kind=b"content-type: application/json; charset=utf-8"),
    "parameters": whole(WHOLE, kind=b'content-type: application/json;profile="a;b"; q=1'),
    "capitals": whole(WHOLE, kind=b"Content-Type: APPLICATION/JSON"),
    "vendor type": whole(WHOLE, kind=b"content-type: application/vnd.provider.v1+json"),
    "text": whole(WHOLE, kind=b"content-type: text/plain"),
    "nonsense type": whole(WHOLE, kind=b"content-type: json"),
    "no type": whole(WHOLE, kind=b""),
    "many headers": whole(WHOLE, *MANY),
    "a header of 60 KiB": whole(WHOLE, b"x-big: " + b"v" * 60 * 1024),
    "empty and odd headers": whole(WHOLE, b"x-empty:", b"x-tab:\ta\t", b"x-latin: \xe9"),
    "created": sent(b"HTTP/1.1 201 Created\r\ncontent-length: %d\r\n\r\n" % len(WHOLE), WHOLE),
    "no reason": sent(b"HTTP/1.1 200 \r\ncontent-length: %d\r\n\r\n" % len(WHOLE), WHOLE),
    "early hints": sent(
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(WHOLE),
        WHOLE,
    ),
    "until it closes": sent(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", WHOLE, is_left=True),
    "HTTP/1.0": sent(b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n", WHOLE, is_left=True),
    "chunks and a trailer": chunked(WHOLE[:50], WHOLE[50:], kind=b"", trailer=b"x-late: 1\r\n"),
    "gzip": whole(gzip.compress(WHOLE), b"content-encoding: gzip"),
    "deflate": whole(zlib.compress(WHOLE), b"content-encoding: deflate"),
    "white space around": whole(b" \r\n\t" + WHOLE + b"\n\n"),
    "byte order mark": whole(b"\xef\xbb\xbf" + WHOLE),
    "UTF-16": whole(WHOLE.decode().encode("utf-16")),
    "NaN": whole(with_field(b"NaN")),
    "infinity": whole(with_field(b"[Infinity, -Infinity]")),
    "beyond floats": whole(with_field(b"1e999")),
    "beyond 64 bits": whole(with_field(b"[123456789012345678901234567890, -9223372036854775809]")),
    "odd numbers": whole(with_field(b"[-0, -0.0, 1E+2, 1.0e-400, 0.1e1]")),
    "half a surrogate pair": whole(saying(rb'"a\ud800b"')),
    "a pair": whole(saying(rb'"\ud83d\ude00"')),
    "nothing escaped": whole(saying('"Ünïcode \u2028 \u0085 😀"'.encode())),
    "all escapes": whole(saying(rb'"\u0000\b\f\n\r\t\/\\\"\u00e9"')),
    "half a pair in a name": whole(WHOLE.replace(b'{"id"', rb'{"\udc00": 1, "id"', 1)),
    "escaped names": whole(WHOLE.replace(b'"choices"', rb'"\u0063hoices"')),
    "deep": whole(with_field(b"[" * 400 + b"]" * 400)),
    "unknown fields": whole(with_field(b'{"error": {"message": "no"}}')),
    "not JSON": whole(WHOLE[:-1] + b",}"),
    "a raw control character": whole(saying(b'"a\x01b"')),
    "bytes that are no text": whole(saying(b'"\xff"')),
}

STREAMS: dict[str, Behaviour] = {
    "usual": chunked(STREAM),
    "charset": chunked(STREAM, kind=b"content-type: text/event-stream; charset=utf-8"),
    "capitals": chunked(STREAM, kind=b"Content-Type: Text/Event-Stream;Charset=UTF-8"),
    "no type": chunked(STREAM, kind=b""),
    "text": chunked(STREAM, kind=b"content-type: text/plain"),
    "JSON's type": chunked(STREAM, kind=b"content-type: application/json"),
    "known length": whole(STREAM, kind=b"content-type: text/event-stream"),
    "byte by byte": bytewise(STREAM),
    "gzip": whole(gzip.compress(STREAM), b"content-encoding: gzip"),
    "CRLF": bytewise(STREAM.replace(b"\n", b"\r\n")),
    "CR": chunked(STREAM.replace(b"\n", b"\r")),
    "no space": chunked(STREAM.replace(b"data: ", b"data:")),
    "more space": chunked(STREAM.replace(b"data: ", b"data:   ")),
    "comments": chunked(b": hello\n\n:\n\n" + chunk() + b": again\n" + END + b":\n\n" + DONE),
    "more empty lines": chunked(b"\n\n" + STREAM.replace(b"\n\n", b"\n\n\n\n")),
    "names, ids, retries": chunked(
        b"event: completion\nid: 1\nretry: 10\n" + chunk() + b"id\nretry: x\n" + END + DONE
    ),
    "unknown fields": chunked(b"odd: 1\nodd\n" + STREAM),
    "data over lines": chunked(STREAM.replace(b', "model"', b',\ndata: "model"')),
    "no final line end": chunked(chunk() + END + b"data: [DONE]"),
    "one final line end": chunked(chunk() + END + b"data: [DONE]\n"),
    "spaces around the end": chunked(chunk() + END + b"data:  [DONE] \n\n"),
    "no last event": chunked(chunk() + END),
    "more after the end": chunked(STREAM + chunk()),
    "NaN": chunked(chunk(more=b', "odd": NaN') + END + DONE),
    "half a surrogate pair": chunked(chunk(rb'{"content": "a\ud800"}') + END + DONE),
    "separators in text": chunked(chunk('{"content": "\u2028\u0085\u000b"}'.encode()) + END + DONE),
    "an event of 100 KB": chunked(chunk(b'{"content": "%b"}' % (b"x" * 100_000)) + END + DONE),
    "an event that is null": chunked(b"data: null\n\n" + STREAM),
    "no choices": chunked(b'data: {"id": "chatcmpl-1", "model": "small", "choices": []}\n\n' + STREAM),
    "null choices": chunked(b'data: {"id": "chatcmpl-1", "model": "small", "choices": null}\n\n' + STREAM),
    "a ping": chunked(b'data: {"type": "ping"}\n\n' + STREAM),
    "not JSON": chunked(chunk() + b"data: {\n\n" + DONE),
    "no data": chunked(chunk() + b"data:\n\n" + DONE),
    "bytes that are no text": chunked(chunk(b'{"content": "\xff"}') + END + DONE),
}

# Python's client compares the last event's data without taking white space off; others do.
OTHER_CLIENTS = {"more space", "spaces around the end"}

MESSAGES: dict[str, Behaviour] = {
    "usual": chunked(EVENTS),
    "byte by byte": bytewise(EVENTS),
    "CRLF": bytewise(EVENTS.replace(b"\n", b"\r\n")),
    "CR": chunked(EVENTS.replace(b"\n", b"\r")),
    "no spaces": chunked(EVENTS.replace(b"data: ", b"data:").replace(b"event: ", b"event:")),
    "data first": chunked(
        b"".join(
            b"\n".join(reversed(event.split(b"\n"))) + b"\n\n" for event in EVENTS.split(b"\n\n") if event
        )
    ),
    "pings and comments": chunked(b': x\n\nevent: ping\ndata: {"type": "ping"}\n\n' + EVENTS),
    "unknown events": chunked(b'event: odd\ndata: {"type": "odd", "error": null}\n\n' + EVENTS),
    "one final line end": chunked(EVENTS[:-1]),
    "no final line end": chunked(EVENTS[:-2]),
    "NaN": chunked(EVENTS.replace(b'"index": 0,', b'"index": 0, "odd": NaN,')),
    "no type": chunked(EVENTS, kind=b""),
}


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """Sends exactly the bytes of a case."""
    async with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
async def gateway(upstream: FakeUpstream) -> AsyncIterator[Live]:
    """Two plain models, and an experiment between policies that send the same."""
    entries: list[ModelEntry] = [
        entry("small", upstream.api_base),
        entry("claude", upstream.api_base.removesuffix("/v1"), provider="anthropic"),
    ]
    live = experiment(upstream.api_base, POLICIES)
    async with live_gateway([live], entries) as gateway:
        yield gateway


Asked = Callable[[str, str], Awaitable[Any]]


async def ask_whole(url: str, model: str) -> Any:
    """OpenAI's client, a whole answer."""
    async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
        answer = await client.chat.completions.create(model=model, messages=HELLO)
        return answer.model_dump() if isinstance(answer, openai.BaseModel) else None


async def ask_stream(url: str, model: str) -> Any:
    """OpenAI's client, a stream."""
    async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
        stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
        return [
            event.model_dump() if isinstance(event, openai.BaseModel) else event async for event in stream
        ]


async def ask_messages(url: str, model: str) -> Any:
    """Anthropic's client, a stream and the message it comes to."""
    address = url.removesuffix("/v1")
    async with (
        anthropic.AsyncAnthropic(base_url=address, api_key="k", max_retries=0) as client,
        client.messages.stream(model=model, messages=HELLO, max_tokens=9) as stream,
    ):
        events = [event.model_dump() async for event in stream]
        return [*events, (await stream.get_final_message()).model_dump()]


async def outcome(ask: Asked, url: str, model: str) -> Any:
    """What a client makes of it; an exception of any kind is a failure, and so is what is no answer."""
    try:
        made = await ask(url, model)
    except Exception:  # noqa: BLE001 - the clients raise their own, httpx's and json's
        return "failed"
    return "failed" if made is None else json.loads(json.dumps(made, default=str))


def unlabelled(made: Any) -> Any:
    """Without what an experiment's answer has of its own."""
    if isinstance(made, list):
        return [unlabelled(one) for one in made]
    if isinstance(made, dict):
        return {name: value for name, value in made.items() if name not in {"id", "model"}}
    return made


def complete(made: Any) -> Any:
    """Without the last event, which a client leaves out where no empty line follows it."""
    return [one for one in made if not (isinstance(one, dict) and one.get("type") == "message_stop")]


@pytest.mark.parametrize("name", WHOLE_ANSWERS)
async def test_a_whole_answer_is_what_it_is_directly(
    gateway: Live, upstream: FakeUpstream, name: str
) -> None:
    """A plain model's answer is equal in every field, and an experiment's in all but its label."""
    upstream.on("small", WHOLE_ANSWERS[name])
    directly = await outcome(ask_whole, upstream.api_base, "small")
    assert repr(await outcome(ask_whole, f"{gateway.url}/v1", "small")) == repr(directly)
    through = await outcome(ask_whole, f"{gateway.url}/v1", NAME)
    assert repr(unlabelled(through)) == repr(unlabelled(directly))


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_is_what_it_is_directly(gateway: Live, upstream: FakeUpstream, name: str) -> None:
    """Event by event; what this client cannot read and others can is what it is in the usual spelling."""
    upstream.on("small", STREAMS["usual" if name in OTHER_CLIENTS else name])
    directly = await outcome(ask_stream, upstream.api_base, "small")
    upstream.on("small", STREAMS[name])
    assert repr(await outcome(ask_stream, f"{gateway.url}/v1", "small")) == repr(directly)
    through = await outcome(ask_stream, f"{gateway.url}/v1", NAME)
    assert repr(unlabelled(through)) == repr(unlabelled(directly))


@pytest.mark.parametrize("name", MESSAGES)
async def test_a_streamed_message_is_what_it_is_directly(
    gateway: Live, upstream: FakeUpstream, name: str
) -> None:
    """Anthropic's client reads the same message through the gateway as directly."""
    upstream.on("claude", MESSAGES[name])
    directly = await outcome(ask_messages, upstream.api_base, "claude")
    through = await outcome(ask_messages, f"{gateway.url}/v1", "claude")
    assert directly != "failed"
    assert repr(complete(through)) == repr(complete(directly))
