"""The limits of all API keys in this process: decides which requests may go ahead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from gateway.access.key_account import KeyAccount, LeaseStore
from gateway.access.limits import LimitReachedError
from gateway.access.metering import Metered
from gateway.access.token_estimate import estimate_tokens
from gateway.config.configured_keys import KeyLimits
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import KeyLimited, LimitsSkipped
from gateway.running.store_breaker import StoreBreaker


class Limiter:
    """Admits requests within the limits of their keys.

    Args:
        store: The store that accounts for limits; requests wait for its calls, which are bounded in time.
        holder: The store's name for this process.
        hooks: Hear of refused requests, and of requests that passed without being accounted for.
        breaker: Open while the store does not answer; shared by everything that asks the store during a
            request.
        timer: Monotonic seconds.
    """

    def __init__(
        self,
        store: LeaseStore,
        holder: str,
        hooks: Hooks,
        breaker: StoreBreaker,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._holder = holder
        self._hooks = hooks
        self._timer = timer
        self._breaker = breaker
        self._accounts: dict[str, KeyAccount] = {}

    async def admit(
        self, request_id: str, key: str, limits: KeyLimits, payload: Mapping[str, Any]
    ) -> Metered:
        """Let a request of a key go ahead.

        Args:
            request_id: The request's id in events.
            key: Name of the key.
            limits: Its limits, at least one.
            payload: The request.

        Raises:
            LimitReachedError: If one of the limits is reached.
        """
        estimate = estimate_tokens(payload) if limits.tokens_per_minute is not None else None
        try:
            grant = await self.account(key, limits).admit(sum(estimate or ()))
        except LimitReachedError as error:
            self._hooks.tell(KeyLimited(request_id, key, error.limit))
            raise
        if not grant.is_accounted:
            self._hooks.tell(LimitsSkipped(request_id, key))
        return Metered(grant, estimate)

    def account(self, key: str, limits: KeyLimits) -> KeyAccount:
        """The account of a key in this process; a new one when its limits change."""
        account = self._accounts.get(key)
        if account is None or account.limits != limits:
            account = KeyAccount(key, limits, self._store, self._holder, self._breaker, self._timer)
            self._accounts[key] = account
        return account

    async def aclose(self) -> None:
        """Give back everything that is leased."""
        await asyncio.gather(*(account.aclose() for account in self._accounts.values()))
