"""Whether litellm got as far as asking the provider: who is to blame when it fails.

It translates a request before it sends it, and fails on values that it does not expect. No provider was asked
then. If that counted against the provider, one caller's malformed requests would take a healthy provider out
of use. It also fails if the operator left out an address or a key, or let a policy set a value for which the
provider has no equivalent. If that counted as the caller's mistake, no fallback would be asked. A rehearsal
with a request that holds nothing of the caller's tells the two apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final


class NotSentError(BaseException):
    """The request would be sent now. No `Exception`, since litellm makes its own errors of those."""


@dataclass(slots=True)
class Asking:
    """One request on its way.

    Attributes:
        is_sent: Becomes true as litellm turns to the provider.
        is_rehearsed: It is not to be sent.
    """

    is_sent: bool = False
    is_rehearsed: bool = False


_CURRENT: Final[ContextVar[Asking | None]] = ContextVar("asking", default=None)
# How Python says that a value is not what the code took it for; litellm says so with a bare Exception, too.
_WRONG_VALUES: Final = (TypeError, ValueError, AttributeError, LookupError)
_NOT_THE_VALUES: Final = (ImportError, OSError)


def note_taker(base: type[Any]) -> Any:
    """For litellm's `input_callback`: told of a translated request before it is sent.

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
    """What keeps litellm from sending a request, which is not sent; None if nothing does.

    A few providers are asked without notice; they get the request, and whatever they answer, they were asked.
    """
    with asking(is_rehearsed=True):
        try:
            async with asyncio.timeout(seconds):
                await start()
        except NotSentError:
            return None
        except Exception as error:  # noqa: BLE001 - whatever litellm makes of what is missing
            return error
        return None


@contextmanager
def asking(*, is_rehearsed: bool = False) -> Iterator[Asking]:
    """Watch what is started inside; threads and tasks that litellm starts there count as well."""
    current = Asking(is_rehearsed=is_rehearsed)
    token = _CURRENT.set(current)
    try:
        yield current
    finally:
        _CURRENT.reset(token)


def is_untranslatable(error: Exception, current: Asking) -> bool:
    """Whether `error` says that litellm could not put the request into the provider's format."""
    if current.is_sent:
        return False
    causes = list(_causes(error))
    if any(isinstance(cause, _NOT_THE_VALUES) for cause in causes):
        return False
    return any(isinstance(cause, _WRONG_VALUES) or type(cause) is Exception for cause in causes)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
