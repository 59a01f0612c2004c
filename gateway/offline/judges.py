"""Decides which of two answers to a task is better: by a rule that scores each, or a judge that sees both.

A tie is a verdict too. It is counted but gives no evidence.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from typing_extensions import override

from gateway.judging.verdicts import Judged
from gateway.offline.calls import ModelReply
from gateway.offline.config import ExactMatchSpec, JudgeSpec, PythonSpec, RegexSpec
from gateway.offline.errors import JudgeError
from gateway.offline.tasks import Task

Score = Callable[[Task, str], float]


class Judge(Protocol):
    """Compares two answers."""

    async def compare(
        self, number: int, task: Task, first: tuple[str, ModelReply], second: tuple[str, ModelReply]
    ) -> Judged:
        """The verdict on two answers.

        Args:
            number: Number of the comparison, which distinguishes repeated comparisons of the same answers.
            task: The task.
            first: The name under which the first answer is kept, and the answer.
            second: The same for the second answer.
        """
        ...

    def score(self, task: Task, reply: ModelReply) -> float | None:
        """The score of one answer, or None for a judge that only compares."""
        ...


class RuleJudge(Judge):
    """Scores each answer by a rule; the higher score wins. A refused request scores below everything.

    Rules run one at a time, in a thread: an operator's function may take seconds and need not be
    thread-safe, and running calls must continue in the meantime.
    """

    def __init__(self, rule: Score) -> None:
        self._rule = rule
        self._known: dict[tuple[int, str], float] = {}
        self._turn = asyncio.Lock()

    @override
    async def compare(
        self,
        number: int,
        task: Task,
        first: tuple[str, ModelReply],
        second: tuple[str, ModelReply],
    ) -> Judged:
        ours, theirs = await self._scored(task, first[1]), await self._scored(task, second[1])
        if ours == theirs:
            return Judged("tie")
        return Judged("win" if ours > theirs else "loss")

    @override
    def score(self, task: Task, reply: ModelReply) -> float:
        if reply.is_refused:
            return -math.inf
        key = (task.index, reply.text)
        if key not in self._known:
            self._known[key] = self._rule(task, reply.text)
        return self._known[key]

    async def _scored(self, task: Task, reply: ModelReply) -> float:
        if reply.is_refused or (task.index, reply.text) in self._known:
            return self.score(task, reply)
        async with self._turn:
            return await asyncio.to_thread(self.score, task, reply)


def rule_of(spec: JudgeSpec, directory: Path) -> Score | None:
    """The rule that a configuration names; None where a model judges.

    Args:
        spec: The judge's section.
        directory: The directory in which an operator's module is searched.

    Raises:
        JudgeError: If the operator's function cannot be loaded.
    """
    if spec.exact_match is not None:
        return exact_match(spec.exact_match)
    if spec.regex is not None:
        return regex(spec.regex)
    return None if spec.python is None else python(spec.python, directory)


def exact_match(spec: ExactMatchSpec) -> Score:
    """1 for an answer that equals an accepted one, otherwise 0."""

    def score(task: Task, answer: str) -> float:
        accepted = {_normal(text, spec.ignore_case) for text in task.accepted(spec.target)}
        return float(_normal(answer, spec.ignore_case) in accepted)

    return score


def regex(spec: RegexSpec) -> Score:
    """1 for an answer in which the pattern finds an accepted text, otherwise 0."""
    pattern = re.compile(spec.pattern, re.IGNORECASE if spec.ignore_case else 0)

    def score(task: Task, answer: str) -> float:
        matches = [found[pattern.groups] or "" for found in pattern.finditer(answer)]
        if not matches:
            return 0.0
        if spec.target is None:
            return 1.0
        said = _normal(matches[0 if spec.take == "first" else -1], spec.ignore_case)
        return float(said in {_normal(text, spec.ignore_case) for text in task.accepted(spec.target)})

    return score


def python(spec: PythonSpec, directory: Path) -> Score:
    """The result of the operator's function.

    Raises:
        JudgeError: If there is no such function; when scoring, if it raises or returns no number.
    """
    function = _function(spec.callable, directory)

    def score(task: Task, answer: str) -> float:
        try:
            value = function(dict(task.fields), answer)
        except Exception as error:
            raise JudgeError(
                f"The judge {spec.callable} raised {type(error).__name__} on task {task.index + 1}. "
                "Correct it and continue with --resume."
            ) from error
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise JudgeError(
                f"The judge {spec.callable} returned {type(value).__name__} {value!r:.40} on task "
                f"{task.index + 1}. Return a finite number or a bool."
            )
        return float(value)

    return score


def _function(name: str, directory: Path) -> Callable[[dict[str, Any], str], Any]:
    module_name, _, attribute = name.partition(":")
    place = str(directory.resolve())
    if place not in sys.path:
        sys.path.insert(0, place)
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        raise JudgeError(
            f"The judge {name} cannot be loaded ({type(error).__name__}: {error}). "
            f"Modules are searched in {directory} and on Python's import path."
        ) from error
    if not callable(found):
        raise JudgeError(f"The judge {name} is a {type(found).__name__}; a function is needed.")
    function: Callable[[dict[str, Any], str], Any] = found
    return function


def _normal(text: str, ignore_case: bool) -> str:
    stripped = text.strip()
    return stripped.casefold() if ignore_case else stripped
