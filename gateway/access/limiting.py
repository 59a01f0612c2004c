"""Limits of all API keys in this process: which requests may go ahead, and what answers really took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from gateway.access.key_account import KeyAccount, LeaseStore
from gateway.access.limit_health import LimitHealth, LimitObserver
from gateway.access.limits import LimitReachedError
from gateway.access.metering import Metered
from gateway.access.token_estimate import estimate_tokens
from gateway.config.configured_keys import KeyLimits


class Limiter:
    """Admits requests.

    Args:
        store: Where limits are accounted for; its calls are bounded in time, and requests wait for them.
        holder: What the store calls this process.
        observer: Told of refusals.
        timer: Seconds that only ever grow.
    """

    def __init__(
        self,
        store: LeaseStore,
        holder: str,
        observer: LimitObserver,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._holder = holder
        self._observer = observer
        self._timer = timer
        self._health = LimitHealth(observer, timer)
        self._accounts: dict[str, KeyAccount] = {}

    async def admit(self, key: str, limits: KeyLimits, payload: Mapping[str, Any]) -> Metered:
        """Let a request of a key go ahead.

        Args:
            key: Name of the key.
            limits: At least one.
            payload: The request.

        Raises:
            LimitReachedError: If one of the limits is reached.
        """
        estimate = estimate_tokens(payload) if limits.tokens_per_minute is not None else None
        try:
            admission = await self._account(key, limits).admit(sum(estimate or ()))
        except LimitReachedError as error:
            self._observer.key_limited(key, error.limit)
            raise
        return Metered(admission, estimate)

    async def aclose(self) -> None:
        """Give back what is leased."""
        await asyncio.gather(*(account.aclose() for account in self._accounts.values()))

    def _account(self, key: str, limits: KeyLimits) -> KeyAccount:
        account = self._accounts.get(key)
        if account is None or account.limits != limits:
            account = KeyAccount(key, limits, self._store, self._holder, self._health, self._timer)
            self._accounts[key] = account
        return account
