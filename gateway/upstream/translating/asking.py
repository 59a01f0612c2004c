"""Finds out whether litellm asked the provider before it failed, and so whose fault the failure is.

litellm translates a request before it sends it, and fails on values that it does not expect. In this case no
provider was asked. If the failure counted against the provider, one caller's malformed requests would eject
a healthy provider. litellm also fails if the operator left out an address or a key, or if a policy sets a
value for which the provider has no equivalent. If that counted as the caller's mistake, no fallback would be
asked. A rehearsal with a request that contains nothing from the caller distinguishes the two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import UpstreamError


class NotSentError(BaseException):
    """The request would be sent now. Not an `Exception`, because litellm turns those into its own errors."""


class BrokenAnswerError(BaseException):
    """The provider's answer cannot be read. Not an `Exception`, for the same reason.

    Attributes:
        failure: The error for the caller.
    """

    def __init__(self, failure: UpstreamError) -> None:
        super().__init__(str(failure))
        self.failure = failure


@dataclass(slots=True)
class Asking:
    """One request on its way.

    Attributes:
        is_sent: Becomes true when litellm is about to ask the provider.
        is_rehearsed: Whether this is a rehearsal, which must not be sent.
        is_streamed: Whether the answer is to be a stream.
        is_embedding: Whether texts are to be embedded.
    """

    is_sent: bool = False
    is_rehearsed: bool = False
    is_streamed: bool = False
    is_embedding: bool = False


_CURRENT: Final[ContextVar[Asking | None]] = ContextVar("asking", default=None)
# Errors that Python raises for a value of an unexpected type; litellm also raises a bare Exception.
_WRONG_VALUES: Final = (TypeError, ValueError, AttributeError, LookupError)
_NOT_THE_VALUES: Final = (ImportError, OSError)


def note_taker(base: type[Any]) -> Any:
    """A callback for litellm's `input_callback`, called with a translated request before it is sent.

    Args:
        base: litellm's `CustomLogger`. A plain function would do, but then litellm prints each request first.
    """

    def note_sent(_self: Any, **_request: Any) -> None:
        current = _CURRENT.get()
        if current is not None:
            current.is_sent = True
            if current.is_rehearsed:
                raise NotSentError

    return type("NoteTaker", (base,), {"log_pre_api_call": note_sent})()


async def rehearse(start: Callable[[], Awaitable[object]], seconds: float) -> Exception | None:
    """Why litellm could not send a request; None if it could. The request is not sent.

    For a few providers litellm calls no callback. They get the request, and any answer of theirs means that
    it could be sent.
    """
    with asking(is_rehearsed=True):
        try:
            async with asyncio.timeout(seconds):
                await start()
        except (NotSentError, BrokenAnswerError):
            return None
        except Exception as error:  # noqa: BLE001 - whatever litellm makes of what is missing
            return error
        return None


@contextmanager
def asking(
    *, is_rehearsed: bool = False, is_streamed: bool = False, is_embedding: bool = False
) -> Iterator[Asking]:
    """Watch the calls made inside, including threads and tasks that litellm starts there."""
    current = Asking(is_rehearsed=is_rehearsed, is_streamed=is_streamed, is_embedding=is_embedding)
    token = _CURRENT.set(current)
    try:
        yield current
    finally:
        _CURRENT.reset(token)


def current_asking() -> Asking | None:
    """The request for which the present call is made."""
    return _CURRENT.get()


def is_untranslatable(error: Exception, current: Asking) -> bool:
    """Whether `error` means that litellm could not translate the request into the provider's format."""
    if current.is_sent:
        return False
    causes: dict[int, BaseException] = {}
    cause: BaseException | None = error
    while cause is not None and id(cause) not in causes:
        causes[id(cause)] = cause
        cause = cause.__cause__ or cause.__context__
    if any(isinstance(each, _NOT_THE_VALUES) for each in causes.values()):
        return False
    return any(isinstance(each, _WRONG_VALUES) or type(each) is Exception for each in causes.values())
