"""Requests without a valid key: counted, logged in moderation, and answered 429 where they come too often.

A valid key is never refused for them. Keys are too long to be guessed at any rate, while refusing an address
would let one caller behind a shared address, or behind a proxy, shut out all others there. What is limited is
the work and the noise.
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
"""Failures of an address within a window that are told what was wrong; further ones are not."""
ADDRESSES: Final = 10_000
"""Addresses remembered; beyond it the one that failed longest ago is forgotten."""
_LOGGED: Final = 20  # lines within a window
_SITE_BITS: Final = 64  # of an IPv6 address: a caller has all addresses that share them


class FailedAttempts:
    """The failures of each address.

    Args:
        hooks: Are told of each.
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
        """Note a failure; what the caller is to be told of it.

        Args:
            address: Where the request came from; empty where that is not known.
            reason: What was wrong.
            error: The same in words.
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
    """The part of an address that tells callers apart."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    mapped = parsed.ipv4_mapped
    return str(mapped or ip_network((parsed, _SITE_BITS), strict=False))
