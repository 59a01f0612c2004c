"""Turns litellm's exceptions into errors for callers. Their text is for operators, except what it quotes."""

from __future__ import annotations

import re
from typing import Final

import orjson

from gateway.errors import UpstreamError
from gateway.upstream.base import UpstreamRequest
from gateway.upstream.failures import cut_short, refused, timed_out, unforeseen

_TEXT_AROUND_JSON: Final = re.compile(r"\{.*\}", re.DOTALL)
_QUOTED_TEXT: Final = re.compile(r"Exception - (.+)", re.DOTALL)
_PARAMETER_LIST: Final = re.compile(r"parameters?: (\[[^\]]*\])")


def translated(error: Exception, asked: UpstreamRequest) -> UpstreamError:
    """The error for an exception before the first byte of the answer."""
    if isinstance(error, UpstreamError):
        return error
    if isinstance(error, TimeoutError):
        return timed_out()
    status = getattr(error, "status_code", None)
    if not isinstance(status, int):
        return unforeseen(error)
    if is_unsupported_kind(error):
        return unsupported_kind()
    if type(error).__name__ == "UnsupportedParamsError":
        found = _PARAMETER_LIST.search(str(error))
        return unsupported(found[1] if found else "one of those sent")
    headers = getattr(error, "litellm_response_headers", None) or {}
    return refused(status, _error_body(str(error)), asked, headers.get("retry-after"))


def broken_off(error: Exception) -> UpstreamError:
    """The error for an exception in the middle of a stream."""
    if isinstance(error, UpstreamError):
        return error
    return timed_out() if isinstance(error, TimeoutError) else cut_short()


def is_unsupported_kind(error: Exception) -> bool:
    """Whether the model's provider does not answer this kind of request."""
    return type(error).__name__ == "LiteLLMUnknownProvider"


def unsupported(parameters: str) -> UpstreamError:
    """The error for fields the model's provider has no equivalent of."""
    return _callers_fault(f"The model does not support these parameters: {parameters}.")


def unsupported_kind() -> UpstreamError:
    """The error for a kind of request the model's provider does not answer."""
    return _callers_fault("The model's provider does not answer this kind of request.")


def untranslatable() -> UpstreamError:
    """The error for values that cannot be put into the provider's format."""
    return _callers_fault(
        "The request cannot be translated for the model's provider: a field has a wrong type or form."
    )


def misconfigured(detail: str) -> UpstreamError:
    """The error for a model whose provider litellm cannot ask, whatever the request.

    Something is missing, or a policy sets a value for which the provider has no equivalent.
    """
    return UpstreamError(
        "The model cannot be asked as it is configured; the gateway's operator has to check.",
        status=502,
        reason="status_4xx",
        detail=detail,
    )


def _callers_fault(message: str) -> UpstreamError:
    return UpstreamError(message, status=400, reason="status_4xx", is_callers_fault=True)


def _error_body(text: str) -> bytes:
    """The provider's own error, which litellm quotes inside its message."""
    quoted = _TEXT_AROUND_JSON.search(text)
    if quoted is not None:
        return quoted[0].encode("utf-8", "surrogatepass")
    plain = _QUOTED_TEXT.search(text)
    return b"" if plain is None else orjson.dumps({"error": {"message": plain[1]}})
