"""What one API key may use in this process: portions leased from the store, spent without asking again.

    request -> enough leased? -> goes ahead
               else it waits for a step: one call for all waiting requests, which also gives back the rest
    answer -> unused tokens return, tokens used beyond the estimate are owed; the next step reports both

Each key has at most one step in progress at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, Protocol

from gateway.access.limits import LimitName, LimitReachedError, LimitUse
from gateway.config.configured_keys import KeyLimits
from gateway.running.store_breaker import StoreBreaker
from policy_store.errors import StoreError
from policy_store.limits import HOLD_SECONDS, LEASE_SECONDS, Account, Granted, Lease, Returned, Wanted

# Long enough to serve the next request of a busy key, and to report many answers at once.
TIDY_SECONDS: Final = 0.02
RENEW_SECONDS: Final = HOLD_SECONDS / 3
# The end of a request in progress cannot be predicted.
CONCURRENT_RETRY_SECONDS: Final = 1.0


class LeaseStore(Protocol):
    """The part of the store that an account needs."""

    async def lease(self, account: Account) -> Granted:
        """One step. Raises StoreError."""
        ...


class Grant:
    """A request that may go ahead. It must be settled once, however the request ends.

    Attributes:
        is_accounted: False for a request that passed while the store did not answer.
        standings: How much of its limits the key has used, this request included.
    """

    __slots__ = ("_account", "_second", "_tokens", "is_accounted", "standings")

    def __init__(self, account: KeyAccount, tokens: int, second: int | None) -> None:
        self._account: KeyAccount | None = account
        self._tokens = tokens
        self._second = second
        self.is_accounted = second is not None
        self.standings = account.standings()

    def settle(self, tokens: int) -> None:
        """Report that the request has ended, and how many tokens it took. Repeating it changes nothing."""
        account, self._account = self._account, None
        if account is not None:
            account.settle(self._tokens, self._second, tokens)


class _Waiting(NamedTuple):
    tokens: int
    admitted: asyncio.Future[Grant]


class _Portion:
    """The leased portion of one limit per minute, and the state of that limit."""

    __slots__ = (
        "amount",
        "kind",
        "known_left",
        "limit",
        "reset_at",
        "second",
        "spent",
        "until",
        "wait_until",
    )

    def __init__(self, kind: Literal["requests", "tokens"], limit: int | None) -> None:
        self.kind: Literal["requests", "tokens"] = kind
        self.limit = limit
        self.amount = 0
        self.second = 0
        self.until = 0.0
        self.spent = 0
        self.known_left = limit or 0
        self.reset_at = self.wait_until = 0.0

    def has(self, amount: int, now: float) -> bool:
        return self.limit is None or (self.amount >= amount and now < self.until)

    def take(self, amount: int) -> None:
        if self.limit is not None:
            self.amount -= amount
            self.spent += amount

    def give_up(self) -> list[Returned]:
        """Give up the rest of the portion; returns how much it was."""
        amount, self.amount = self.amount, 0
        return [Returned(self.kind, self.second, amount)] if amount else []

    def wanted(self, amounts: list[int], now: float) -> Wanted | None:
        if self.limit is None:
            return None
        if not amounts:
            return Wanted(self.limit)
        is_busy = now < self.until + LEASE_SECONDS
        # Twice the amount used until now, so that a key that becomes busy soon needs only one step a second.
        ahead, self.spent = (2 * self.spent if is_busy else 0), 0
        return Wanted(self.limit, min(amounts), min(sum(amounts), self.limit), ahead)

    def receive(self, lease: Lease, second: int, asked_at: float) -> None:
        self.known_left = lease.left
        self.reset_at = asked_at + lease.reset_seconds
        self.wait_until = asked_at + lease.wait_seconds
        if lease.amount:
            self.amount, self.second, self.until = lease.amount, second, asked_at + LEASE_SECONDS

    def standing(self, now: float) -> LimitUse:
        remaining = self.known_left + self.amount
        return LimitUse(self.kind, self.limit or 0, remaining, max(0.0, self.reset_at - now))


class KeyAccount:
    """One key's limits in this process.

    Args:
        key: Name of the key.
        limits: Its limits, at least one.
        store: The store that accounts for them.
        holder: The store's name for this process.
        breaker: Open while the store does not answer; shared by everything that asks the store during a
            request.
        timer: Monotonic seconds.
    """

    def __init__(
        self,
        key: str,
        limits: KeyLimits,
        store: LeaseStore,
        holder: str,
        breaker: StoreBreaker,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.key = key
        self.limits = limits
        self._store = store
        self._holder = holder
        self._breaker = breaker
        self._timer = timer
        self._requests = _Portion("requests", limits.requests_per_minute)
        self._tokens = _Portion("tokens", limits.tokens_per_minute)
        self._under_way = 0
        self._may_hold = 0
        self._held_until = 0.0
        self._owed = 0
        self._returned: list[Returned] = []
        self._waiting: list[_Waiting] = []
        self._stepping: asyncio.Task[None] | None = None
        self._tidying: asyncio.TimerHandle | None = None
        self._tidy_at = 0.0  # kept here, because uvloop's handle has no `when` if that is soon

    async def admit(self, tokens: int) -> Grant:
        """Let a request go ahead, with the tokens it may take, as soon as the limits are known to allow it.

        Raises:
            LimitReachedError: If a limit does not allow it.
        """
        tokens = min(tokens, self._tokens.limit or 0)
        grant = None if self._waiting else self._take(tokens)
        if grant is not None:
            return grant
        if self._breaker.is_open:
            if self._breaker.is_due():
                self._step_soon()
            return self._pass(tokens)
        waiting = _Waiting(tokens, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._step_soon()
        try:
            return await waiting.admitted
        except asyncio.CancelledError:
            admitted = waiting.admitted
            if waiting in self._waiting:  # no step is made for a caller who left
                self._waiting.remove(waiting)
            elif admitted.done() and not admitted.cancelled() and admitted.exception() is None:
                admitted.result().settle(0)
            raise

    def settle(self, reserved: int, second: int | None, used: int) -> None:
        """Take back what a finished request did not use, or owe what it used beyond its estimate."""
        self._under_way -= 1
        if self._tokens.limit is not None and second is not None:
            vain = reserved - used
            if vain < 0:
                self._owed -= vain
            elif vain and second == self._tokens.second and self._timer() < self._tokens.until:
                self._tokens.amount += vain
            elif vain:
                self._returned.append(Returned("tokens", second, vain))
        if self._stepping is None:
            self._plan_ahead()

    def standings(self) -> tuple[LimitUse, ...]:
        """How much of its limits per minute the key has used, as far as this process knows."""
        if self._breaker.is_open:
            return ()
        now = self._timer()
        portions = (self._requests, self._tokens)
        return tuple(portion.standing(now) for portion in portions if portion.limit is not None)

    async def aclose(self) -> None:
        """Give back everything that is leased."""
        if self._stepping is not None:
            await self._stepping
        self._requests.until = self._tokens.until = 0.0
        if self._due(0.0) is not None:
            await self._step()
        if self._tidying is not None:
            self._tidying.cancel()

    def _take(self, tokens: int) -> Grant | None:
        now = self._timer()
        if not (self._may_start(now) and self._requests.has(1, now) and self._tokens.has(tokens, now)):
            return None
        self._requests.take(1)
        self._tokens.take(tokens)
        self._under_way += 1
        return Grant(self, tokens, self._tokens.second)

    def _may_start(self, now: float) -> bool:
        if self.limits.concurrent_requests is None:
            return True
        return self._under_way < self._may_hold and now < self._held_until

    def _pass(self, tokens: int) -> Grant:
        """Let a request go ahead without the store, if this process knows of no limit against it."""
        limit = self.limits.concurrent_requests
        if limit is not None and self._under_way >= limit:
            raise self._refusal("concurrent_requests", limit, CONCURRENT_RETRY_SECONDS)
        self._under_way += 1
        return Grant(self, tokens, None)

    # Steps

    def _step_soon(self) -> None:
        if self._stepping is None:
            self._stepping = asyncio.create_task(self._steps(), name=f"limits of {self.key}")

    async def _steps(self) -> None:
        try:
            await self._step()
            while self._waiting:
                await self._step()
        except asyncio.CancelledError:  # the process ends, and no other step would answer those that wait
            for each in self._waiting:
                each.admitted.cancel()
            self._waiting.clear()
            raise
        finally:
            self._stepping = None
            if self._waiting:  # the step failed, and these came while it was under way
                self._step_soon()
            self._plan_ahead()

    async def _step(self) -> None:
        waiting, self._waiting = self._waiting, []
        asked_at = self._timer()
        try:
            granted = await self._store.lease(self._account(waiting, asked_at))
        except StoreError as error:
            self._breaker.failed(error)
        except asyncio.CancelledError:
            self._waiting = [*waiting, *self._waiting]
            raise
        except Exception as error:
            for each in waiting:
                if not each.admitted.done():
                    each.admitted.set_exception(error)
            raise
        else:
            self._breaker.answered()
            for portion, lease in ((self._requests, granted.requests), (self._tokens, granted.tokens)):
                if portion.limit is not None:
                    portion.receive(lease, granted.second, asked_at)
            self._may_hold, self._held_until = granted.concurrent, asked_at + HOLD_SECONDS
        for each in waiting:
            self._answer(each)

    def _account(self, waiting: list[_Waiting], now: float) -> Account:
        returned, self._returned = self._returned, []
        owed, self._owed = self._owed, 0
        for portion in (self._requests, self._tokens):
            if waiting or now >= portion.until:
                returned += portion.give_up()
        limit, under_way = self.limits.concurrent_requests, self._under_way + len(waiting)
        # What is being given back to the store must not be used in the meantime.
        self._may_hold = min(self._may_hold, under_way)
        return Account(
            self.key,
            self._holder,
            requests=self._requests.wanted([1] * len(waiting), now),
            tokens=self._tokens.wanted([each.tokens for each in waiting], now),
            concurrent=None if limit is None else (limit, under_way),
            owed=owed,
            returned=tuple(returned),
        )

    def _answer(self, waiting: _Waiting) -> None:
        if waiting.admitted.done():  # the caller left
            return
        try:
            grant = self._take(waiting.tokens)
            if grant is None:
                grant = self._pass_or_refuse(waiting.tokens)
        except LimitReachedError as error:
            waiting.admitted.set_exception(error)
        else:
            waiting.admitted.set_result(grant)

    def _pass_or_refuse(self, tokens: int) -> Grant:
        if self._breaker.is_open:
            return self._pass(tokens)
        now, limits = self._timer(), self.limits
        if not self._may_start(now):
            raise self._refusal(
                "concurrent_requests", limits.concurrent_requests or 0, CONCURRENT_RETRY_SECONDS
            )
        if not self._requests.has(1, now):
            wait_seconds = self._requests.wait_until - now
            raise self._refusal("requests_per_minute", limits.requests_per_minute or 0, wait_seconds)
        wait_seconds = self._tokens.wait_until - now
        raise self._refusal("tokens_per_minute", limits.tokens_per_minute or 0, wait_seconds)

    def _refusal(self, limit: LimitName, size: int, retry_after_seconds: float) -> LimitReachedError:
        # If the store names no waiting time, other processes hold the rest and give it back soon.
        wait_seconds = retry_after_seconds if retry_after_seconds > 0 else LEASE_SECONDS
        return LimitReachedError(limit, size, wait_seconds, self.standings())

    # Afterwards

    def _due(self, soon: float) -> float | None:
        """Seconds until the store needs a report; reports that can wait a little are due in `soon`."""
        now = self._timer()
        due = [portion.until - now for portion in (self._requests, self._tokens) if portion.amount]
        if self._owed or self._returned or self._under_way < self._may_hold:
            due.append(soon)
        elif self._may_hold:
            due.append(self._held_until - HOLD_SECONDS + RENEW_SECONDS - now)
        return max(0.0, min(due)) if due else None

    def _plan_ahead(self) -> None:
        """Plan a step for the time at which a lease has to be given back or renewed."""
        seconds = self._due(TIDY_SECONDS)
        if seconds is not None:
            self._tidy_in(seconds)

    def _tidy_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + seconds
        if self._tidying is not None:
            if self._tidy_at <= at:
                return
            self._tidying.cancel()
        self._tidy_at = at
        self._tidying = loop.call_later(seconds, self._tidy)

    def _tidy(self) -> None:
        self._tidying = None
        seconds = self._due(0.0)
        if seconds:
            self._tidy_in(seconds)
        elif seconds is not None and (not self._breaker.is_open or self._breaker.is_due()):
            self._step_soon()
