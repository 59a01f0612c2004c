"""Limits of an API key as values: how far it has got, and why it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gateway.errors import RateLimitedError

LimitName = Literal["concurrent_requests", "requests_per_minute", "tokens_per_minute"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a key has got with one limit per minute.

    Attributes:
        unit: What is limited.
        limit: The limit.
        remaining: How much it may still use at this moment, as far as this process knows.
        reset_seconds: Seconds until nothing it has used counts any more.
    """

    unit: Literal["requests", "tokens"]
    limit: int
    remaining: int
    reset_seconds: float


_WORDS: Final[Mapping[LimitName, tuple[str, str]]] = {
    "concurrent_requests": ("requests", "requests under way at once"),
    "requests_per_minute": ("requests", "requests per minute"),
    "tokens_per_minute": ("tokens", "tokens per minute"),
}


class LimitReachedError(RateLimitedError):
    """A key used up one of its limits.

    Attributes:
        limit: Which limit.
        standings: How far the key has got with its limits per minute.
    """

    def __init__(
        self, limit: LimitName, size: int, retry_after_seconds: float, standings: tuple[Standing, ...]
    ) -> None:
        kind, words = _WORDS[limit]
        super().__init__(
            f"The limit of this API key is reached: {size} {words}. "
            f"Try again in {retry_after_seconds:.3g} s.",
            kind=kind,
            retry_after_seconds=retry_after_seconds,
        )
        self.limit = limit
        self.standings = standings
