"""The gateway's errors; `api/errors.py` maps each to an HTTP status, the CLI to an exit status.

GatewayError
+-- ConfigError                  the configuration file or environment is wrong; `issues` lists every fault
+-- InvalidRequestError          the caller's request is wrong; do not retry unchanged       -> 400
|   +-- UnknownModelError        no model or experiment of that name                         -> 404
|   +-- ThreadNotFoundError      a conversation that is kept elsewhere or not at all          -> 404
|   +-- UnknownKeyError          no API key of that name is in force                        -> 404
|   +-- UnknownWebhookError      no webhook of that name                                       -> 404
|   +-- ConflictError            the present state does not allow it; read the state again   -> 409
|   +-- BodyTooLargeError                                                                    -> 413
|   +-- ForeignHostError         meant for another host, or from a web page of another one     -> 403
|   +-- UnsupportedMediaTypeError  the body is not JSON                                        -> 415
|   +-- InvalidFeedbackError     wrong feedback; carries a `reason`                           -> 400/404/422
+-- AuthenticationError          missing or wrong API key                                    -> 401
+-- PermissionDeniedError        the key may not do this                                     -> 403
+-- RateLimitedError             the key used up a limit the operator set; wait and retry     -> 429
+-- UpstreamError                a provider failed; carries the status to pass on            -> 4xx/502/504
+-- RenderError                  a policy cannot be applied to this request; the incumbent answers
+-- UnavailableError             shared state cannot be reached; retry later                 -> 503
|   +-- StoreHeldError           shared state lost something, and an operator has to accept it -> 503
|   +-- StoreUnconfirmedError    it is written, but too few replicas of the store have it       -> 503
+-- CrowdedError                 no memory is left for another large body; retry later       -> 503
+-- TooManyStreamsError          as many look at events as may; ask again, or another process -> 503
+-- ShuttingDownError            this process stops before the answer is complete; ask again -> 503
"""

from __future__ import annotations

from dataclasses import dataclass


class GatewayError(Exception):
    """Base of every error the gateway raises on purpose. `str(error)` is safe to show to the caller."""


@dataclass(frozen=True, slots=True)
class ConfigIssue:
    """One fault in the configuration: where it is, what was found, and what would be right."""

    path: str
    problem: str
    remedy: str
    line: int | None = None

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path} (line {self.line})"
        return f"{where}: {self.problem} {self.remedy}".rstrip()


class ConfigError(GatewayError):
    """The configuration is wrong."""

    def __init__(self, issues: list[ConfigIssue]) -> None:
        super().__init__("\n".join(str(issue) for issue in issues))
        self.issues = issues


class InvalidRequestError(GatewayError):
    """The request is wrong. `param` names the field at fault, `code` is OpenAI's machine-readable code."""

    status = 400

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class UnknownModelError(InvalidRequestError):
    """No model or experiment has that name."""

    status = 404


class ThreadNotFoundError(InvalidRequestError):
    """A message continues a conversation that its model does not keep; clients then send all of it."""

    status = 404

    def __init__(self) -> None:
        super().__init__(
            "The thread is not kept here: send the whole conversation, with or without a new thread.",
            param="thread",
            code="thread_not_found",
        )


class UnknownKeyError(InvalidRequestError):
    """No API key of that name is in force."""

    status = 404


class UnknownWebhookError(InvalidRequestError):
    """No webhook of that name is configured."""

    status = 404


class ConflictError(InvalidRequestError):
    """The present state does not allow what was asked; nothing was changed."""

    status = 409

    def __init__(self, message: str) -> None:
        super().__init__(message, code="conflict")


class BodyTooLargeError(InvalidRequestError):
    """The request body is larger than the gateway accepts."""

    status = 413


class ForeignHostError(InvalidRequestError):
    """The request is meant for another host, or comes from a web page of another one."""

    status = 403


class UnsupportedMediaTypeError(InvalidRequestError):
    """The request body is declared as something other than JSON."""

    status = 415


class InvalidFeedbackError(InvalidRequestError):
    """Feedback that is wrong. `reason` comes from a bounded set and labels a metric."""

    def __init__(self, message: str, *, reason: str, status: int = 400, param: str | None = None) -> None:
        super().__init__(message, param=param, code=reason)
        self.reason = reason
        self.status = status


class AuthenticationError(GatewayError):
    """No API key, or one that was never issued."""


class PermissionDeniedError(GatewayError):
    """The key is valid but may not do this."""


class RateLimitedError(GatewayError):
    """The API key used up one of its limits; nothing was done.

    Attributes:
        kind: The limit that was reached, `requests` or `tokens`; the error's type on the wire.
        retry_after_seconds: Seconds until the same request fits again, as far as that can be known.
    """

    def __init__(self, message: str, *, kind: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after_seconds = retry_after_seconds


class UpstreamError(GatewayError):
    """A provider refused, failed or did not answer.

    Attributes:
        status: HTTP status to answer with.
        reason: A word for metrics, from a closed set: `connect`, `timeout`, `status_4xx`, `status_5xx`,
            `rate_limited`, `protocol` or `cut`; `ejected` or `retry_budget` if the provider was not asked at
            all.
        body: The provider's own error body when it is OpenAI-shaped and safe to pass on, else None.
        is_callers_fault: Whether the request itself is invalid, so that another policy would be refused too.
        retry_after: The provider's `retry-after`, worth passing on, or None.
        headers: What the provider says of its rate limits; for callers of plain models only.
        detail: What happened, in more detail, for the log and for admins; holds no secret and no text of
            the caller.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        reason: str,
        body: bytes | None = None,
        is_callers_fault: bool = False,
        retry_after: str | None = None,
        detail: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.body = body
        self.is_callers_fault = is_callers_fault
        self.retry_after = retry_after
        self.detail = detail
        self.headers = headers


class RenderError(GatewayError):
    """A policy's template failed on this request. The message holds nothing that the caller sent."""


class UnavailableError(GatewayError):
    """Shared state cannot be reached; the message says whether the change was made. Retry later."""


class StoreHeldError(UnavailableError):
    """Shared state went back in time; nothing is counted until an operator accepts it. Retry later."""


class StoreUnconfirmedError(UnavailableError):
    """The store did it, but too few of its replicas confirmed that: a failover may undo it. Ask again."""


class CrowdedError(GatewayError):
    """Bodies of requests in progress take all the memory allowed. Retry later, or ask another process."""


class TooManyStreamsError(GatewayError):
    """As many streams of events are open as may be. Retry later, or ask another process."""


class ShuttingDownError(GatewayError):
    """This process was told to stop and the answer took too long. Ask again; another process answers."""
