"""The one map from the gateway's errors to HTTP: OpenAI's shape, with statuses its clients handle well."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import singledispatch
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api.accounts import CALLER_LEFT, account_of
from gateway.api.body import ClientLeftError
from gateway.errors import (
    AuthenticationError,
    ConfigError,
    CrowdedError,
    GatewayError,
    InvalidRequestError,
    PermissionDeniedError,
    RateLimitedError,
    RenderError,
    ShuttingDownError,
    StoreHeldError,
    StoreUnconfirmedError,
    TooManyStreamsError,
    UnavailableError,
    UpstreamError,
)
from gateway.running.logs import get_logger
from policy_store.errors import (
    AfterHoldError,
    ContradictingOutcomeError,
    ExperimentFinishedError,
    KeyNameTakenError,
    OverCapError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
    UnconfirmedError,
    UnknownExperimentError,
)

_log = get_logger(__name__)

_INVALID: Final = "invalid_request_error"
_SERVER: Final = "server_error"
_UNANSWERED: Final = (
    "The store did not answer, so it is not known whether anything was recorded. Try again shortly; "
    "repeating the request is safe."
)
_REFUSED: Final = "The store accepts no changes now; nothing was recorded. Try again shortly."
_UNCONFIRMED: Final = (
    "It is recorded, but too few replicas of the store have confirmed that, so a failover could undo it. Try "
    "again shortly; repeating the request is safe."
)
_RETRY_AFTER_SECONDS: Final = "1"
_HELD_RETRY_SECONDS: Final = "60"
_LONGEST_RETRY_SECONDS: Final = 60
_INTERNAL: Final = 500
_NOT_ALLOWED: Final = 405
_METHODS: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_TOO_MANY: Final = 429
# Statuses after which clients try again by themselves, and reasons for which that cannot help.
_RETRIED: Final = range(500, 600)
_POINTLESS: Final = frozenset({"status_4xx", "retry_budget"})
_NO_RETRY: Final = (b"x-should-retry", b"false")


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """An error as it goes over the wire.

    Attributes:
        code: What was wrong, for events: one of the gateway's own codes, even if the body is a provider's.
    """

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())
    code: str = ""


def error_body(message: str, *, kind: str, code: str | None, param: str | None = None) -> bytes:
    """JSON of one error in OpenAI's shape."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def error_reply(error: Exception, *, tells_detail: bool = False) -> ErrorReply:
    """The reply to an error. An unforeseen error gets a 500 that reveals nothing.

    Args:
        error: What happened.
        tells_detail: Whether the caller is an operator, who may read the provider's words.
    """
    reply = _reply(error)
    detail = error.detail if tells_detail and isinstance(error, UpstreamError) else None
    if detail is None:
        return reply
    body: dict[str, Any] = orjson.loads(reply.body)
    body["error"]["message"] = f"{body['error']['message']} The provider said: {detail}"
    return replace(reply, body=orjson.dumps(body))


def _told(
    status: int,
    message: str,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    *,
    kind: str,
    code: str | None,
    param: str | None = None,
) -> ErrorReply:
    body = error_body(message, kind=kind, code=code, param=param)
    return ErrorReply(status, body, headers, code or f"status_{status}")


async def send_reply(send: Send, reply: ErrorReply, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    """Answer with an error, over bare ASGI."""
    start = {
        "type": "http.response.start",
        "status": reply.status,
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(reply.body)).encode()),
            *reply.headers,
            *headers,
        ],
    }
    await send(start)
    await send({"type": "http.response.body", "body": reply.body})


def as_response(reply: ErrorReply) -> Response:
    """The reply as routes give it."""
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return Response(reply.body, reply.status, headers, media_type="application/json")


def refusing(reply: ErrorReply) -> ASGIApp:
    """An application that answers every request with an error."""

    async def refuse(scope: Scope, _receive: Receive, send: Send) -> None:
        account_of(scope).code = reply.code
        await send_reply(send, reply)

    return refuse


def install_error_handlers(
    app: FastAPI, reply_for: Callable[[str, Exception], ErrorReply] = lambda _path, error: error_reply(error)
) -> None:
    """Make every endpoint of `app` answer errors in the shape that `reply_for` gives for its path."""

    async def answer(request: Request, error: Exception) -> Response:
        reply = reply_for(request.url.path, error)
        account_of(request.scope).code = reply.code
        response = as_response(reply)
        if reply.status == _NOT_ALLOWED:
            routes, scope = request.app.router.routes, request.scope
            response.headers["allow"] = ", ".join(  # each is tried, because a route knows only its own
                method
                for method in _METHODS
                if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
            )
        return response

    async def answer_unforeseen(request: Request, error: Exception) -> Response:
        endpoint = account_of(request.scope).endpoint
        _log.error("unforeseen_error", endpoint=endpoint, error=type(error).__name__, exc_info=error)
        return await answer(request, error)

    async def let_go(_request: Request, _error: Exception) -> Response:
        return Response(status_code=CALLER_LEFT)

    for left in (ClientLeftError, ClientDisconnect):
        app.add_exception_handler(left, let_go)
    for known in (GatewayError, StoreError, HTTPException, RequestValidationError):
        app.add_exception_handler(known, answer)
    app.add_exception_handler(Exception, answer_unforeseen)


@singledispatch
def _reply(_error: Exception) -> ErrorReply:
    """The reply to an error of any kind; the functions below reply to the foreseen kinds."""
    return _told(_INTERNAL, "The gateway failed unexpectedly.", kind=_SERVER, code="internal_error")


@_reply.register
def _upstream_reply(error: UpstreamError) -> ErrorReply:
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if error.retry_after is not None and error.retry_after.isascii() and error.retry_after.isprintable():
        headers = ((b"retry-after", error.retry_after.encode()),)
    if error.status in _RETRIED and error.reason in _POINTLESS:
        headers = (*headers, _NO_RETRY)
    headers = (*headers, *error.headers)
    code = f"upstream_{error.reason}"
    if error.body is not None:
        return ErrorReply(error.status, error.body, headers, code)
    kind = _SERVER
    if error.is_callers_fault:
        kind = _INVALID
    elif error.status == _TOO_MANY:
        kind, code = "rate_limit_error", "rate_limit_exceeded"
    return _told(error.status, str(error), headers, kind=kind, code=code)


@_reply.register
def _invalid_reply(error: InvalidRequestError) -> ErrorReply:
    return _told(error.status, str(error), kind=_INVALID, code=error.code, param=error.param)


@_reply.register
def _configuration_reply(error: ConfigError) -> ErrorReply:
    """Every fault of a configuration that an administrator had read."""
    faults = "1 fault" if len(error.issues) == 1 else f"{len(error.issues)} faults"
    message = f"The configuration has {faults}, so nothing was changed.\n{error}"
    return _told(422, message, kind=_INVALID, code="invalid_configuration", param=error.issues[0].path)


@_reply.register
def _authentication_reply(error: AuthenticationError) -> ErrorReply:
    headers = ((b"www-authenticate", b"Bearer"),)
    return _told(401, str(error), headers, kind=_INVALID, code="invalid_api_key")


@_reply.register
def _rate_limited_reply(error: RateLimitedError) -> ErrorReply:
    seconds = max(0.001, error.retry_after_seconds)
    headers = (
        (b"retry-after", b"%d" % math.ceil(seconds)),
        (b"retry-after-ms", b"%d" % math.ceil(seconds * 1000)),
        # Clients obey a retry-after of up to a minute; if it is longer, they try again far too early.
        (b"x-should-retry", b"true" if seconds <= _LONGEST_RETRY_SECONDS else b"false"),
    )
    return _told(_TOO_MANY, str(error), headers, kind=error.kind, code="rate_limit_exceeded")


@_reply.register
def _permission_reply(error: PermissionDeniedError) -> ErrorReply:
    return _told(403, str(error), kind="permission_error", code="permission_denied")


@_reply.register
def _render_reply(_error: RenderError) -> ErrorReply:
    message = "The prompt for this request could not be made."
    return _told(_INTERNAL, message, (_NO_RETRY,), kind=_SERVER, code="template_failed")


@_reply.register
def _http_reply(error: HTTPException) -> ErrorReply:
    headers = tuple((name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items())
    return _told(error.status_code, str(error.detail), headers, kind=_INVALID, code=None)


@_reply.register
def _store_reply(error: StoreError) -> ErrorReply:
    status, code, message = next(
        (answer for kind, answer in _STORE_ANSWERS if isinstance(error, kind)),
        (409, "conflict", "Another replica made a change first."),
    )
    return _told(status, message, kind=_INVALID, code=code)


@_reply.register(UnavailableError)
@_reply.register(StoreUnavailableError)
def _unavailable_reply(error: Exception) -> ErrorReply:
    message = str(error)
    if isinstance(error, StoreUnavailableError):
        message = _REFUSED if isinstance(error, StoreRefusedError) else _UNANSWERED
    headers = ((b"retry-after", _RETRY_AFTER_SECONDS.encode()),)
    return _told(503, message, headers, kind=_SERVER, code="store_unavailable")


@_reply.register(StoreUnconfirmedError)
@_reply.register(UnconfirmedError)
def _unconfirmed_reply(error: Exception) -> ErrorReply:
    message = _UNCONFIRMED if isinstance(error, UnconfirmedError) else str(error)
    headers = ((b"retry-after", _RETRY_AFTER_SECONDS.encode()),)
    return _told(503, message, headers, kind=_SERVER, code="store_unconfirmed")


@_reply.register
def _held_reply(error: StoreHeldError) -> ErrorReply:
    headers = ((b"retry-after", _HELD_RETRY_SECONDS.encode()),)
    return _told(503, str(error), headers, kind=_SERVER, code="store_held")


@_reply.register
def _crowded_reply(_error: CrowdedError) -> ErrorReply:
    message = "Other large requests take all the memory allowed for request bodies. Try again shortly."
    headers = ((b"retry-after", _RETRY_AFTER_SECONDS.encode()),)
    return _told(503, message, headers, kind=_SERVER, code="too_many_large_requests")


@_reply.register
def _streams_reply(_error: TooManyStreamsError) -> ErrorReply:
    message = "As many streams of events are open as this process allows. Close one, or try again later."
    headers = ((b"retry-after", _RETRY_AFTER_SECONDS.encode()),)
    return _told(503, message, headers, kind=_SERVER, code="too_many_streams")


@_reply.register
def _shutting_down_reply(_error: ShuttingDownError) -> ErrorReply:
    message = "The gateway is shutting down. Try again."
    headers = ((b"retry-after", _RETRY_AFTER_SECONDS.encode()),)
    return _told(503, message, headers, kind=_SERVER, code="shutting_down")


@_reply.register
def _validation_reply(error: RequestValidationError) -> ErrorReply:
    faults: list[dict[str, Any]] = list(error.errors())
    first = faults[0] if faults else {"loc": (), "msg": "The request is invalid."}
    param = ".".join(str(part) for part in first["loc"][1:]) or None
    return _told(400, str(first["msg"]), kind=_INVALID, code="invalid_value", param=param)


_STORE_ANSWERS: Final[tuple[tuple[type[StoreError], tuple[int, str, str]], ...]] = (
    (KeyNameTakenError, (409, "name_taken", "Another key has that name. Choose another, or revoke it.")),
    (
        UnknownExperimentError,  # of an experiment in the file: the API knows the names there by itself
        (
            404,
            "unknown_experiment",
            "The store has no such experiment (yet), or the store lost it: see `store` in /readyz.",
        ),
    ),
    (ExperimentFinishedError, (409, "experiment_finished", "The experiment is decided.")),
    (OverCapError, (409, "over_cap", "The user or the API key has given all the votes allowed.")),
    (AfterHoldError, (409, "after_hold", "The time in which feedback on the answer counts is over.")),
    (
        ContradictingOutcomeError,
        (422, "contradicting_feedback", "Something else was reported before; the first report stands."),
    ),
)
