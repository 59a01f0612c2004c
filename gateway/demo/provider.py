"""The simulated provider: an HTTP server that speaks OpenAI's chat completions, streaming included.

Try it: `llmpo demo provider --port 9100`, then point any OpenAI client at http://127.0.0.1:9100/v1. It ships
with the gateway; its answers follow the prompt, at a real provider's pace. It never misbehaves. For that
there is `tests.gateway.fake_upstream`, and for the least processor time `benchmarks.canned_provider`.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from gateway.demo import world
from gateway.demo.chat_format import STREAM_DONE, ChatOrigin, event, usage

FIRST_TOKEN_SECONDS: Final = 0.03
TOKEN_SECONDS: Final = 0.002
SEED: Final[web.AppKey[int]] = web.AppKey("seed", int)


class _RefusedError(Exception):
    """A request this provider does not answer, in OpenAI's words."""

    def __init__(self, status: int, message: str, *, param: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {
            "error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}
        }


@dataclass(frozen=True, slots=True)
class _Completion:
    """One answer, to be sent whole or streamed."""

    origin: ChatOrigin
    tokens: tuple[str, ...]
    prompt_tokens: int

    @property
    def usage(self) -> dict[str, int]:
        return usage(self.prompt_tokens, len(self.tokens))

    @property
    def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        return self.origin.whole("".join(self.tokens), self.usage)

    def chunks(self, *, wants_usage: bool) -> Iterator[dict[str, Any]]:
        """The answer as the events of a stream."""
        empty = {"usage": None} if wants_usage else {}
        yield self.origin.chunk({"role": "assistant", "content": ""}) | empty
        for token in self.tokens:
            yield self.origin.chunk({"content": token}) | empty
        yield self.origin.chunk({}, "stop") | empty
        if wants_usage:
            yield self.origin.chunk(None) | {"usage": self.usage}

    async def streamed(self, request: web.Request, *, wants_usage: bool) -> web.StreamResponse:
        """The answer to a request, sent token by token."""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        )
        await response.prepare(request)
        for chunk in self.chunks(wants_usage=wants_usage):
            await response.write(event(chunk))
            await asyncio.sleep(TOKEN_SECONDS)
        await response.write(STREAM_DONE)
        await response.write_eof()
        return response


@dataclass(frozen=True, slots=True)
class _Prompt:
    """The parts of a request that the simulated models use."""

    model: str
    system: str
    question: str
    words: int  # of the whole prompt, as usage reports them
    is_streamed: bool
    wants_usage: bool

    @classmethod
    def parse(cls, body: bytes) -> _Prompt:
        """The prompt in a request's body. Raises _RefusedError."""
        try:
            fields = json.loads(body)
        except ValueError:
            raise _RefusedError(400, "The body is not JSON.", param="body") from None
        if not isinstance(fields, dict):
            raise _RefusedError(400, "The body is not a JSON object.", param="body")
        model, messages = fields.get("model"), fields.get("messages")
        if model not in world.MODELS:
            message = f"The model {model!r} does not exist here; the models are {', '.join(world.MODELS)}."
            raise _RefusedError(404, message, param="model", code="model_not_found")
        if not isinstance(messages, list) or not messages:
            raise _RefusedError(400, "'messages' must be a non-empty list.", param="messages")
        if fields.get("n", 1) != 1:
            raise _RefusedError(400, "This provider writes one choice per request.", param="n")
        options = fields.get("stream_options") or {}
        return cls(
            model=model,
            system=_text(messages, "system"),
            question=_text(messages, "user"),
            words=sum(len(_content(message).split()) for message in messages),
            is_streamed=bool(fields.get("stream")),
            wants_usage=bool(options.get("include_usage")),
        )

    def completed(self, seed: int) -> _Completion:
        """What the model writes; equal prompts get equal texts."""
        text = world.write_answer(self.model, self.system, self.question, seed)
        origin = ChatOrigin(f"chatcmpl-{secrets.token_hex(12)}", int(time.time()), self.model, "simulated")
        return _Completion(origin, tuple(re.findall(r"\s*\S+", text)), prompt_tokens=self.words)


def provider_app(seed: int) -> web.Application:
    """The provider as an aiohttp application; equal seeds answer equal prompts equally."""

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def models(_: web.Request) -> web.Response:
        about = {"object": "model", "created": 0, "owned_by": "simulation"}
        return web.json_response({"object": "list", "data": [{"id": name, **about} for name in world.MODELS]})

    app = web.Application()
    app[SEED] = seed
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/v1/models", models)
    app.router.add_post("/v1/chat/completions", _chat_completions)
    return app


async def _chat_completions(request: web.Request) -> web.StreamResponse:
    try:
        prompt = _Prompt.parse(await request.read())
    except _RefusedError as refusal:
        return web.json_response(refusal.body, status=refusal.status)
    completion = prompt.completed(request.app[SEED])
    await asyncio.sleep(FIRST_TOKEN_SECONDS)
    if prompt.is_streamed:
        return await completion.streamed(request, wants_usage=prompt.wants_usage)
    await asyncio.sleep(TOKEN_SECONDS * len(completion.tokens))
    return web.json_response(completion.whole)


def _text(messages: list[Any], role: str) -> str:
    """The last message of a role, or an empty text."""
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == role:
            return _content(message)
    return ""


def _content(message: Any) -> str:
    if not isinstance(message, dict):
        raise _RefusedError(400, "Every message must be an object.", param="messages")
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
