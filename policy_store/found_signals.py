"""Answers whose conversation may go on, what was found of them, and how users rated the same answers.

Names and sketches are keyed hashes, so the store holds no text that a person wrote. Answers and what is known
of them are deleted some time after the age at which they count; numbers of ratings stay.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Final

from policy_store import codec
from policy_store.roles import Role
from policy_store.scripting import StorePart

UNKNOWN: Final = "unknown"
"""What was found of an answer of which nothing can be known."""
_SLACK_SECONDS: Final = 600  # so much longer it is known what was found, because answers take time
_KEPT_SECONDS: Final = 24 * 3600  # so much longer ratings are kept if no replica counts them


@dataclass(frozen=True, slots=True)
class HeardAnswer:
    """An answer that the next request may go on from.

    Attributes:
        response_id: Its id.
        attempt: A digest of the caller's name of the request; empty without one.
        question: The sketch of the question.
        answer: The sketch of the answer.
    """

    response_id: str
    attempt: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Ratings:
    """The number of answers that users rated good, and bad."""

    good: int = 0
    bad: int = 0


class FoundSignalStore(StorePart):
    """The part of the store for signals that are found in conversations."""

    async def hear_answer(
        self, name: str, generation: int, turn: str, answer: HeardAnswer, digest: str, seconds: float
    ) -> None:
        """Remember the answer to a question, in place of an earlier one, and that nothing follows it yet.

        Args:
            name: Experiment.
            generation: The generation it was given in.
            turn: The name of the question.
            answer: The answer.
            digest: What stands for the answer where it is rated.
            seconds: How long its conversation may go on.
        """
        keys = self._names.experiment(name)
        touched = (keys.heard(turn), keys.generation(generation).noticed(digest))
        text = json.dumps(astuple(answer))
        await self._scripts.run("hear_answer", touched, text, _ms(seconds), _ms(seconds + _SLACK_SECONDS))

    async def heard_answers(self, name: str, turns: Sequence[str]) -> list[HeardAnswer | None]:
        """The answers to these questions, as far as they are remembered."""
        keys = self._names.experiment(name)
        found = await self._answer(self._redis.mget([keys.heard(turn) for turn in turns]))
        return [None if text is None else HeardAnswer(*json.loads(text)) for text in found]

    async def forget_answer(self, name: str, turn: str) -> None:
        """Forget the answer to a question."""
        await self._answer(self._redis.delete(self._names.experiment(name).heard(turn)))

    async def notice(self, name: str, generation: int, digest: str, found: str) -> None:
        """Note what the next request shows of an answer; the first such note stands."""
        key = self._names.experiment(name).generation(generation).noticed(digest)
        await self._scripts.run("notice_signal", (key,), found)

    async def rate_answer(
        self, name: str, generation: int, digest: str, due_at: float, *, is_good: bool
    ) -> None:
        """Note how a user rated an answer; a later rating replaces an earlier one.

        Args:
            name: Experiment.
            generation: The generation in which the answer was given.
            digest: What stands for the answer.
            due_at: When it is known what is found of the answer, in Unix seconds by the store's clock.
            is_good: Whether the rating is good.
        """
        own = self._names.experiment(name).generation(generation)
        said = digest, "good" if is_good else "bad", codec.micros(due_at), _ms(_KEPT_SECONDS)
        await self._scripts.run("rate_answer", (own.noticed(digest), own.rated), *said)

    async def settle_ratings(self, name: str, generation: int, at_most: int) -> int:
        """Add the first ratings that are due to the numbers, each once; returns how many were due."""
        own = self._names.experiment(name).generation(generation)
        _, due = await self._scripts.run("due_reports", (own.rated,), at_most)
        if due:
            touched = (own.rated, own.ratings, *map(own.noticed, due))
            await self._scripts.run("settle_ratings", touched, *due)
        return len(due)

    async def ratings(self, name: str, generation: int) -> Mapping[str, Ratings]:
        """The ratings of answers, by what was found of them."""
        kept = await self._answer(
            self._redis.hgetall(self._names.experiment(name).generation(generation).ratings)
        )
        found: dict[str, dict[str, int]] = defaultdict(dict)
        for field, number in kept.items():
            signal, _, word = field.rpartition(":")
            found[signal][word] = int(number)
        return {signal: Ratings(**words) for signal, words in found.items()}

    async def withdraw_missing(
        self, name: str, generation: int, unit: str, fingerprint: str, informs: Role | None
    ) -> None:
        """Take back what a unit was to come to without a report, if that is what the fingerprint says."""
        own = self._names.experiment(name).generation(generation, informs)
        await self._scripts.run(
            "withdraw_missing", (own.held, own.replaceable), unit, json.dumps(fingerprint)
        )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
