"""What is kept of an answer, so that it can be told which one a conversation went on from: never its text.

A sketch is a digest of the whole text and the smallest 64 digests of its runs of three words, all of them
under a secret that belongs to one turn: sketches of different turns have nothing in common, and without the
secret a text cannot be tried out. Two sketches of one turn show which share of their runs the two texts have
in common: exactly where both together have at most 64 runs, else by the 64 smallest of them.
"""

from __future__ import annotations

import re
import struct
from base64 import b64decode, b64encode
from hashlib import blake2b
from heapq import nsmallest
from typing import Final, Literal, NamedTuple, Self

from gateway.config.feedback import RegenerateSpec

Kept = Literal[0, 1, "tie"]

SHINGLES: Final = 64
_NAMED: Final[dict[int, Kept]] = {1: 0, 2: 1}
_WORDS_A_SHINGLE: Final = 3
_MOST_CHARACTERS: Final = 20_000  # looked at for runs of words: some 3 ms
_EXACT_BYTES: Final = 16
_SHINGLE_BYTES: Final = 4
# Words; of scripts that put no spaces between them each character is one.
_WORD: Final = re.compile(
    r"[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\U00020000-\U0003ffff]+|\w"
)


class Sketch(NamedTuple):
    """What is kept of one answer.

    Attributes:
        exact: Digest of all of it.
        shingles: The smallest digests of its runs of words.
    """

    exact: bytes
    shingles: frozenset[int]

    @classmethod
    def of(cls, text: str, secret: bytes) -> Self:
        """The sketch of a normalised text; `secret` is the turn's."""
        words = _WORD.findall(text[:_MOST_CHARACTERS].casefold())
        last = max(1, len(words) - _WORDS_A_SHINGLE + 1)
        runs = {" ".join(words[start : start + _WORDS_A_SHINGLE]) for start in range(last)}
        digests = {int.from_bytes(_digest(run, secret, _SHINGLE_BYTES)) for run in runs}
        return cls(_digest(text, secret, _EXACT_BYTES), frozenset(nsmallest(SHINGLES, digests)))

    @classmethod
    def read(cls, text: str) -> Self:
        """A sketch as it was written."""
        packed = b64decode(text)
        shingles = struct.unpack(f">{(len(packed) - _EXACT_BYTES) // _SHINGLE_BYTES}I", packed[_EXACT_BYTES:])
        return cls(packed[:_EXACT_BYTES], frozenset(shingles))

    def written(self) -> str:
        """The sketch as text, at most 364 characters."""
        return b64encode(self.exact + struct.pack(f">{len(self.shingles)}I", *sorted(self.shingles))).decode()

    def similarity(self, other: Sketch) -> float:
        """The share of runs of words that are in both, of those that are in one of them."""
        if self.exact == other.exact:
            return 1.0
        union = nsmallest(SHINGLES, self.shingles | other.shingles)
        return len(self.shingles & other.shingles & set(union)) / len(union)


def which_was_kept(kept: Sketch, first: Sketch, second: Sketch, rules: RegenerateSpec) -> Kept | None:
    """Which of the two answers to a question a conversation goes on from; None where that is ignored."""
    if first.exact == second.exact:
        return _said(rules.identical)
    close = kept.similarity(first), kept.similarity(second)
    if max(close) < rules.similarity or close[0] == close[1]:
        return _said(rules.neither)
    return 0 if close[0] > close[1] else 1


def which_was_named(ask: int, first: Sketch, second: Sketch, rules: RegenerateSpec) -> Kept | None:
    """Which answer is kept by a conversation that names one, by the asking that it answered."""
    if first.exact == second.exact:
        return _said(rules.identical)
    return _NAMED[ask] if ask in _NAMED else _said(rules.neither)


def _said(rule: Literal["tie", "ignore"]) -> Kept | None:
    return "tie" if rule == "tie" else None


def _digest(text: str, secret: bytes, size: int) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size, key=secret).digest()
