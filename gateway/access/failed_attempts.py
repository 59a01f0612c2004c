"""Counts requests without a valid key, logs some of them, and answers 429 if there are too many.

A valid key is never refused because of them. Keys are too long to be guessed at any rate, and blocking an
address would let one caller behind a shared address or a proxy shut out all others there. The limit only
bounds the work and the log lines.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from gateway.errors import AuthenticationError, RateLimitedError
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import AuthenticationFailed, FailureReason
from gateway.running.logs import get_logger
from gateway.running.moderation import WINDOW_SECONDS, Moderation

_log = get_logger(__name__)

ATTEMPTS: Final = 20
"""The first failures of an address within a window are answered with the reason; further ones with 429."""
ADDRESSES: Final = 10_000
"""Addresses remembered; beyond this number the one that failed longest ago is forgotten."""
_LOGGED: Final = 20  # lines within a window
_SITE_BITS: Final = 64  # of an IPv6 address: one caller owns all addresses that share these


class FailedAttempts:
    """The failures of each address.

    Args:
        hooks: Hear of each failure.
        timer: Seconds that only ever grow.
    """

    def __init__(self, hooks: Hooks, timer: Callable[[], float] = time.monotonic) -> None:
        self._hooks = hooks
        self._timer = timer
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._lines = Moderation(_LOGGED, timer)

    def refusal(
        self, address: str, reason: FailureReason, error: AuthenticationError
    ) -> AuthenticationError | RateLimitedError:
        """Note a failure, and give the error for the caller.

        Args:
            address: Where the request came from; empty if that is not known.
            reason: What was wrong.
            error: The error that says so.
        """
        site = _site(address)
        now = self._timer()
        began, count = self._windows.pop(site, (now, 0))
        if now - began >= WINDOW_SECONDS:
            began, count = now, 0
        self._windows[site] = began, count + 1
        if len(self._windows) > ADDRESSES:
            self._windows.popitem(last=False)
        is_limited = count >= ATTEMPTS
        self._hooks.tell(AuthenticationFailed("limited" if is_limited else reason))
        if count in {0, ATTEMPTS}:
            self._log(site, "limited" if is_limited else reason)
        if not is_limited:
            return error
        return RateLimitedError(
            "Too many requests without a valid API key came from this address.",
            kind="requests",
            retry_after_seconds=began + WINDOW_SECONDS - now,
        )

    def _log(self, site: str, reason: FailureReason) -> None:
        match self._lines.verdict():
            case "write":
                _log.warning("authentication_failed", address=site, reason=reason)
            case "write_last":
                _log.warning("authentication_failures_no_longer_logged", seconds=WINDOW_SECONDS)
            case "withhold":
                pass


def _site(address: str) -> str:
    """The part of an address by which callers are told apart."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    mapped = parsed.ipv4_mapped
    return str(mapped or ip_network((parsed, _SITE_BITS), strict=False))
