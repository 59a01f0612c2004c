"""The hook that writes log lines: for each failed request and move by hand, and at `debug` for each decision.

Lines about callers without a valid key are limited, because anyone who can connect can cause them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from logging import INFO, WARNING
from typing import Any, Final

from gateway.instrumentation.hooks import Handlers, Listener
from gateway.instrumentation.records import (
    AttemptEnded,
    FellBack,
    KeyLimited,
    LeftAlone,
    LimitsSkipped,
    ModelFellBack,
    MovedByHand,
    RequestFinished,
    RetryRefused,
    Routed,
    StickySkipped,
)
from gateway.running.logs import get_logger
from gateway.running.moderation import WINDOW_SECONDS, Moderation

_log = get_logger(__name__)

STRANGERS_LINES: Final = 60
"""Most lines within a window about requests of unknown callers."""
_CALLERS: Final = 400  # statuses from here on: the caller did something wrong, or left
_OURS: Final = 500  # statuses from here on: the gateway or a provider failed
_DIGITS: Final = 6


class LogHook(Listener):
    """A hook that writes to the log.

    Args:
        tells_all: Whether the log level includes `debug`; otherwise those lines are not even made.
        timer: Monotonic seconds.
    """

    def __init__(self, *, tells_all: bool, timer: Callable[[], float] = time.monotonic) -> None:
        self._strangers = Moderation(STRANGERS_LINES, timer)
        self._tells_all = tells_all
        super().__init__(
            {
                **(_DECISIONS if tells_all else {}),
                RequestFinished: self._finished,
                MovedByHand: lambda event: _log.info("moved_by_hand", **_fields(event)),
            }
        )

    def _finished(self, event: RequestFinished) -> None:
        if not event.code:
            if self._tells_all:
                _log.debug("request_answered", **_request(event))
            return
        verdict = "write" if event.key else self._strangers.verdict()
        if verdict == "write_last":
            _log.warning("failures_of_strangers_no_longer_logged", seconds=WINDOW_SECONDS)
        elif verdict == "write":
            # A stream that broke off had sent its status while all was well.
            is_callers = _CALLERS <= event.status < _OURS
            _log.log(INFO if is_callers else WARNING, "request_failed", code=event.code, **_request(event))


def _request(event: RequestFinished) -> dict[str, Any]:
    return {
        "request_id": event.request_id,
        "endpoint": event.endpoint,
        "status": event.status,
        "model": event.model,
        "key_name": event.key,
        "seconds": round(event.ended - event.started, _DIGITS),
    }


def _attempt(event: AttemptEnded) -> dict[str, Any]:
    begun = None if event.begun is None else round(event.begun - event.started, _DIGITS)
    return {
        "request_id": event.request_id,
        "model": event.model,
        "experiment": event.experiment,
        "policy": event.policy,
        "ending": event.ending,
        "reason": event.reason,
        "first_byte_seconds": begun,
        "seconds": round(event.ended - event.started, _DIGITS),
    }


def _fields(event: Any) -> dict[str, Any]:
    """The event's fields. `key` is renamed, because log lines blank that field, and a key's name may show."""
    return {"key_name" if name == "key" else name: value for name, value in event._asdict().items()}


def _fell_back(event: FellBack) -> None:
    if event.answered == "incumbent":
        _log.debug("incumbent_answered_instead", **_fields(event))
    else:
        _log.debug("answer_takes_no_part", **_fields(event))


_DECISIONS: Final[Handlers] = {
    Routed: lambda event: _log.debug("routed", **_fields(event)),
    AttemptEnded: lambda event: _log.debug("attempt_ended", **_attempt(event)),
    LeftAlone: lambda event: _log.debug("left_alone", **_fields(event)),
    RetryRefused: lambda event: _log.debug("retry_refused", **_fields(event)),
    FellBack: _fell_back,
    ModelFellBack: lambda event: _log.debug("fallback_answered_instead", **_fields(event)),
    StickySkipped: lambda event: _log.debug("session_assigned_without_store", **_fields(event)),
    KeyLimited: lambda event: _log.debug("key_limited", **_fields(event)),
    LimitsSkipped: lambda event: _log.debug("limits_skipped", **_fields(event)),
}
