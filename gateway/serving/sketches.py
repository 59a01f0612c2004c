"""Sketches of answers, which show from which answer a conversation continued, without keeping any text.

A sketch is a digest of the whole text and the 64 smallest digests of its runs of three words. All of them
use a secret that belongs to one turn, so sketches of different turns cannot be compared, and a guessed text
cannot be checked without the secret. Two sketches of one turn show the share of runs that the two texts have
in common: exactly if both together have at most 64 runs, otherwise estimated from the 64 smallest.
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
_MOST_CHARACTERS: Final = 20_000  # searched for runs of words; about 3 ms
_EXACT_BYTES: Final = 16
_SHINGLE_BYTES: Final = 4
# Words; in scripts without spaces each character counts as a word.
_WORD: Final = re.compile(
    r"[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\U00020000-\U0003ffff]+|\w"
)


class Sketch(NamedTuple):
    """The sketch of one answer.

    Attributes:
        exact: Digest of the whole text.
        shingles: The smallest digests of its runs of words.
    """

    exact: bytes
    shingles: frozenset[int]

    @classmethod
    def of(cls, text: str, secret: bytes) -> Self:
        """The sketch of a normalised text, with the turn's secret."""
        return cls(_digest(text, secret, _EXACT_BYTES), _shingles(_words(text), secret, _WORDS_A_SHINGLE))

    @classmethod
    def of_words(cls, text: str, secret: bytes, words_a_run: int = _WORDS_A_SHINGLE) -> Self:
        """The sketch of a text of which only the words count, and neither case nor punctuation."""
        words = _words(text)
        plain = " ".join(words) + text[_MOST_CHARACTERS:]
        return cls(_digest(plain, secret, _EXACT_BYTES), _shingles(words, secret, words_a_run))

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
        """The runs of words that are in both, as a share of those in either."""
        if self.exact == other.exact:
            return 1.0
        union = nsmallest(SHINGLES, self.shingles | other.shingles)
        return len(self.shingles & other.shingles & set(union)) / len(union)


def which_was_kept(kept: Sketch, first: Sketch, second: Sketch, rules: RegenerateSpec) -> Kept | None:
    """The answer (of two) from which a conversation continues; None if the rules say to ignore it."""
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


def _words(text: str) -> list[str]:
    return _WORD.findall(text[:_MOST_CHARACTERS].casefold())


def _shingles(words: list[str], secret: bytes, words_a_run: int) -> frozenset[int]:
    last = max(1, len(words) - words_a_run + 1)
    runs = {" ".join(words[start : start + words_a_run]) for start in range(last)}
    digests = {int.from_bytes(_digest(run, secret, _SHINGLE_BYTES)) for run in runs}
    return frozenset(nsmallest(SHINGLES, digests))


def _said(rule: Literal["tie", "ignore"]) -> Kept | None:
    return "tie" if rule == "tie" else None


def _digest(text: str, secret: bytes, size: int) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size, key=secret).digest()
