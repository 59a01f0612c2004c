"""The routes that ask models: the hot path, as bare ASGI callables, one for each kind of request."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.access.callers import Authenticator, Caller
from gateway.access.limiting import Limiter
from gateway.access.limits import LimitReachedError
from gateway.access.metering import Metered
from gateway.api.body import ClientLeftError, check_media_type, parse_object, read_body
from gateway.api.caller_headers import CallerHeaders, read_headers
from gateway.api.disconnect import DisconnectWatch
from gateway.api.error_formats import ERROR_FORMATS
from gateway.api.errors import send_reply
from gateway.api.fields import check_fields
from gateway.api.limit_headers import Headers, joined, limit_headers
from gateway.api.session import session_name
from gateway.errors import GatewayError, ShuttingDownError, UnknownModelError, UpstreamError
from gateway.experiments.snapshot import SnapshotHolder
from gateway.running.lifecycle import Lifecycle
from gateway.running.logs import get_logger
from gateway.serving.answering import Answer, Answering
from gateway.serving.calling import AnswerStream, Question
from gateway.serving.observer import RequestObserver
from gateway.upstream.surfaces import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES, Surface
from policy_store.errors import StoreError

# The path of each, and the header that carries a request's id there.
ENDPOINTS: Final[tuple[tuple[str, Surface, bytes], ...]] = (
    ("/v1/chat/completions", CHAT, b"x-request-id"),
    ("/v1/responses", RESPONSES, b"x-request-id"),
    ("/v1/completions", COMPLETIONS, b"x-request-id"),
    ("/v1/embeddings", EMBEDDINGS, b"x-request-id"),
    ("/v1/messages", MESSAGES, b"request-id"),
)
POLICY_HEADER: Final = b"x-llmpo-policy"
MODEL_HEADER: Final = b"x-llmpo-model"
FALLBACK_HEADER: Final = b"x-llmpo-fallback"

_CALLER_LEFT: Final = 499
_JSON_HEADERS: Final = ((b"content-type", b"application/json"),)
_STREAM_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # proxies of the nginx family would hold the events back
)

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class InferenceDeps:
    """What the endpoints work with.

    Attributes:
        snapshots: Where the current models and experiments are read.
        answering: Makes the answers.
        authenticator: Knows the callers.
        observer: Told what happened.
        max_body_bytes: Largest request accepted.
        lifecycle: Tells answers that are cut off because the process ends.
        limiter: Asked before a limited key's request goes ahead.
        timer: Seconds that only ever grow.
    """

    snapshots: SnapshotHolder
    answering: Answering
    authenticator: Authenticator
    observer: RequestObserver
    max_body_bytes: int
    limiter: Limiter
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    timer: Callable[[], float] = time.perf_counter


def inference_endpoints(deps: InferenceDeps) -> list[InferenceEndpoint]:
    """The endpoints of this module."""
    return [InferenceEndpoint(deps, path, surface, id_header) for path, surface, id_header in ENDPOINTS]


def inference_routes(endpoints: Iterable[InferenceEndpoint]) -> list[Route]:
    """The same as routes of an application."""
    return [
        Route(endpoint.path, endpoint, methods=["POST"], name=endpoint.surface.name) for endpoint in endpoints
    ]


class InferenceEndpoint:
    """One kind of request."""

    def __init__(self, deps: InferenceDeps, path: str, surface: Surface, id_header: bytes) -> None:
        self._deps = deps
        self.path = path
        self.surface = surface
        self.id_header = id_header
        self.errors = ERROR_FORMATS[surface.name]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = _Exchange(self, self._deps, scope, receive, send)
        try:
            await exchange.run()
        finally:
            self._deps.observer.request_finished(self.path, exchange.status)


class _Exchange:
    """One request and its answer. `status` is what was sent, 499 where nobody was left to send it to."""

    __slots__ = (
        *(
            "_deps",
            "_endpoint",
            "_limits",
            "_metered",
            "_receive",
            "_request_id",
            "_scope",
            "_send",
            "_started",
        ),
        "status",
    )

    def __init__(
        self, endpoint: InferenceEndpoint, deps: InferenceDeps, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._endpoint = endpoint
        self._deps = deps
        self._scope = scope
        self._receive = receive
        self._send = send
        self._started = deps.timer()
        self._request_id = (endpoint.id_header, b"req_" + os.urandom(16).hex().encode())
        self._metered: Metered | None = None
        self._limits: Headers = ()
        self.status = 500

    async def run(self) -> None:
        """Read, answer, and turn whatever goes wrong into an error of the right shape."""
        deps, surface = self._deps, self._endpoint.surface
        try:
            headers = read_headers(self._scope["headers"], surface)
            caller = deps.authenticator.authenticate(headers.authorization)
            check_media_type(headers.content_type)
            body = await read_body(self._receive, self._scope["headers"], deps.max_body_bytes)
            payload = parse_object(body)
            check_fields(surface.name, payload)
            await self._watched(payload, caller, headers)
        except ClientLeftError:
            self.status = _CALLER_LEFT
        except (GatewayError, StoreError) as error:
            await self._refuse(error)
        except Exception as error:  # noqa: BLE001 - the caller gets an answer whatever happens
            _log.error("request_failed", path=self._endpoint.path, error=type(error).__name__, exc_info=error)
            await self._refuse(error)

    async def _watched(self, payload: dict[str, Any], caller: Caller, headers: CallerHeaders) -> None:
        with DisconnectWatch(self._receive) as watch:
            try:
                if caller.is_limited:
                    await self._admit(payload, caller)
                answer = await self._answer(payload, headers)
                await self._pass_on(answer, caller)
            except asyncio.CancelledError:
                is_over = self._deps.lifecycle.is_over
                if not watch.caller_left and not is_over:
                    raise
                task = asyncio.current_task()
                if task is not None:
                    task.uncancel()
                raise (ClientLeftError if watch.caller_left else ShuttingDownError) from None
            finally:
                if self._metered is not None:
                    self._metered.settle()

    async def _admit(self, payload: dict[str, Any], caller: Caller) -> None:
        """Let a limited key's request go ahead, or refuse it. Raises LimitReachedError."""
        wire = self._endpoint.surface.wire
        try:
            self._metered = await self._deps.limiter.admit(caller.name, caller.limits, payload)
        except LimitReachedError as error:
            self._limits = limit_headers(error.standings, wire, time.time())
            raise
        self._limits = limit_headers(self._metered.standings, wire, time.time())

    async def _answer(self, payload: dict[str, Any], headers: CallerHeaders) -> Answer:
        snapshot = self._deps.snapshots.current
        name = payload["model"]
        question = Question(
            payload,
            bool(payload.get("stream")),
            session_name(payload, headers.session),
            self._endpoint.surface,
            headers.passed_on,
        )
        experiment = snapshot.experiments.get(name)
        if experiment is not None:
            try:
                return await self._deps.answering.answer(experiment, snapshot.models, question)
            except UpstreamError as error:
                error.headers = ()  # they would tell which policy was asked
                raise
        target = snapshot.models.get(name)
        if target is None:
            raise UnknownModelError(
                f"The model {name[:128]!r} does not exist.", param="model", code="model_not_found"
            )
        return await self._deps.answering.answer_plainly(target, question)

    async def _pass_on(self, answer: Answer, caller: Caller) -> None:
        headers: Headers = (self._request_id, *joined(self._limits, answer.headers))
        if caller.is_admin:
            headers = (*headers, *_attribution(answer))
        content = answer.content if self._metered is None else self._metered.meter(answer.content)
        if isinstance(content, bytes):
            await self._send_whole(content, headers)
            self._observe_overhead(answer)
        else:
            await self._send_stream(content, headers, answer)

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
            await send({"type": "http.response.body", "body": self._endpoint.errors.stream_event(error)})
        except asyncio.CancelledError:
            if self.status == 200 and self._deps.lifecycle.is_over:  # noqa: PLR2004
                event = self._endpoint.errors.stream_event(ShuttingDownError())
                await send({"type": "http.response.body", "body": event})
            raise
        finally:
            await stream.aclose()

    async def _start(self, status: int, headers: Headers) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def _refuse(self, error: Exception) -> None:
        if self.status == 500:  # noqa: PLR2004 - nothing was sent yet
            reply = self._endpoint.errors.reply(error)
            self.status = reply.status
            reply = replace(reply, headers=joined(self._limits, reply.headers))
            await send_reply(self._send, reply, (self._request_id,))

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
