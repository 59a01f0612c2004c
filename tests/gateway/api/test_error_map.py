"""Every error we raise on purpose has one place in HTTP, in OpenAI's shape, and tells no secrets."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
import pytest

from gateway import errors as gateway_errors
from gateway.access.limits import LimitReachedError
from gateway.api.error_formats import ERROR_FORMATS
from gateway.api.errors import ErrorReply, error_reply
from gateway.errors import (
    AuthenticationError,
    BodyTooLargeError,
    ConfigError,
    ConflictError,
    CrowdedError,
    ForeignHostError,
    GatewayError,
    InvalidFeedbackError,
    InvalidRequestError,
    PermissionDeniedError,
    RateLimitedError,
    RenderError,
    ShuttingDownError,
    StoreHeldError,
    StoreUnconfirmedError,
    ThreadNotFoundError,
    TooManyStreamsError,
    UnavailableError,
    UnknownKeyError,
    UnknownModelError,
    UnknownWebhookError,
    UnsupportedMediaTypeError,
    UpstreamError,
)
from gateway.upstream.base import ModelTarget, UpstreamRequest
from gateway.upstream.failures import over_budget, refused, timed_out, unreachable
from policy_store.errors import (
    AfterHoldError,
    BackupFileError,
    ContradictingOutcomeError,
    DataDirectoryInUseError,
    DecisionConflictError,
    EmbeddedStoreError,
    ExperimentFinishedError,
    KeyNameTakenError,
    NewerVersionError,
    OverCapError,
    RestoreError,
    StaleFenceError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
    UnconfirmedError,
    UnknownExperimentError,
)

EXPECTED: list[tuple[Exception, int, str | None]] = [
    (InvalidRequestError("x", param="p", code="c"), 400, "c"),
    (UnknownModelError("x", code="model_not_found"), 404, "model_not_found"),
    (BodyTooLargeError("x", code="request_too_large"), 413, "request_too_large"),
    (ForeignHostError("x", code="host_not_allowed"), 403, "host_not_allowed"),
    (ThreadNotFoundError(), 404, "thread_not_found"),
    (UnsupportedMediaTypeError("x", code="unsupported_media_type"), 415, "unsupported_media_type"),
    (InvalidFeedbackError("x", reason="contradicting", status=422), 422, "contradicting"),
    (AuthenticationError("x"), 401, "invalid_api_key"),
    (PermissionDeniedError("x"), 403, "permission_denied"),
    (UnknownKeyError("x", code="unknown_key"), 404, "unknown_key"),
    (UnknownWebhookError("x", code="unknown_webhook"), 404, "unknown_webhook"),
    (RateLimitedError("x", kind="requests", retry_after_seconds=3.0), 429, "rate_limit_exceeded"),
    (LimitReachedError("tokens_per_minute", 5, 3.0, ()), 429, "rate_limit_exceeded"),
    (KeyNameTakenError("x"), 409, "name_taken"),
    (ConflictError("x"), 409, "conflict"),
    (CrowdedError("x"), 503, "too_many_large_requests"),
    (TooManyStreamsError("x"), 503, "too_many_streams"),
    (RenderError("x"), 500, "template_failed"),
    (UnavailableError("x"), 503, "store_unavailable"),
    (StoreHeldError("x"), 503, "store_held"),
    (StoreUnconfirmedError("x"), 503, "store_unconfirmed"),
    (ShuttingDownError("x"), 503, "shutting_down"),
    (UpstreamError("x", status=502, reason="connect"), 502, "upstream_connect"),
    (UpstreamError("x", status=504, reason="timeout"), 504, "upstream_timeout"),
    (UpstreamError("x", status=429, reason="rate_limited"), 429, "rate_limit_exceeded"),
    (StoreUnavailableError("x"), 503, "store_unavailable"),
    (StoreRefusedError("x", word="READONLY"), 503, "store_unavailable"),
    (UnconfirmedError("x"), 503, "store_unconfirmed"),
    (UnknownExperimentError("x"), 404, "unknown_experiment"),
    (ExperimentFinishedError("x"), 409, "experiment_finished"),
    (ContradictingOutcomeError("x", reported="f"), 422, "contradicting_feedback"),
    (OverCapError("x", cap="voter_cap"), 409, "over_cap"),
    (AfterHoldError("x"), 409, "after_hold"),
    (NewerVersionError("x"), 409, "conflict"),
    (StaleFenceError("x"), 409, "conflict"),
    (DecisionConflictError("x"), 409, "conflict"),
    (ValueError("secret"), 500, "internal_error"),
]

# These never reach a request: they occur at the start, or in commands that talk to the store themselves.
APART = {ConfigError, EmbeddedStoreError, DataDirectoryInUseError, BackupFileError, RestoreError}


def shown(reply: ErrorReply) -> dict[str, object]:
    """The error in a reply's body."""
    error: dict[str, object] = orjson.loads(reply.body)["error"]
    return error


@pytest.mark.parametrize(("error", "status", "code"), EXPECTED, ids=lambda value: type(value).__name__)
def test_each_error_has_its_status_and_code(error: Exception, status: int, code: str | None) -> None:
    """The four fields OpenAI's clients read, always."""
    reply = error_reply(error)
    assert reply.status == status
    assert shown(reply).keys() == {"message", "type", "param", "code"}
    assert shown(reply)["code"] == code


def _tree(root: type[Exception]) -> Iterator[type[Exception]]:
    for kind in root.__subclasses__():
        yield kind
        yield from _tree(kind)


def test_no_error_is_forgotten() -> None:
    """Each of the two error trees is covered, except for errors that no request can meet."""
    ours = {kind for kind in _tree(GatewayError) if kind.__module__ == gateway_errors.__name__}
    theirs = {kind for kind in _tree(StoreError) if kind.__module__ == "policy_store.errors"}
    assert ours | theirs <= {type(error) for error, _, _ in EXPECTED} | APART


def test_the_unforeseen_tells_nothing() -> None:
    """Internals stay out of replies."""
    assert b"secret" not in error_reply(ValueError("secret")).body
    assert b"secret" not in error_reply(StoreUnavailableError("redis://secret")).body
    assert b"secret" not in error_reply(RenderError("secret")).body


def test_what_can_be_retried_says_when() -> None:
    """Clients wait as long as `retry-after` says; a header that cannot be sent is dropped."""
    limited = UpstreamError("x", status=429, reason="rate_limited", retry_after="7")
    assert error_reply(limited).headers == ((b"retry-after", b"7"),)
    assert error_reply(StoreUnavailableError("x")).headers == ((b"retry-after", b"1"),)
    odd = UpstreamError("x", status=429, reason="rate_limited", retry_after="\u221e")
    assert error_reply(odd).headers == ()


def test_clients_are_told_not_to_retry_what_no_retry_mends() -> None:
    """A wrong provider key, and an outage in which second attempts are rationed already."""
    asked = UpstreamRequest(ModelTarget("small", "openai", "openai", "m", "http://provider/v1", "k"), {})
    assert error_reply(refused(401, b"", asked)).headers == ((b"x-should-retry", b"false"),)
    assert error_reply(over_budget()).headers == ((b"retry-after", b"1"), (b"x-should-retry", b"false"))
    refusals = [refused(status, b"", asked) for status in (429, 500, 400)]
    for error in (*refusals, timed_out(), unreachable()):
        assert error_reply(error).headers == ()


def test_a_providers_own_error_body_is_kept() -> None:
    """A provider's error body is passed on word for word."""
    body = (
        b'{"error": {"message": "too long", "type": "t", "param": null, "code": "context_length_exceeded"}}'
    )
    error = UpstreamError("too long", status=400, reason="status_4xx", body=body, is_callers_fault=True)
    assert error_reply(error) == ErrorReply(400, body, code="upstream_status_4xx")


def test_an_error_in_a_stream_is_one_event() -> None:
    """The event has the shape that clients look for."""
    event = ERROR_FORMATS["chat"].event(error_reply(UpstreamError("x", status=502, reason="cut")))
    assert event.startswith(b'data: {"error":{')
    assert event.endswith(b"}}\n\n")
    assert event.count(b"\n") == 2
