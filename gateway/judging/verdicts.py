"""What a judge's words come to: one word for each order of the answers, and a result of both.

A preference counts only if it is the same in both orders, which cancels any preference for a position.
Everything else is a tie, and each kind is counted apart: disagreement, a declared tie, an unreadable verdict.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal, TypeVar

ResultWord = Literal["win", "loss", "tie"]
_Reply = TypeVar("_Reply")

# The verdict is the only thing that the last line says: any other word may turn its meaning around, as in
# "A is better than B" or "not B".
_LABELS: Final = (
    "answer best better choice conclusion decision final hence i is it it's my one option overall prefer "
    "preference preferred response result so the therefore thus verdict winner"
)
_NO_MORE: Final = rf"\W*(?:(?i:{'|'.join(_LABELS.split())})\b\W*)*"
_VERDICT: Final = re.compile(rf"{_NO_MORE}(A|B|(?:[Aa]\s+)?(?i:TIE))\W*")
_ALONE: Final = re.compile(r"\W*(?:(?:answer|verdict)\W+)?(A|B|TIE)\W*", re.IGNORECASE)
_POSITIONS: Final = ("first_shown", "second_shown")


class Note(StrEnum):
    """How a result came about."""

    AGREED = "agreed"
    DISAGREED = "disagreed"
    UNREADABLE = "unreadable"
    SAME_TEXT = "same text"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Judged:
    """A result: `win` if the first answer is better, and how it came about, if that is known.

    Attributes:
        result: The result.
        note: How it came about; None of a rule, which has nothing to say about that.
        position: The position that was preferred in both orders, 0 for the answer shown first; None if none
            was.
    """

    result: ResultWord
    note: Note | None = None
    position: int | None = None

    @property
    def kind(self) -> str:
        """How a judge's verdict came about: a field of `JudgeTally`."""
        match self.note:
            case Note.AGREED:
                return "agreed"
            case Note.SAME_TEXT:
                return "same_text"
            case Note.UNREADABLE:
                return "unreadable"
            case _:
                return "disagreed" if self.position is None else _POSITIONS[self.position]

    @property
    def tally(self) -> Mapping[str, int]:
        """What a judge's verdict adds to the fields of `JudgeTally`."""
        is_agreed_tie = self.note is Note.AGREED and self.result == "tie"
        return {self.kind: 1, "tied": 1} if is_agreed_tie else {self.kind: 1}


async def judged(first: str, second: str, ask: Callable[[bool], Coroutine[Any, Any, str]]) -> Judged:
    """The result for two answers.

    Args:
        first: The first answer.
        second: The second answer.
        ask: What the judge says when it sees the answers in their order (False) or exchanged (True). Equal
            answers are a tie without asking.
    """
    if first == second:
        return Judged("tie", Note.SAME_TEXT)
    as_given, exchanged = await both_of(ask(False), ask(True))
    return agreed(verdict_in(as_given), verdict_in(exchanged))


async def both_of(
    one: Coroutine[Any, Any, _Reply], other: Coroutine[Any, Any, _Reply]
) -> tuple[_Reply, _Reply]:
    """Both results. If one fails the other is cancelled, and nothing is left running."""
    tasks = asyncio.ensure_future(one), asyncio.ensure_future(other)
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def verdict_in(text: str) -> str | None:
    """`A`, `B` or `TIE`: what the last line says, or None if it says anything else or more."""
    last = text.rstrip().rpartition("\n")[2]
    found = _ALONE.fullmatch(last) or _VERDICT.fullmatch(last)
    return found[1].split()[-1].upper() if found else None


def agreed(as_given: str | None, exchanged: str | None) -> Judged:
    """The result of two verdicts in opposite orders.

    Args:
        as_given: The word for the answers in their order; None for a verdict that cannot be read.
        exchanged: The word for the answers in reverse order.
    """
    if as_given is None or exchanged is None:
        return Judged("tie", Note.UNREADABLE)
    if (as_given, exchanged) == ("A", "B"):
        return Judged("win", Note.AGREED)
    if (as_given, exchanged) == ("B", "A"):
        return Judged("loss", Note.AGREED)
    if as_given == exchanged == "TIE":
        return Judged("tie", Note.AGREED)
    return Judged("tie", Note.DISAGREED, "AB".index(as_given) if as_given == exchanged else None)
