"""A model that compares two answers of a run; it is asked for a verdict once, and the verdict is kept."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from gateway.judging.prompt import judge_messages
from gateway.judging.verdicts import Judged, Note, judged
from gateway.offline.answers import Answers, is_deterministic
from gateway.offline.calls import ModelReply
from gateway.offline.config import LlmJudgeSpec
from gateway.offline.judges import Judge
from gateway.offline.tasks import Task
from gateway.upstream.base import ModelTarget


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
                return Judged("tie", Note.REFUSED)
            return Judged("loss" if first[1].is_refused else "win", Note.REFUSED)
        draw = 0 if self._is_deterministic else number

        async def ask(is_exchanged: bool) -> str:
            shown = (second, first) if is_exchanged else (first, second)
            return await self._ask(draw, task, *shown)

        return await judged(first[1].text, second[1].text, ask)

    @override
    def score(self, task: Task, reply: ModelReply) -> None:
        pass

    async def _ask(
        self, draw: int, task: Task, one: tuple[str, ModelReply], other: tuple[str, ModelReply]
    ) -> str:
        spec = self._spec

        def payload() -> dict[str, Any]:
            reference = None if spec.target is None else " | ".join(task.accepted(spec.target))
            messages = judge_messages(spec.question, task.as_text(), one[1].text, other[1].text, reference)
            return {"messages": messages, **spec.params.request_fields()}

        # A judge that samples is asked anew for each comparison, like policies that sample.
        key = ("judge", task.index, one[0], other[0], draw)
        reply = await self._answers.get(key, self._target, payload)
        return reply.text if reply.is_whole else ""
