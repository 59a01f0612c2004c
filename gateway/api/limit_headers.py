"""The headers that say how much of its limits a key has used, in each wire format."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

from gateway.access.limits import LimitUse
from gateway.upstream.base import RawHeaders


def limit_headers(
    standings: Iterable[LimitUse], wire: Literal["openai", "anthropic"], now: float
) -> RawHeaders:
    """The limit, the rest, and when the whole limit is back (OpenAI: a duration; Anthropic: a date).

    Args:
        standings: How much of its limits the key has used.
        wire: The wire format, which decides the headers' names.
        now: Unix seconds.
    """
    if wire == "anthropic":
        return tuple(pair for each in standings for pair in _anthropic(each, now))
    return tuple(pair for each in standings for pair in _openai(each))


def joined(ours: RawHeaders, others: RawHeaders) -> RawHeaders:
    """Our headers, and those of the provider that ours do not replace."""
    if not ours:
        return others
    names = {name for name, _ in ours}
    return (*ours, *((name, value) for name, value in others if name.lower() not in names))


def _openai(standing: LimitUse) -> RawHeaders:
    unit = standing.unit.encode()
    return (
        (b"x-ratelimit-limit-" + unit, b"%d" % standing.limit),
        (b"x-ratelimit-remaining-" + unit, b"%d" % standing.remaining),
        (b"x-ratelimit-reset-" + unit, duration(standing.reset_seconds).encode()),
    )


def _anthropic(standing: LimitUse, now: float) -> RawHeaders:
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
