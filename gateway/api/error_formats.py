"""Gives an error the shape that belongs to each kind of request, as a whole reply or inside a stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from gateway.api.errors import ErrorReply, error_reply
from gateway.upstream.surfaces import SurfaceName

_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
# Anthropic's client acts on these, in addition to status and type.
_DETAILED: Final = frozenset({"thread_not_found"})


@dataclass(frozen=True, slots=True)
class ErrorFormat:
    """The shape of errors for the clients of one kind of request.

    Attributes:
        whole: Makes the whole reply from the reply in OpenAI's shape.
        event: Makes the event that ends a failed stream; no final event follows it.
    """

    whole: Callable[[ErrorReply], ErrorReply]
    event: Callable[[ErrorReply], bytes]

    def reply(self, error: Exception, *, tells_detail: bool = False) -> ErrorReply:
        """The reply to an error, with the provider's words if the caller is an operator."""
        return self.whole(error_reply(error, tells_detail=tells_detail))


def reply_for(path: str, error: Exception) -> ErrorReply:
    """The reply to an error on a path, whether the path exists or not."""
    reply = error_reply(error)
    return as_anthropic(reply) if path.startswith("/v1/messages") else reply


def as_anthropic(reply: ErrorReply) -> ErrorReply:
    """The reply in Anthropic's shape, whose types follow from the status."""
    kind = _ANTHROPIC_TYPES.get(reply.status, "api_error")
    told = _error(reply)
    error: dict[str, Any] = {"type": kind, "message": told.get("message", "")}
    code = told.get("code")  # a provider's own may be anything
    if isinstance(code, str) and code in _DETAILED:
        error["details"] = {"error_code": code}
    return replace(reply, body=orjson.dumps({"type": "error", "error": error}))


def _unchanged(reply: ErrorReply) -> ErrorReply:
    return reply


def _responses_event(reply: ErrorReply) -> bytes:
    error = _error(reply)
    event = {"type": "error", **{name: error.get(name) for name in ("code", "message", "param")}}
    return b"event: error\ndata: " + orjson.dumps(event) + b"\n\n"


def _error(reply: ErrorReply) -> dict[str, Any]:
    """The error inside a reply; it has the same place in both shapes and in a provider's own body."""
    error: dict[str, Any] = orjson.loads(reply.body)["error"]
    return error


_OPENAI: Final = ErrorFormat(_unchanged, lambda reply: b"data: " + reply.body + b"\n\n")
ERROR_FORMATS: Final[Mapping[SurfaceName, ErrorFormat]] = {
    "chat": _OPENAI,
    "responses": ErrorFormat(_unchanged, _responses_event),
    "completions": _OPENAI,
    "embeddings": _OPENAI,
    "messages": ErrorFormat(
        as_anthropic, lambda reply: b"event: error\ndata: " + as_anthropic(reply).body + b"\n\n"
    ),
}
