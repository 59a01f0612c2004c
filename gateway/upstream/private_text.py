"""Blanks the operator's secrets and prompts in a provider's message before it is passed on.

Providers quote what they refuse: a key (whole, masked or truncated), a header, or a policy's prompt.
Messages of failed answers are searched for all of these, in every spelling that they may use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any, Final
from urllib.parse import quote, quote_plus

from gateway.running.logs import BLANK, redact_text

MAX_CHARACTERS: Final = 4096
_SHORTEST: Final = 4  # anything shorter is no secret and occurs in every text
_PREFIX: Final = 8
# A run of this many of a prompt's characters is no coincidence.
_RUN: Final = 20
_STEP: Final = _RUN // 2
_MOST_PLACES: Final = 8
# A key as providers mask it: `sk-ab***yz`, `sk-...yz`.
_MASKED: Final = re.compile(r"([^\s*•…]{0,64}?)([*•…]+|\.{3,}|[xX]{4,})([^\s*•…]{0,64})")
_LAST: Final = re.compile(r"(ending (?:in|with)|ends (?:in|with)|last \w+ characters?:?) [`'\"]?([\w-]+)")


class Blanker:
    """Blanks the operator's secrets and texts.

    Args:
        secrets: Keys and other secrets, of which no part may be shown.
        texts: Prompts and other texts, of which no longer part may be shown.
    """

    def __init__(self, secrets: Iterable[str] = (), texts: Iterable[str] = ()) -> None:
        self._secrets = sorted({one for one in secrets if len(one) >= _SHORTEST}, key=len, reverse=True)
        self._spellings = sorted({form for one in self._secrets for form in _spellings(one)}, key=len)[::-1]
        self._texts = [form for one in texts for form in _escapes(one.strip()) if len(form) >= _SHORTEST]

    def text(self, text: str) -> str:
        """A text with its private parts blanked, shortened if it is longer than any message should be."""
        text = text[:MAX_CHARACTERS]
        for spelling in self._spellings:
            text = text.replace(spelling, BLANK)
        for secret in self._secrets:
            text = _without_parts(text, secret)
        for private in self._texts:
            text = _without_runs(text, private)
        return redact_text(text)

    def value(self, value: Any) -> Any:
        """JSON with the private parts of all its texts blanked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(one) for one in value]
        if isinstance(value, Mapping):
            return {self.text(str(name)): self.value(one) for name, one in value.items()}
        return value


def all_texts(value: Any) -> Iterator[str]:
    """Every text inside JSON, except the names of fields."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from all_texts(one)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from all_texts(one)


def _escapes(text: str) -> set[str]:
    """The text itself, as escaped in JSON, and as escaped in JSON inside JSON."""
    once = json.dumps(text, ensure_ascii=False)[1:-1]
    return {text, once, json.dumps(text)[1:-1], json.dumps(once, ensure_ascii=False)[1:-1]}


def _spellings(secret: str) -> set[str]:
    return _escapes(secret) | {quote(secret, safe=""), quote(secret), quote_plus(secret), escape(secret)}


def _without_parts(text: str, secret: str) -> str:
    """A text without the rest of a masked secret: its ends around a mask, its beginning or its end."""

    def masked(found: re.Match[str]) -> str:
        lead, mask, tail = found.groups()
        begin = next(size for size in range(len(lead), -1, -1) if secret.startswith(lead[len(lead) - size :]))
        end = next(size for size in range(len(tail), -1, -1) if secret.endswith(tail[:size]))
        shown = lead[: len(lead) - begin], tail[end:]
        return f"{shown[0]}{BLANK}{shown[1]}" if begin + end > 1 else lead + mask + tail

    def last(found: re.Match[str]) -> str:
        return f"{found[1]} {BLANK}" if secret.endswith(found[2]) else found[0]

    text = _LAST.sub(last, _MASKED.sub(masked, text))
    if len(secret) < 2 * _PREFIX:
        return text
    return re.sub(re.escape(secret[:_PREFIX]) + r"[\w.*…-]*", BLANK, text)


def _without_runs(text: str, private: str) -> str:
    """A text without the runs of characters that it shares with a private text."""
    if len(private) < _RUN:
        return text.replace(private, BLANK)
    places: dict[str, list[int]] = {}
    for at in range(len(text) - _STEP + 1):
        places.setdefault(text[at : at + _STEP], []).append(at)
    runs: list[tuple[int, int]] = []
    is_found = bytearray(len(text))  # so that repetitions are searched only once
    for origin in range(0, len(private) - _STEP + 1, _STEP):
        for at in places.get(private[origin : origin + _STEP], [])[:_MOST_PLACES]:
            if not (is_found[at] and is_found[at + _STEP - 1]) and (run := _run(text, at, private, origin)):
                runs.append(run)
                is_found[run[0] : run[1]] = b"\1" * (run[1] - run[0])
    for start, end in reversed(list(_joined(sorted(runs)))):
        text = text[:start] + BLANK + text[end:]
    return text


def _run(text: str, at: int, private: str, origin: int) -> tuple[int, int] | None:
    """The run around these places in which two texts agree; None if it is too short."""
    start, end, before, after = at, at, origin, origin
    while start > 0 and before > 0 and text[start - 1] == private[before - 1]:
        start, before = start - 1, before - 1
    while end < len(text) and after < len(private) and text[end] == private[after]:
        end, after = end + 1, after + 1
    return (start, end) if end - start >= _RUN else None


def _joined(runs: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Runs in order, with overlapping ones merged."""
    if not runs:
        return
    start, end = runs[0]
    for next_start, next_end in runs[1:]:
        if next_start > end:
            yield start, end
            start = next_start
        end = max(end, next_end)
    yield start, end
