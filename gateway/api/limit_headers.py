"""How far a key has got with its limits, in the headers clients of each wire format read."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

from gateway.access.limits import Standing

Headers = tuple[tuple[bytes, bytes], ...]


def limit_headers(standings: Iterable[Standing], wire: Literal["openai", "anthropic"], now: float) -> Headers:
    """Limit, what remains, and when all of it is back: a duration for OpenAI's, a moment for Anthropic's.

    Args:
        standings: Of a key.
        wire: Whose names.
        now: Unix seconds.
    """
    if wire == "anthropic":
        return tuple(pair for each in standings for pair in _anthropic(each, now))
    return tuple(pair for each in standings for pair in _openai(each))


def joined(ours: Headers, others: Headers) -> Headers:
    """Ours, and those of a provider that say nothing of the same."""
    if not ours:
        return others
    names = {name for name, _ in ours}
    return (*ours, *((name, value) for name, value in others if name.lower() not in names))


def _openai(standing: Standing) -> Headers:
    unit = standing.unit.encode()
    return (
        (b"x-ratelimit-limit-" + unit, b"%d" % standing.limit),
        (b"x-ratelimit-remaining-" + unit, b"%d" % standing.remaining),
        (b"x-ratelimit-reset-" + unit, duration(standing.reset_seconds).encode()),
    )


def _anthropic(standing: Standing, now: float) -> Headers:
    prefix = b"anthropic-ratelimit-" + standing.unit.encode()
    moment = datetime.fromtimestamp(now, UTC) + timedelta(seconds=standing.reset_seconds)
    return (
        (prefix + b"-limit", b"%d" % standing.limit),
        (prefix + b"-remaining", b"%d" % standing.remaining),
        (prefix + b"-reset", moment.strftime("%Y-%m-%dT%H:%M:%SZ").encode()),
    )


def duration(seconds: float) -> str:
    """A duration as OpenAI writes one: `120ms`, `7.5s`, `1m2s`."""
    milliseconds = max(0, round(seconds * 1000))
    if milliseconds < 1000:  # noqa: PLR2004 - of a second
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:g}s"
    return f"{minutes}m{text}" if minutes else text
