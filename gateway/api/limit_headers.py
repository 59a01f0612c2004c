"""The headers that say how much of its limits a key has used, in each wire format."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from gateway.access.limits import LimitUse
from gateway.upstream.base import RawHeaders

_PARTS: Final = (b"limit", b"remaining", b"reset")


def limit_headers(
    standings: Iterable[LimitUse], wire: Literal["openai", "anthropic"], now: float
) -> RawHeaders:
    """The limit, the rest, and when the whole limit is back (OpenAI: a duration; Anthropic: a date).

    Args:
        standings: How much of its limits the key has used.
        wire: The wire format, which decides the headers' names.
        now: Unix seconds.
    """
    headers: list[tuple[bytes, bytes]] = []
    for each in standings:
        unit = each.unit.encode()
        if wire == "anthropic":
            names = [b"anthropic-ratelimit-%b-%b" % (unit, part) for part in _PARTS]
            moment = datetime.fromtimestamp(now, UTC) + timedelta(seconds=each.reset_seconds)
            reset = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        else:
            names = [b"x-ratelimit-%b-%b" % (part, unit) for part in _PARTS]
            reset = duration(each.reset_seconds)
        values = b"%d" % each.limit, b"%d" % each.remaining, reset.encode()
        headers.extend(zip(names, values, strict=True))
    return tuple(headers)


def joined(ours: RawHeaders, others: RawHeaders) -> RawHeaders:
    """Our headers, and those of the provider that ours do not replace."""
    if not ours:
        return others
    names = {name for name, _ in ours}
    return (*ours, *((name, value) for name, value in others if name.lower() not in names))


def duration(seconds: float) -> str:
    """A duration as OpenAI writes one: `120ms`, `7.5s`, `1m2s`."""
    milliseconds = max(0, round(seconds * 1000))
    if milliseconds < 1000:  # noqa: PLR2004 - of a second
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:g}s"
    return f"{minutes}m{text}" if minutes else text
