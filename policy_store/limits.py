"""The usage of API keys within the last minute, shared by all replicas, which lease portions of the limits.

A process leases some requests and tokens at a time and spends them without asking again; it gives back what
it does not use within a second. So the use within any minute never exceeds a limit, and a process holds
little unused for a short time only (docs/decisions/0054-limits.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from policy_store.scripting import StorePart

LEASE_SECONDS: Final = 1.0
HOLD_SECONDS: Final = 6.0

_KINDS: Final = {"requests": 1, "tokens": 2}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A process's wish for a portion of one limit per minute.

    Attributes:
        limit: The limit.
        least: The smallest useful amount.
        now: The amount needed now.
        ahead: The amount expected to be needed soon, judged by the last second; leased if enough is left.
    """

    limit: int
    least: int = 0
    now: int = 0
    ahead: int = 0


@dataclass(frozen=True, slots=True)
class Returned:
    """A leased amount that was not used.

    Attributes:
        kind: The limit it belongs to.
        second: When it was leased, by the store's clock.
        amount: The amount.
    """

    kind: Literal["requests", "tokens"]
    second: int
    amount: int


@dataclass(frozen=True, slots=True)
class Account:
    """One step: a process's report and its wishes.

    Attributes:
        key: Name of the API key.
        holder: The process.
        requests: The wish for requests per minute, or None if there is no such limit.
        tokens: The wish for tokens per minute, or None.
        concurrent: Limit on requests in progress, and how many this process wants; or None.
        owed: Tokens used beyond what was leased.
        returned: The unused amounts.
    """

    key: str
    holder: str
    requests: Wanted | None = None
    tokens: Wanted | None = None
    concurrent: tuple[int, int] | None = None
    owed: int = 0
    returned: tuple[Returned, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Lease:
    """The leased portion of one limit, and the state of the limit.

    Attributes:
        amount: The leased amount, for `LEASE_SECONDS`.
        left: The amount that no process has leased.
        wait_seconds: Seconds until the smallest useful amount fits; 0 if it fits now.
        reset_seconds: Seconds until nothing that is used or leased counts any more.
    """

    amount: int
    left: int
    wait_seconds: float
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class Granted:
    """The store's answer.

    Attributes:
        second: The store's time, which later returns quote.
        requests: The lease of requests.
        tokens: The lease of tokens.
        concurrent: How many requests the process may have in progress for the next `HOLD_SECONDS`.
    """

    second: int
    requests: Lease
    tokens: Lease
    concurrent: int


class LimitStore(StorePart):
    """The accounts in Redis or Valkey. Requests wait for each call."""

    async def lease(self, account: Account) -> Granted:
        """Take one step, atomically. It must not be repeated, because an amount returned twice would be free.

        Raises:
            StoreUnavailableError: If the store does not answer in time; the step may have been taken.
        """
        limit, under_way = account.concurrent or (0, 0)
        reply = await self._scripts.run(
            "lease_limits",
            self._names.limits(account.key),
            account.holder,
            int(HOLD_SECONDS * 1000),
            *_numbers(account.requests),
            *_numbers(account.tokens),
            *(limit, under_way, account.owed),
            *(part for each in account.returned for part in (_KINDS[each.kind], each.second, each.amount)),
        )
        _, second, requests, tokens, concurrent = reply
        return Granted(int(second), _lease(requests), _lease(tokens), int(concurrent))


def _numbers(wanted: Wanted | None) -> tuple[int, int, int, int]:
    if wanted is None:
        return 0, 0, 0, 0
    return wanted.limit, wanted.least, wanted.now + wanted.ahead, wanted.now


def _lease(reply: list[str]) -> Lease:
    amount, left, wait, reset = map(int, reply)
    return Lease(amount, max(0, left), wait / 1000, reset / 1000)
