"""Turns a provider's refusal into the error for the caller.

Callers learn what they can act on: their own mistakes in the provider's words, and when to try again. For
problems of the operator (a wrong key, an account without credit, a model that no longer exists, a parameter
of a policy, a broken server) they get a bad gateway without details.
"""

from __future__ import annotations

from typing import Final

import orjson

from gateway.errors import UpstreamError
from gateway.upstream.base import RawHeaders, UpstreamRequest
from gateway.upstream.complaints import Complaint, read_complaint
from gateway.upstream.operators_matters import is_about_a_prompt, is_about_the_account, is_operators
from gateway.upstream.private_text import Blanker, all_texts
from gateway.upstream.references import references

NOT_ASKED: Final = frozenset({"ejected", "retry_budget"})
"""Reasons of errors that say nothing about the respondent, because it was never asked."""

_CALLERS_FAULTS: Final = frozenset({400, 413, 415, 422})
_NOT_FOUND: Final = 404
_TOO_MANY: Final = 429
_MAX_DETAIL: Final = 400
_MAX_SEARCHED: Final = 256 * 1024
# Fields of an error about the request; others may describe the operator's account.
_TOLD_FIELDS: Final = (
    *("code", "content_filter_result", "failed_generation", "innererror", "inner_error"),
    *("message", "param", "type"),
)
_SHAPE: Final = {"message": None, "type": "invalid_request_error", "param": None, "code": None}
# Codes, types and states that classify an error inside a stream, where there is no status.
_STATUS_OF: Final = {
    "content_filter": 400,
    "context_length_exceeded": 400,
    "invalid_argument": 400,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "resource_exhausted": 429,
    "overloaded_error": 529,
    "timeout_error": 504,
}


def refused(
    status: int,
    body: bytes,
    asked: UpstreamRequest,
    retry_after: str | None = None,
    headers: RawHeaders = (),
) -> UpstreamError:
    """The error for a provider's answer with a status other than 200."""
    return _refusal(status, read_complaint(body), asked, retry_after, headers)


def reported_in_body(payload: bytes, asked: UpstreamRequest) -> UpstreamError:
    """The error for an event, or an answer with status 200, that says in its JSON what went wrong."""
    complaint = read_complaint(payload)
    words = (word for word in _STATUS_OF if word in complaint.words)
    status = complaint.status or next((_STATUS_OF[word] for word in words), 500)
    if _is_operators(complaint, asked):
        return _operators(status, complaint, asked, ())
    return _refusal(status, complaint, asked)


def _refusal(
    status: int,
    complaint: Complaint,
    asked: UpstreamRequest,
    retry_after: str | None = None,
    headers: RawHeaders = (),
) -> UpstreamError:
    is_callers = status in _CALLERS_FAULTS or (
        # The provider does not know something that the caller named (other than the model).
        status == _NOT_FOUND and complaint.mentions_one_of(one.name for one in references(asked.payload))
    )
    if is_callers and not _is_operators(complaint, asked):
        return _callers(status, complaint, asked, headers)
    if status == _TOO_MANY and not is_about_the_account(complaint.words):
        return UpstreamError(
            "The provider has no capacity at present.",
            status=_TOO_MANY,
            reason="rate_limited",
            retry_after=retry_after,
            detail=_detail(status, complaint, asked),
            headers=headers,
        )
    if status in {408, 504}:
        return timed_out(headers)
    if 400 <= status < 500:  # noqa: PLR2004 - HTTP's classes of statuses
        return _operators(status, complaint, asked, headers)
    return UpstreamError(
        f"The provider failed with status {status}.",
        status=502,
        reason="status_5xx" if status >= 500 else "protocol",  # noqa: PLR2004 - HTTP's classes of statuses
        retry_after=retry_after,
        detail=_detail(status, complaint, asked),
        headers=headers,
    )


def _is_operators(complaint: Complaint, asked: UpstreamRequest) -> bool:
    """Whether it is about the operator's account or configuration, or a policy's part of the request."""
    part = asked.policy_part
    if is_operators(complaint.words, complaint.messages):
        return True
    # Callers choose neither the provider's model nor the fields that a policy fixes.
    fixed = (*part.fields, "model")
    if any(field == own or field.startswith(f"{own}.") for field in complaint.fields for own in fixed):
        return True
    return bool(part.prompts) and is_about_a_prompt(
        complaint.messages, is_beside_another=part.is_beside_system
    )


def _operators(
    status: int, complaint: Complaint, asked: UpstreamRequest, headers: RawHeaders
) -> UpstreamError:
    return UpstreamError(
        "The provider does not accept the gateway's request for this model; the gateway's operator has to "
        "check.",
        status=502,
        reason="status_4xx",
        detail=_detail(status, complaint, asked),
        headers=headers,
    )


def _callers(status: int, complaint: Complaint, asked: UpstreamRequest, headers: RawHeaders) -> UpstreamError:
    blanker = Blanker(asked.target.secrets, asked.policy_part.prompts)
    told = {name: blanker.value(complaint.error[name]) for name in _TOLD_FIELDS if name in complaint.error}
    message = None if complaint.message is None else blanker.text(complaint.message)
    return UpstreamError(
        message or f"The provider refused the request with status {status}.",
        status=status,
        reason="status_4xx",
        body=orjson.dumps({"error": {**_SHAPE, **told}}) if isinstance(told.get("message"), str) else None,
        is_callers_fault=True,
        detail=_detail(status, complaint, asked),
        headers=headers,
    )


def _detail(status: int, complaint: Complaint, asked: UpstreamRequest) -> str:
    """Status, codes and message for the log, without anything that the operator or a caller wrote."""
    codes = Blanker(asked.target.secrets).text(", ".join(sorted(complaint.words - {str(status)})))
    texts = list(all_texts(dict(asked.payload)))
    if complaint.message is None or sum(map(len, texts)) > _MAX_SEARCHED:
        return f"{status} {codes}"[:_MAX_DETAIL].rstrip()
    message = Blanker(asked.target.secrets, {*texts, *asked.policy_part.prompts}).text(complaint.message)
    return f"{status} {codes}: {message}"[:_MAX_DETAIL]


def timed_out(headers: RawHeaders = ()) -> UpstreamError:
    """The error for a provider that did not answer in time."""
    return UpstreamError(
        "The provider did not answer in time.", status=504, reason="timeout", headers=headers
    )


def unreachable() -> UpstreamError:
    """The error for a provider that could not be connected to, or closed the connection without an answer."""
    return UpstreamError("The provider could not be reached.", status=502, reason="connect")


def cut_short() -> UpstreamError:
    """The error for an answer that stopped before its end."""
    return UpstreamError("The provider broke off its answer.", status=502, reason="cut")


def broken(what: str) -> UpstreamError:
    """The error for an answer that is not in the format it should be in."""
    return UpstreamError(f"The provider sent {what}.", status=502, reason="protocol")


def unforeseen(error: Exception) -> UpstreamError:
    """The error for an exception that should never occur. Only the exception's kind is safe to show."""
    kind = type(error)
    return UpstreamError(
        "The provider could not be asked; the gateway's operator has to check.",
        status=502,
        reason="protocol",
        detail=f"{kind.__module__}.{kind.__qualname__}",
    )


def ejected() -> UpstreamError:
    """The error for a target that is ejected because it failed several times in a row."""
    return UpstreamError(
        "The provider failed repeatedly and is not asked at present.",
        status=503,
        reason="ejected",
        retry_after="1",
    )


def over_budget() -> UpstreamError:
    """The error for a second attempt that is not made because too many others failed."""
    return UpstreamError(
        "The provider failed, and too many attempts fail at present to ask another provider.",
        status=503,
        reason="retry_budget",
        retry_after="1",
    )
