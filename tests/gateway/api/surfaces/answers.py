"""What a provider answers to each kind of request, as behaviours of the fake provider.

The texts hold what must not be taken for anything else: names of last events, of errors and of fields.
"""

from __future__ import annotations

import json
from typing import Any

from tests.gateway.fake_upstream import Behaviour, Exchange, answer, chunk, raw, raw_stream

TEXT = 'I say "id":"x", \nevent: message_stop\n\ndata: {"type":"response.completed"}'

USAGE = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}


def event(kind: str, **fields: Any) -> bytes:
    """One event that carries its kind, as OpenAI's responses and Anthropic send them."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def response(exchange: Exchange, text: str, status: str = "completed") -> dict[str, Any]:
    """A response, which repeats the request."""
    sent = exchange.seen.body
    content = [{"type": "output_text", "text": text, "annotations": []}]
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": content}
    return {
        "id": f"resp_{exchange.model}",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": status,
        "error": None,
        "instructions": sent.get("instructions"),
        "max_output_tokens": sent.get("max_output_tokens"),
        "model": exchange.model,
        "output": [item] if status == "completed" else [],
        "parallel_tool_calls": True,
        "temperature": sent.get("temperature", 1.0),
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
        if status == "completed"
        else None,
    }


def message(exchange: Exchange, text: str) -> dict[str, Any]:
    """An answer of Anthropic's."""
    return {
        "id": f"msg_{exchange.model}",
        "type": "message",
        "role": "assistant",
        "model": exchange.model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 7},
    }


def response_events(exchange: Exchange, text: str) -> list[bytes]:
    """A streamed response."""
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    return [
        event("response.created", sequence_number=0, response=response(exchange, "", "in_progress")),
        event("response.output_item.added", sequence_number=1, output_index=0, item=item),
        event("response.content_part.added", sequence_number=2, part=part, **place),
        event("response.output_text.delta", sequence_number=3, delta=text, **place),
        event("response.completed", sequence_number=4, response=response(exchange, text)),
    ]


def message_events(exchange: Exchange, text: str) -> list[bytes]:
    """A streamed answer of Anthropic's."""
    start = {**message(exchange, ""), "content": [], "stop_reason": None}
    start["usage"] = {"input_tokens": 5, "output_tokens": 1}
    return [
        event("message_start", message=start),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("ping"),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": text}),
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 7}),
        event("message_stop"),
    ]


def chat_events(exchange: Exchange, text: str) -> list[bytes]:
    """A streamed chat completion."""
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    return [
        chunk(exchange, {"role": "assistant", "content": ""}),
        chunk(exchange, {"content": text}),
        chunk(exchange, {}, choices=[end]),
        b"data: [DONE]\n\n",
    ]


def completion_events(exchange: Exchange, text: str) -> list[bytes]:
    """A streamed text completion."""
    chunk = {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": exchange.model,
        "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}],
    }
    return [f"data: {json.dumps(chunk)}\n\n".encode(), b"data: [DONE]\n\n"]


def whole(exchange: Exchange, text: str) -> bytes:
    """The whole answer to a request of any kind."""
    kind = exchange.seen.path.rpartition("/")[2]
    model = exchange.model
    answers: dict[str, Any] = {
        "responses": lambda: response(exchange, text),
        "messages": lambda: message(exchange, text),
        "completions": lambda: {
            "id": "cmpl-1",
            "object": "text_completion",
            "created": 1,
            "model": model,
            "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
        },
        "embeddings": lambda: {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -1.0]}],
            "model": model,
            "usage": {"prompt_tokens": 5, "total_tokens": 5},
        },
    }
    return json.dumps(answers[kind]()).encode()


def streamed(exchange: Exchange, text: str) -> list[bytes]:
    """The events of a streamed answer to a request of any kind."""
    kind = exchange.seen.path.rpartition("/")[2]
    if exchange.seen.path.endswith("/chat/completions"):
        return chat_events(exchange, text)
    events = {"responses": response_events, "messages": message_events, "completions": completion_events}
    return events[kind](exchange, text)


def good(text: str = TEXT) -> Behaviour:
    """A good answer in the format of the path that was asked."""

    async def behave(exchange: Exchange) -> None:
        if exchange.seen.path.endswith("/chat/completions") and not exchange.is_stream:
            await answer(text)(exchange)
        elif exchange.is_stream:
            await raw_stream(*streamed(exchange, text))(exchange)
        else:
            await raw(whole(exchange, text))(exchange)

    return behave


def broken_off(events: int = 2) -> Behaviour:
    """A stream that ends properly, but after so many events."""

    async def behave(exchange: Exchange) -> None:
        await raw_stream(*streamed(exchange, TEXT)[:events])(exchange)

    return behave


def stalling(events: int) -> Behaviour:
    """A stream that goes silent after so many events."""

    async def behave(exchange: Exchange) -> None:
        await exchange.begin()
        for one in streamed(exchange, TEXT)[:events]:
            await exchange.send(one)
        await exchange.until_left()

    return behave
