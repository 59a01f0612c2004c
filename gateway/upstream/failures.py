"""What a provider's refusal means to the caller of the gateway.

The caller is told what they can act on: their own mistakes as the provider worded them, and when to come
back. What is the operator's business (a wrong key, a model that is gone, a broken server) is a bad gateway.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from gateway.errors import UpstreamError
from gateway.upstream.base import RawHeaders

_CALLERS_FAULTS: Final = frozenset({400, 413, 415, 422})
_MAX_BODY_BYTES: Final = 64 * 1024
_TOO_MANY: Final = 429
# Words for an error inside a stream, where there is no status: OpenAI's codes and Anthropic's types.
_STATUS_OF: Final = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "invalid_request_error": 400,
    "request_too_large": 413,
    "overloaded_error": 529,
    "timeout_error": 504,
}


def refused(
    status: int, body: bytes, retry_after: str | None = None, headers: RawHeaders = ()
) -> UpstreamError:
    """The error for a provider's answer with a status other than 200."""
    if status in _CALLERS_FAULTS:
        message = _message(body)
        return UpstreamError(
            message or f"The provider refused the request with status {status}.",
            status=status,
            reason="status_4xx",
            body=None if message is None else body,
            is_callers_fault=True,
            headers=headers,
        )
    if status == _TOO_MANY:
        return UpstreamError(
            "The provider is out of capacity for now.",
            status=_TOO_MANY,
            reason="rate_limited",
            retry_after=retry_after,
            headers=headers,
        )
    if status in {408, 504}:
        return timed_out(headers)
    if 400 <= status < 500:  # noqa: PLR2004 - HTTP's classes of statuses
        return UpstreamError(
            "The provider does not accept the gateway's request for this model; its operator has to look.",
            status=502,
            reason="status_4xx",
            headers=headers,
        )
    return UpstreamError(
        f"The provider failed with status {status}.",
        status=502,
        reason="status_5xx" if status >= 500 else "protocol",  # noqa: PLR2004 - HTTP's classes of statuses
        retry_after=retry_after,
        headers=headers,
    )


def reported_in_body(payload: bytes) -> UpstreamError:
    """The error for an event, or an answer with status 200, that says in its JSON what went wrong."""
    error = _error(payload)
    code = error.get("code")
    if not isinstance(code, int) or not 400 <= code < 600:  # noqa: PLR2004 - HTTP's classes of statuses
        words = (word for word in (code, error.get("type")) if isinstance(word, str))
        code = next((_STATUS_OF[word] for word in words if word in _STATUS_OF), 500)
    return refused(code, orjson.dumps({"error": error}) if error else payload)


def timed_out(headers: RawHeaders = ()) -> UpstreamError:
    """The error for a provider that did not answer in time."""
    return UpstreamError(
        "The provider did not answer in time.", status=504, reason="timeout", headers=headers
    )


def unreachable() -> UpstreamError:
    """The error for a provider that could not be connected to, or hung up without a word."""
    return UpstreamError("The provider could not be reached.", status=502, reason="connect")


def cut_short() -> UpstreamError:
    """The error for an answer that stopped before its end."""
    return UpstreamError("The provider broke off its answer.", status=502, reason="cut")


def broken(what: str) -> UpstreamError:
    """The error for an answer that is not in the format it should be in."""
    return UpstreamError(f"The provider sent {what}.", status=502, reason="protocol")


def unforeseen(error: Exception) -> UpstreamError:
    """The error for an exception that asking a provider should never raise. Only its kind is safe to tell."""
    kind = type(error)
    return UpstreamError(
        "The provider could not be asked; the gateway's operator has to look.",
        status=502,
        reason="protocol",
        detail=f"{kind.__module__}.{kind.__qualname__}",
    )


def ejected() -> UpstreamError:
    """The error for a target that is left alone for now because it failed several times in a row."""
    return UpstreamError(
        "The provider failed repeatedly and is not asked for now.",
        status=503,
        reason="ejected",
        retry_after="1",
    )


def over_budget() -> UpstreamError:
    """The error for a second attempt that is not made because too many others failed."""
    return UpstreamError(
        "The provider failed, and so do so many others that nobody else is asked for now.",
        status=503,
        reason="retry_budget",
        retry_after="1",
    )


def _message(body: bytes) -> str | None:
    """The message of an error in OpenAI's shape or Anthropic's, or None where `body` is something else."""
    message = _error(body).get("message")
    return message if isinstance(message, str) else None


def _error(body: bytes) -> dict[str, Any]:
    if len(body) > _MAX_BODY_BYTES:
        return {}
    try:
        answer: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(answer, dict):
        return {}
    # A failed response holds its error in the response; an `error` event of a response is the error.
    response = answer.get("response")
    holder = response if isinstance(response, dict) else answer
    error = holder.get("error", answer if answer.get("type") == "error" else None)
    return error if isinstance(error, dict) else {}
