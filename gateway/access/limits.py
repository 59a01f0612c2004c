"""Limits of an API key as values: what it may use, how far it has got, and why it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from gateway.errors import RateLimitedError

LimitName = Literal["concurrent_requests", "requests_per_minute", "tokens_per_minute"]


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a key may use; None is no limit.

    Attributes:
        concurrent_requests: Requests under way at once.
        requests_per_minute: Requests within any minute.
        tokens_per_minute: Tokens of prompts and answers within any minute.
    """

    concurrent_requests: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def with_own(self, own: Mapping[str, int | None]) -> KeyLimits:
        """These limits where a key has none of its own."""
        given = {name: value for name, value in own.items() if value is not None}
        return KeyLimits(**{**self.given(), **given})

    def given(self) -> dict[str, int]:
        """The limits there are, by name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def __bool__(self) -> bool:
        return bool(self.given())


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a key has got with one limit per minute.

    Attributes:
        unit: What is limited.
        limit: The limit.
        remaining: What it may still use at this moment, as far as this process knows.
        reset_seconds: Until all it used counts no longer.
    """

    unit: Literal["requests", "tokens"]
    limit: int
    remaining: int
    reset_seconds: float


_WORDS: Mapping[LimitName, tuple[str, str]] = {
    "concurrent_requests": ("requests", "requests under way at once"),
    "requests_per_minute": ("requests", "requests per minute"),
    "tokens_per_minute": ("tokens", "tokens per minute"),
}


class LimitReachedError(RateLimitedError):
    """A key used up one of its limits.

    Attributes:
        limit: Which.
        standings: How far it has got with those per minute.
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
