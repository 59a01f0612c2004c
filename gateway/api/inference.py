"""The routes that ask models. They are the hot path, so each is a bare ASGI callable."""

from __future__ import annotations

import asyncio
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
from gateway.api.accounts import CALLER_LEFT
from gateway.api.body import ClientLeftError, read_request
from gateway.api.body_room import BodyRoom
from gateway.api.caller_headers import CallerHeaders, caller_address, read_headers
from gateway.api.disconnect import DisconnectWatch
from gateway.api.error_formats import ERROR_FORMATS
from gateway.api.errors import error_reply, send_reply
from gateway.api.fields import check_fields
from gateway.api.limit_headers import joined, limit_headers
from gateway.api.session import session_and_voter, trace_name
from gateway.errors import GatewayError, ShuttingDownError
from gateway.experiments.response_ids import with_response_id
from gateway.experiments.snapshot import SnapshotHolder
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import RequestBegun, RequestFinished
from gateway.running.deadlines import Deadlines
from gateway.running.lifecycle import Lifecycle
from gateway.running.logs import get_logger
from gateway.running.request_id import ABOUT, HEADER, new_request_id, sent_request_id
from gateway.serving.answering import Answering
from gateway.serving.exchange import Answer, Question
from gateway.upstream.base import AnswerStream, RawHeaders
from gateway.upstream.surfaces import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES, Surface
from policy_store.errors import StoreError

# The path of each, and the headers that carry a request's id there.
ENDPOINTS: Final[tuple[tuple[str, Surface, tuple[bytes, ...]], ...]] = (
    ("/v1/chat/completions", CHAT, (HEADER,)),
    ("/v1/responses", RESPONSES, (HEADER,)),
    ("/v1/completions", COMPLETIONS, (HEADER,)),
    ("/v1/embeddings", EMBEDDINGS, (HEADER,)),
    ("/v1/messages", MESSAGES, (HEADER, b"request-id")),
)
POLICY_HEADER: Final = b"x-llmpo-policy"
MODEL_HEADER: Final = b"x-llmpo-model"
FALLBACK_HEADER: Final = b"x-llmpo-fallback"
RESPONSE_ID_HEADER: Final = b"x-llmpo-response-id"

_OK: Final = 200
_INTERNAL: Final = 500
_JSON_HEADERS: Final = ((b"content-type", b"application/json"),)
_STREAM_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # proxies of the nginx family would buffer the events
)

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class InferenceDeps:
    """The parts that the endpoints need.

    Attributes:
        snapshots: Hold the current models and experiments.
        answering: Makes the answers.
        authenticator: Knows the callers.
        hooks: Hear how requests end.
        bodies: The room for bodies.
        lifecycle: Says whether an answer is cut off because the process ends.
        deadlines: Hold when requests begin to be watched.
        limiter: Asked before the request of a key with limits goes ahead.
        note_answer: Told which answer a name stands for that the caller gave its request or trace: the key,
            the name, the answer's id, and for how many seconds that is worth knowing.
        timer: Monotonic seconds.
    """

    snapshots: SnapshotHolder
    answering: Answering
    authenticator: Authenticator
    hooks: Hooks
    bodies: BodyRoom
    limiter: Limiter
    note_answer: Callable[[str | None, str, str, float], None]
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    deadlines: Deadlines = field(default_factory=Deadlines)
    timer: Callable[[], float] = time.perf_counter


def inference_endpoints(deps: InferenceDeps) -> list[InferenceEndpoint]:
    """The endpoints of this module."""
    return [InferenceEndpoint(deps, path, surface, id_headers) for path, surface, id_headers in ENDPOINTS]


def inference_routes(endpoints: Iterable[InferenceEndpoint]) -> list[Route]:
    """The endpoints as routes of an application."""
    return [
        Route(endpoint.path, endpoint, methods=["POST"], name=endpoint.surface.name) for endpoint in endpoints
    ]


class InferenceEndpoint:
    """One kind of request."""

    def __init__(
        self, deps: InferenceDeps, path: str, surface: Surface, id_headers: tuple[bytes, ...]
    ) -> None:
        self._deps = deps
        self.path = path
        self.surface = surface
        self.id_headers = id_headers
        self.errors = ERROR_FORMATS[surface.name]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        sent_id, hooks = sent_request_id(scope["headers"]), self._deps.hooks
        request_id = sent_id or new_request_id()
        reply = _Reply(self, self._deps, request_id, scope, receive, send, is_callers_id=sent_id is not None)
        hooks.tell(RequestBegun(request_id, self.path))
        token = ABOUT.set(request_id)
        try:
            await reply.run()
        finally:
            hooks.tell(reply.finished())
            ABOUT.reset(token)


class _Reply:
    """The HTTP side of one request, up to its answer or error."""

    __slots__ = (
        "_code",
        "_deps",
        "_endpoint",
        "_is_begun",
        "_is_callers_id",
        "_key",
        "_limits",
        "_metered",
        "_model",
        "_overhead_seconds",
        "_receive",
        "_request_id",
        "_scope",
        "_send",
        "_started",
        "_status",
        "_tells_detail",
        "_watch",
    )

    def __init__(
        self,
        endpoint: InferenceEndpoint,
        deps: InferenceDeps,
        request_id: str,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        is_callers_id: bool,
    ) -> None:
        self._endpoint = endpoint
        self._deps = deps
        self._scope = scope
        self._receive = receive
        self._send = send
        self._started = deps.timer()
        self._request_id = request_id
        self._is_callers_id = is_callers_id
        self._code = self._model = self._key = ""
        self._metered: Metered | None = None
        self._watch = DisconnectWatch(receive, deps.deadlines)
        self._limits: RawHeaders = ()
        self._is_begun = False
        self._tells_detail = False
        self._status = _INTERNAL
        self._overhead_seconds: float | None = None

    def finished(self) -> RequestFinished:
        """The event of the request's end."""
        return RequestFinished(
            self._request_id,
            self._endpoint.path,
            self._status,
            self._started,
            self._deps.timer(),
            self._overhead_seconds,
            self._code or ("" if self._status == _OK else "internal_error"),
            self._model,
            self._key,
        )

    async def run(self) -> None:
        """Read, answer, and turn any failure into an error of the right shape."""
        deps, surface, place = self._deps, self._endpoint.surface, self._deps.bodies.place()
        try:
            headers = read_headers(self._scope["headers"], surface)
            caller = deps.authenticator.authenticate(headers.authorization, caller_address(self._scope))
            self._key = caller.name
            self._tells_detail = caller.is_admin and caller.key is not None
            payload = await read_request(self._receive, self._scope["headers"], place)
            check_fields(surface.name, payload)
            await self._watched(payload, caller, headers)
        except ClientLeftError:
            self._status, self._code = CALLER_LEFT, "caller_left"
        except (GatewayError, StoreError) as error:
            await self._refuse(error)
        except Exception as error:  # noqa: BLE001 - the caller gets an answer in any case
            kind = type(error).__name__
            _log.error("unforeseen_error", endpoint=self._endpoint.path, error=kind, exc_info=error)
            await self._refuse(error)
        finally:
            place.leave()

    async def _watched(self, payload: dict[str, Any], caller: Caller, headers: CallerHeaders) -> None:
        answer: Answer | None = None
        with self._watch as watch:
            try:
                if caller.is_limited:
                    await self._admit(payload, caller)
                answer = await self._answer(payload, caller, headers)
                await self._pass_on(answer, caller, headers)
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
                    self._metered.settle(() if answer is None else answer.exchange.usages)

    async def _admit(self, payload: dict[str, Any], caller: Caller) -> None:
        """Admit the request of a key with limits. Raises LimitReachedError if a limit is reached."""
        wire = self._endpoint.surface.wire
        try:
            self._metered = await self._deps.limiter.admit(
                self._request_id, caller.name, caller.limits, payload
            )
        except LimitReachedError as error:
            self._limits = limit_headers(error.standings, wire, time.time())
            raise
        self._limits = limit_headers(self._metered.standings, wire, time.time())

    async def _answer(self, payload: dict[str, Any], caller: Caller, headers: CallerHeaders) -> Answer:
        session, voter = session_and_voter(payload, headers.session)
        question = Question(
            payload,
            bool(payload.get("stream")),
            session,
            self._endpoint.surface,
            headers.passed_on,
            headers.choices,
            caller.key,
            voter,
            headers.attempt,
            headers.is_retry,
        )
        deps, snapshot = self._deps, self._deps.snapshots.current
        if snapshot.knows(payload["model"]):
            self._model = payload["model"]
        return await deps.answering.answer(self._request_id, question, snapshot)

    async def _pass_on(self, answer: Answer, caller: Caller, sent: CallerHeaders) -> None:
        headers: RawHeaders = (*self._named(answer, caller, sent), *joined(self._limits, answer.headers))
        if caller.is_admin:  # admins learn who answered, and why the first respondent did not
            attribution = (
                (POLICY_HEADER, ",".join(answer.policies)),
                (MODEL_HEADER, ",".join(answer.models)),
                (FALLBACK_HEADER, answer.fallback),
            )
            headers = (*headers, *((name, value.encode()) for name, value in attribution if value))
        if isinstance(answer.content, bytes):
            await self._send_whole(answer.content, headers, answer)
        else:
            await self._send_stream(answer.content, headers, answer)
        if answer.when_served is not None and not self._code:
            answer.when_served()

    async def _send_whole(self, body: bytes, headers: RawHeaders, answer: Answer) -> None:
        if self._metered is not None:
            self._metered.pass_whole(body)
        length = (b"content-length", str(len(body)).encode())
        await self._start((*_JSON_HEADERS, length, *headers))
        self._watch.end()
        await self._send({"type": "http.response.body", "body": body})
        self._note_overhead(answer)

    async def _send_stream(self, stream: AnswerStream, headers: RawHeaders, answer: Answer) -> None:
        send, metered = self._send, self._metered
        try:
            block = await stream.read()
            await self._start((*_STREAM_HEADERS, *headers))
            while block:
                if metered is not None:
                    metered.pass_block(block)
                await send({"type": "http.response.body", "body": block, "more_body": True})
                if self._overhead_seconds is None:
                    self._note_overhead(answer)
                block = await stream.read()
            self._watch.end()
            await send({"type": "http.response.body", "body": b""})
        except GatewayError as error:
            if not self._is_begun:
                raise
            await self._break_off(error)
        except asyncio.CancelledError:
            if self._is_begun and self._deps.lifecycle.is_over:
                await self._break_off(ShuttingDownError())
            raise
        finally:
            await stream.aclose()

    async def _start(self, headers: RawHeaders) -> None:
        self._is_begun = True
        self._status = _OK
        await self._send({"type": "http.response.start", "status": _OK, "headers": list(headers)})

    async def _break_off(self, error: Exception) -> None:
        """End a stream that cannot continue."""
        reply = error_reply(error, tells_detail=self._tells_detail)
        self._code = reply.code
        self._watch.end()
        await self._send({"type": "http.response.body", "body": self._endpoint.errors.event(reply)})

    async def _refuse(self, error: Exception) -> None:
        reply = self._endpoint.errors.reply(error, tells_detail=self._tells_detail)
        self._code = reply.code
        if not self._is_begun:
            self._is_begun = True
            self._status = reply.status
            reply = replace(reply, headers=joined(self._limits, reply.headers))
            await send_reply(self._send, reply, self._id_headers())

    def _named(self, answer: Answer, caller: Caller, sent: CallerHeaders) -> RawHeaders:
        """The headers with the ids that feedback may use: the answer's and the request's."""
        request_id, response_id = self._request_id, answer.response_id
        if not response_id:
            return self._id_headers()
        names = sent.named
        if in_body := trace_name(answer.exchange.question.payload):
            names = (*names, in_body)
        if self._is_callers_id:
            names = (*names, request_id)
        else:
            request_id = with_response_id(request_id, response_id, self._endpoint.surface.id_prefix)
        for name in names:
            self._deps.note_answer(caller.key, name, response_id, answer.keep_seconds)
        return (*self._id_headers(request_id), (RESPONSE_ID_HEADER, response_id.encode()))

    def _id_headers(self, request_id: str = "") -> RawHeaders:
        value = (request_id or self._request_id).encode()
        return tuple([(name, value) for name in self._endpoint.id_headers])

    def _note_overhead(self, answer: Answer) -> None:
        self._overhead_seconds = self._deps.timer() - self._started - answer.exchange.waited_seconds
