"""`POST /v1/chat/completions`: the hot path, as a bare ASGI callable."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.api.auth import Authenticator, Caller
from gateway.api.body import ClientLeftError, parse_chat, read_body
from gateway.api.disconnect import DisconnectWatch
from gateway.api.errors import error_reply, send_error, stream_error_event
from gateway.errors import GatewayError, ShuttingDownError, UnknownModelError
from gateway.services.answering import Answer, Answering
from gateway.services.calling import AnswerStream, Question
from gateway.services.lifecycle import Lifecycle
from gateway.services.observer import RequestObserver
from gateway.services.snapshot import SnapshotHolder
from gateway.telemetry.logging import get_logger
from policy_store.errors import StoreError

PATH: Final = "/v1/chat/completions"
POLICY_HEADER: Final = b"x-llmpo-policy"
MODEL_HEADER: Final = b"x-llmpo-model"
FALLBACK_HEADER: Final = b"x-llmpo-fallback"
SESSION_HEADER: Final = b"x-session-id"

_CALLER_LEFT: Final = 499
_JSON_HEADERS: Final = ((b"content-type", b"application/json"),)
_STREAM_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # proxies of the nginx family would hold the events back
)

_log = get_logger(__name__)

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class ChatDeps:
    """What the chat endpoint works with.

    Attributes:
        snapshots: Where the current models and experiments are read.
        answering: Makes the answers.
        authenticator: Knows the callers.
        observer: Told what happened.
        max_body_bytes: Largest request accepted.
        lifecycle: Tells answers that are cut off because the process ends.
        timer: Seconds that only ever grow.
    """

    snapshots: SnapshotHolder
    answering: Answering
    authenticator: Authenticator
    observer: RequestObserver
    max_body_bytes: int
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    timer: Callable[[], float] = time.perf_counter


def chat_routes(deps: ChatDeps) -> list[Route]:
    """The routes of this module."""
    return [Route(PATH, ChatCompletions(deps), methods=["POST"], name="chat_completions")]


class ChatCompletions:
    """The endpoint."""

    def __init__(self, deps: ChatDeps) -> None:
        self._deps = deps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = _Exchange(self._deps, scope, receive, send)
        try:
            await exchange.run()
        finally:
            self._deps.observer.request_finished(PATH, exchange.status)


class _Exchange:
    """One request and its answer. `status` is what was sent, 499 where nobody was left to send it to."""

    __slots__ = ("_deps", "_receive", "_request_id", "_scope", "_send", "_started", "status")

    def __init__(self, deps: ChatDeps, scope: Scope, receive: Receive, send: Send) -> None:
        self._deps = deps
        self._scope = scope
        self._receive = receive
        self._send = send
        self._started = deps.timer()
        self._request_id = b"req_" + os.urandom(16).hex().encode()
        self.status = 500

    async def run(self) -> None:
        """Read, answer, and turn whatever goes wrong into an error of OpenAI's shape."""
        try:
            headers: list[tuple[bytes, bytes]] = self._scope["headers"]
            caller = self._deps.authenticator.authenticate(_header(headers, b"authorization"))
            payload = parse_chat(await read_body(self._receive, headers, self._deps.max_body_bytes))
            await self._watched(payload, caller, _header(headers, SESSION_HEADER))
        except ClientLeftError:
            self.status = _CALLER_LEFT
        except (GatewayError, StoreError) as error:
            await self._refuse(error)
        except Exception as error:  # noqa: BLE001 - the caller gets an answer whatever happens
            _log.error("request_failed", path=PATH, error=type(error).__name__, exc_info=error)
            await self._refuse(error)

    async def _watched(self, payload: dict[str, Any], caller: Caller, session: bytes | None) -> None:
        with DisconnectWatch(self._receive) as watch:
            try:
                answer = await self._answer(payload, session)
                await self._pass_on(answer, caller)
            except asyncio.CancelledError:
                is_over = self._deps.lifecycle.is_over
                if not watch.caller_left and not is_over:
                    raise
                task = asyncio.current_task()
                if task is not None:
                    task.uncancel()
                raise (ClientLeftError if watch.caller_left else ShuttingDownError) from None

    async def _answer(self, payload: dict[str, Any], session: bytes | None) -> Answer:
        snapshot = self._deps.snapshots.current
        name = payload["model"]
        question = Question(payload, bool(payload.get("stream")), _session(payload, session))
        experiment = snapshot.experiments.get(name)
        if experiment is not None:
            return await self._deps.answering.answer(experiment, snapshot.models, question)
        target = snapshot.models.get(name)
        if target is None:
            raise UnknownModelError(
                f"The model {name[:128]!r} does not exist.", param="model", code="model_not_found"
            )
        return await self._deps.answering.answer_plainly(target, question)

    async def _pass_on(self, answer: Answer, caller: Caller) -> None:
        headers: Headers = ((b"x-request-id", self._request_id),)
        if caller.is_admin:
            headers = (*headers, *_attribution(answer))
        if isinstance(answer.content, bytes):
            await self._send_whole(answer.content, headers)
            self._observe_overhead(answer)
        else:
            await self._send_stream(answer.content, headers, answer)

    async def _send_whole(self, body: bytes, headers: Headers) -> None:
        length = (b"content-length", str(len(body)).encode())
        self.status = 200
        await self._start(200, (*_JSON_HEADERS, length, *headers))
        await self._send({"type": "http.response.body", "body": body})

    async def _send_stream(self, stream: AnswerStream, headers: Headers, answer: Answer) -> None:
        send = self._send
        try:
            block = await stream.read()
            self.status = 200
            await self._start(200, (*_STREAM_HEADERS, *headers))
            await send({"type": "http.response.body", "body": block, "more_body": True})
            self._observe_overhead(answer)
            while block := await stream.read():
                await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except GatewayError as error:
            if self.status != 200:  # noqa: PLR2004
                raise
            await send({"type": "http.response.body", "body": stream_error_event(error)})
        except asyncio.CancelledError:
            if self.status == 200 and self._deps.lifecycle.is_over:  # noqa: PLR2004
                await send({"type": "http.response.body", "body": stream_error_event(ShuttingDownError())})
            raise
        finally:
            await stream.aclose()

    async def _start(self, status: int, headers: Headers) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def _refuse(self, error: Exception) -> None:
        if self.status == 500:  # noqa: PLR2004 - nothing was sent yet
            self.status = error_reply(error).status
            await send_error(self._send, error, ((b"x-request-id", self._request_id),))

    def _observe_overhead(self, answer: Answer) -> None:
        self._deps.observer.overhead(self._deps.timer() - self._started - answer.waited_seconds)


def _attribution(answer: Answer) -> Headers:
    """Who answered, for admins: policies, models, and why it was somebody else than asked first."""
    named = (
        (POLICY_HEADER, ",".join(answer.policies)),
        (MODEL_HEADER, ",".join(answer.models)),
        (FALLBACK_HEADER, answer.fallback),
    )
    return tuple((name, value.encode()) for name, value in named if value)


def _header(headers: list[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    for key, value in headers:
        if key == name:
            return value
    return None


def _session(payload: dict[str, Any], header: bytes | None) -> str | None:
    """Name of the session: the header's, else the metadata's."""
    if header:
        return header.decode("latin-1")
    name: str | None = (payload.get("metadata") or {}).get("session_id")
    return name or None
