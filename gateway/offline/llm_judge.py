"""A model that compares two answers, in both orders, which cancels any preference for a position.

A preference counts only if it is the same in both orders. Everything else is a tie: disagreement, a declared
tie, or a verdict that cannot be parsed. The report says how often each happened.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

from typing_extensions import override

from gateway.offline.answers import Answers, is_deterministic
from gateway.offline.calls import ModelReply
from gateway.offline.config import LlmJudgeSpec
from gateway.offline.judges import Judge, Judged
from gateway.offline.tasks import Task
from gateway.upstream.base import ModelTarget

_SYSTEM: Final = (
    "You compare two answers to the same request. Do not answer the request yourself. The order of the "
    "answers and their length do not matter. End with a line that holds one word: A, B or TIE."
)
_VERDICT: Final = re.compile(r"\b(A|B|TIE)\b")


class LlmJudge(Judge):
    """Asks a model which of two answers is better.

    Args:
        spec: The model and the question.
        target: How to reach the model.
        answers: Keeps its verdicts.
    """

    def __init__(self, spec: LlmJudgeSpec, target: ModelTarget, answers: Answers) -> None:
        self._spec = spec
        self._target = target
        self._answers = answers
        self._is_deterministic = is_deterministic(spec.params)

    @override
    async def compare(
        self, number: int, task: Task, first: tuple[str, ModelReply], second: tuple[str, ModelReply]
    ) -> Judged:
        if first[1].is_refused or second[1].is_refused:
            if first[1].is_refused and second[1].is_refused:
                return Judged("tie", "refused")
            return Judged("loss" if first[1].is_refused else "win", "refused")
        if first[1].text == second[1].text:
            return Judged("tie", "same text")
        draw = 0 if self._is_deterministic else number
        as_given, exchanged = await asyncio.gather(
            self._ask(draw, task, first, second), self._ask(draw, task, second, first)
        )
        return agreed(as_given, exchanged)

    @override
    def score(self, task: Task, reply: ModelReply) -> None:
        pass

    async def _ask(
        self, draw: int, task: Task, one: tuple[str, ModelReply], other: tuple[str, ModelReply]
    ) -> str | None:
        # A judge that samples is asked anew for each comparison, like policies that sample.
        key = ("judge", task.index, one[0], other[0], draw)
        reply = await self._answers.get(
            key, self._target, lambda: self._payload(task, one[1].text, other[1].text)
        )
        return verdict_in(reply.text)

    def _payload(self, task: Task, one: str, other: str) -> dict[str, Any]:
        parts = [f"Request:\n{task.as_text()}"]
        if self._spec.target is not None:
            parts.append(f"Reference answer:\n{' | '.join(task.accepted(self._spec.target))}")
        parts += [f"Answer A:\n{one}", f"Answer B:\n{other}", self._spec.question]
        return {
            "messages": [
                {"role": "system", "content": _SYSTEM},
                {"role": "user", "content": "\n\n".join(parts)},
            ],
            **self._spec.params.request_fields(),
        }


def verdict_in(text: str) -> str | None:
    """`A`, `B` or `TIE`: the last such word of the judge's last line that has one, or None."""
    for line in reversed(text.splitlines()):
        if found := _VERDICT.findall(line.upper() if len(line.strip()) <= len("TIE.") else line):
            return str(found[-1])
    return None


def agreed(as_given: str | None, exchanged: str | None) -> Judged:
    """The result of two verdicts in opposite orders.

    Args:
        as_given: The word for the answers in their order; None for a verdict that cannot be parsed.
        exchanged: The word for the answers in reverse order.
    """
    if as_given is None or exchanged is None:
        return Judged("tie", "unreadable")
    if (as_given, exchanged) == ("A", "B"):
        return Judged("win", "agreed")
    if (as_given, exchanged) == ("B", "A"):
        return Judged("loss", "agreed")
    return Judged("tie", "agreed" if as_given == exchanged == "TIE" else "disagreed")
