"""Side by side: two policies answer at once, and a caller that asks for two choices sees both.

Clients that ask for one choice would mix the two up: texts interleave, tool arguments join. So only callers
that say they can take two get two (docs/decisions/0061-two-answers-on-request.md).

This is the only module that takes answers apart and builds them anew. The choices must not reveal which
policy is which, so it keeps only the fields that every OpenAI-format answer has, under one id and one time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from gateway.errors import InvalidRequestError
from gateway.serving.exchange import Question
from gateway.serving.panel import POLICY_FAILURES, PolicyFailure
from gateway.upstream.base import AnswerStream, RawHeaders
from gateway.upstream.failures import broken
from gateway.upstream.json_text import parsed, written
from gateway.upstream.sse import DONE, payloads
from gateway.upstream.surfaces import CHAT

_CHOICE_FIELDS: Final = ("message", "delta", "logprobs", "finish_reason")

# The header and the field of the metadata with which a caller asks for two choices if its client cannot set
# `n`.
CHOICES_HEADER: Final = "x-llmpo-choices"
_CHOICES_FIELD: Final = "llmpo_choices"

_Reply = TypeVar("_Reply")


def asks_for_two(question: Question) -> bool:
    """Whether the caller of an experiment that compares side by side can take two choices.

    Raises:
        InvalidRequestError: If it asks for a number that is neither one nor two.
    """
    asked = (
        ("n", question.payload.get("n") if question.surface is CHAT else None, (1, 2)),
        (CHOICES_HEADER, question.choices, ("1", "2")),
        (
            f"metadata.{_CHOICES_FIELD}",
            (question.payload.get("metadata") or {}).get(_CHOICES_FIELD),
            ("1", "2"),
        ),
    )
    for name, said, known in asked:
        if said is not None and said not in known:
            raise InvalidRequestError(
                "This experiment answers with one choice, or with two to compare: "
                f"{name!r} must be {known[0]!r} or {known[1]!r}.",
                param=name,
                code="invalid_value",
            )
    return any(said == known[1] for _, said, known in asked)


def asked_of_each(question: Question) -> Question:
    """The request for each of the two policies: the same question, for one choice."""
    payload = {name: value for name, value in question.payload.items() if name != "n"}
    return question._replace(payload=payload)


@dataclass(frozen=True, slots=True)
class DuelLabel:
    """The fields that both answers have in common. `created` is in Unix seconds."""

    response_id: str
    model: str
    created: int


async def both(
    first: Coroutine[Any, Any, _Reply], second: Coroutine[Any, Any, _Reply]
) -> tuple[_Reply | PolicyFailure, _Reply | PolicyFailure]:
    """Ask for two answers at the same time; a policy's failure is a result, not an exception.

    If the wait is cut short, neither goes on being made.
    """
    tasks = (asyncio.ensure_future(first), asyncio.ensure_future(second))
    try:
        await asyncio.wait(tasks)
        return _result(tasks[0]), _result(tasks[1])
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _result(task: asyncio.Task[_Reply]) -> _Reply | PolicyFailure:
    # The failure is read from the task, not caught. A caught failure would hold this frame, the frame the
    # task, and the task the failure, so the request would stay in memory until the next garbage collection.
    failure = task.exception()
    return failure if isinstance(failure, POLICY_FAILURES) else task.result()


def merge_answers(bodies: Sequence[bytes], label: DuelLabel) -> bytes:
    """Two whole answers as one with two choices, token usage added up.

    Raises:
        UpstreamError: If one of them holds no choice.
    """
    answers = [parsed(body) for body in bodies]
    merged = {
        "id": label.response_id,
        "object": "chat.completion",
        "created": label.created,
        "model": label.model,
        "choices": [_shown(_only_choice(answer), side) for side, answer in enumerate(answers)],
    }
    if all(isinstance(answer.get("usage"), dict) for answer in answers):
        merged["usage"] = _added(answers[0]["usage"], answers[1]["usage"])
    return written(merged)


class DuelStream:
    """Two streamed answers as one stream: the chunks of both as they arrive, each with its choice's index.

    Args:
        streams: The two policies' answers, in the order shown.
        label: The fields that both have in common.
        shows_usage: Whether the last event has the usage of both together.

    A duel's stream has no headers: those of the providers would reveal which policies answered.
    """

    headers: RawHeaders = ()

    def __init__(
        self, streams: tuple[AnswerStream, AnswerStream], label: DuelLabel, *, shows_usage: bool
    ) -> None:
        self._shows_usage = shows_usage
        self._streams = streams
        self._label = label
        self._reading: dict[asyncio.Task[bytes], int] = {}
        self._usage: dict[int, dict[str, Any]] = {}
        self._is_begun = False
        self._is_done = False

    async def read(self) -> bytes:
        """The next chunks of either side. A failure of one side ends both."""
        if not self._is_begun:
            self._is_begun = True
            self._read_on(0)
            self._read_on(1)
        while self._reading:
            done, _ = await asyncio.wait(self._reading, return_when=asyncio.FIRST_COMPLETED)
            block = b""
            while done:
                block += self._taken(done.pop())
            if block:
                return block
        if self._is_done:
            return b""
        self._is_done = True
        if not self._shows_usage or len(self._usage) < len(self._streams):
            return DONE
        return self._chunk({"choices": [], "usage": _added(self._usage[0], self._usage[1])}) + DONE

    async def aclose(self) -> None:
        """Close both sides."""
        reading = list(self._reading)
        self._reading.clear()
        for task in reading:
            task.cancel()
        async with AsyncExitStack() as closing:
            for stream in self._streams:
                closing.push_async_callback(stream.aclose)
            await asyncio.gather(*reading, return_exceptions=True)

    def _read_on(self, side: int) -> None:
        self._reading[asyncio.ensure_future(self._streams[side].read())] = side

    def _taken(self, task: asyncio.Task[bytes]) -> bytes:
        """The chunks of a finished read; begins the next read of that side."""
        side = self._reading.pop(task)
        try:
            block = task.result()
        finally:
            # a failure holds this frame; if the frame held the failure, only garbage collection would free
            # them
            del task
        if not block:
            return b""
        self._read_on(side)
        return b"".join(self._chunks(block, side))

    def _chunks(self, block: bytes, side: int) -> Iterator[bytes]:
        for payload in payloads(block):
            try:
                event = parsed(payload)
            except ValueError as error:
                raise broken("a malformed event") from error
            if not isinstance(event, dict):
                continue
            if isinstance(event.get("usage"), dict):
                self._usage[side] = event["usage"]
            choices = event.get("choices")
            if isinstance(choices, list) and choices:
                yield self._chunk({"choices": [_shown(choice, side) for choice in choices]})

    def _chunk(self, content: dict[str, Any]) -> bytes:
        event = {
            "id": self._label.response_id,
            "object": "chat.completion.chunk",
            "created": self._label.created,
            "model": self._label.model,
            **content,
        }
        return b"data: " + written(event) + b"\n\n"


def _only_choice(answer: dict[str, Any]) -> Any:
    choices = answer.get("choices")
    if not isinstance(choices, list) or len(choices) != 1:
        raise broken("an answer that does not hold one choice")
    return choices[0]


def _shown(choice: Any, index: int) -> dict[str, Any]:
    if not isinstance(choice, dict):
        raise broken("a choice that is not an object")
    return {"index": index, **{name: choice[name] for name in _CHOICE_FIELDS if name in choice}}


def _added(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Token counts added up, including nested ones; counts that only one side reports are kept."""
    total = {**second, **first}
    for name in first.keys() & second.keys():
        one, other = first[name], second[name]
        if isinstance(one, dict) and isinstance(other, dict):
            total[name] = _added(one, other)
        elif isinstance(one, int | float) and isinstance(other, int | float):
            total[name] = one + other
        else:
            total[name] = other if one is None else one
    return total
