"""What API keys used within the last minute, shared by all replicas and leased to them in portions.

A process leases some requests and tokens at once and spends them without asking again; what it does not use
within a second it gives back. So never more than a limit is used within any minute, and what one process
holds idle is little and comes back soon (docs/decisions/0054-limits.md).
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
    """What a process wants of one limit per minute.

    Attributes:
        limit: The limit.
        least: What makes sense to be leased at all.
        now: What is needed at this moment.
        ahead: What will be needed soon, going by the last second; given while plenty is left.
    """

    limit: int
    least: int = 0
    now: int = 0
    ahead: int = 0


@dataclass(frozen=True, slots=True)
class Returned:
    """What was leased and not used.

    Attributes:
        kind: Of which limit.
        second: When it was leased, as the store said.
        amount: How much.
    """

    kind: Literal["requests", "tokens"]
    second: int
    amount: int


@dataclass(frozen=True, slots=True)
class Account:
    """One step: what a process has to say, and what it wants.

    Attributes:
        key: Name of the API key.
        holder: The process.
        requests: Wanted of the limit on requests per minute, or None where there is none.
        tokens: The same of tokens.
        concurrent: Limit of requests under way, or None, and how many this process wants to have under way.
        owed: Tokens used beyond what was leased.
        returned: What was not used.
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
    """What was leased of one limit, and how it stands.

    Attributes:
        amount: Leased, for `LEASE_SECONDS`.
        left: What no process has leased yet.
        wait_seconds: Until what was wanted at least fits; 0 if it does.
        reset_seconds: Until all that is used or leased counts no longer.
    """

    amount: int
    left: int
    wait_seconds: float
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class Granted:
    """The store's answer.

    Attributes:
        second: By the store's clock; what is returned later quotes it.
        requests: Of the limit on requests.
        tokens: Of the limit on tokens.
        concurrent: How many requests the process may have under way for the next `HOLD_SECONDS`.
    """

    second: int
    requests: Lease
    tokens: Lease
    concurrent: int


class LimitStore(StorePart):
    """The accounts in Redis or Valkey. Requests wait for each call."""

    async def lease(self, account: Account) -> Granted:
        """Take one step, atomically. Not to be repeated: what is returned twice would be free.

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
