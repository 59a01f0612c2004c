"""Limits of an API key as values: how much of them is used, and the error of a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gateway.errors import RateLimitedError

LimitName = Literal["concurrent_requests", "requests_per_minute", "tokens_per_minute"]


@dataclass(frozen=True, slots=True)
class LimitUse:
    """How much of one limit per minute a key has used.

    Attributes:
        unit: What the limit counts.
        limit: The limit.
        remaining: How much the key may still use now, as far as this process knows.
        reset_seconds: Seconds until the whole limit is available again.
    """

    unit: Literal["requests", "tokens"]
    limit: int
    remaining: int
    reset_seconds: float


_WORDS: Final[Mapping[LimitName, tuple[str, str]]] = {
    "concurrent_requests": ("requests", "requests in progress at once"),
    "requests_per_minute": ("requests", "requests per minute"),
    "tokens_per_minute": ("tokens", "tokens per minute"),
}


class LimitReachedError(RateLimitedError):
    """A key used up one of its limits.

    Attributes:
        limit: Which limit.
        standings: How much of its limits per minute the key has used.
    """

    def __init__(
        self, limit: LimitName, size: int, retry_after_seconds: float, standings: tuple[LimitUse, ...]
    ) -> None:
        kind, words = _WORDS[limit]
        super().__init__(
            f"The limit of this API key is reached: {size} {words}. Try again in {retry_after_seconds:.3g} "
            "s.",
            kind=kind,
            retry_after_seconds=retry_after_seconds,
        )
        self.limit = limit
        self.standings = standings
