"""Data about questions that may be asked again: which policy answers first, and sketches of both answers.

Every name and every sketch is a keyed hash: the store holds no text that a person wrote, and deletes a
question after the time that its experiment declares.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from policy_store.scripting import StorePart


@dataclass(frozen=True, slots=True)
class TurnQuery:
    """A question, and the data to remember about it.

    Attributes:
        asked: The names that may stand for the question, the first for new entries; empty for none.
        answered: The names that may stand for the question answered before it; empty for none.
        generation: The current generation.
        proposal: Id of the comparison to begin if the question is new; empty to begin none.
        attempt: A digest of the caller's idempotency key; empty without one.
        is_retry: Whether the caller's library says that it retries the request.
        within_seconds: How long it may be asked again.
        window_seconds: How long a repeated question is remembered, so that the conversation can continue.
    """

    asked: Sequence[str]
    answered: Sequence[str]
    generation: int
    proposal: str
    attempt: str
    is_retry: bool
    within_seconds: float
    window_seconds: float


@dataclass(frozen=True, slots=True)
class KnownTurn:
    """The data remembered about a question.

    Attributes:
        place: The index of its name under which it was found.
        comparison: Id of its comparison.
        asks: How often it was asked, without retries.
        sketches: The sketches of the first and the second answer; empty if there is none.
        builds: The builds that served them, in hex; empty if that is not known.
    """

    place: int
    comparison: str
    asks: int
    sketches: tuple[str, str]
    builds: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class NamedAnswer:
    """An answer that the next request may name instead of sending the conversation.

    Attributes:
        provider_id: What its provider calls it.
        turn: What stands for the question it answered; empty where it belongs to no comparison.
        ask: Which asking it answered, from 1.
    """

    provider_id: str
    turn: str
    ask: int


class TurnStore(StorePart):
    """Turns in Redis or Valkey."""

    async def ask(self, name: str, asking: TurnQuery) -> tuple[KnownTurn | None, KnownTurn | None]:
        """Register a question; returns what is known about it, including this time, and about the one before.

        A question counts as asked again if the last answer was complete, unless it is a retry.
        """
        keys = self._names.experiment(name)
        reply = await self._scripts.run(
            "ask_turn",
            [keys.turn(digest) for digest in (*asking.asked, *asking.answered)],
            len(asking.asked),
            asking.generation,
            asking.proposal,
            asking.attempt,
            int(asking.is_retry),
            round(asking.within_seconds * 1000),
            round(asking.window_seconds * 1000),
        )
        return _known(reply[1:8]), _known(reply[8:15])

    async def keep_answer(
        self, name: str, turn: str, comparison: str, ask: int, sketch: str, build: str = ""
    ) -> None:
        """Remember that an answer is complete; nothing happens if the question was deleted.

        Args:
            name: Experiment.
            turn: The name of the question.
            comparison: Id of the comparison for which it was asked.
            ask: The number of the asking that was answered, from 1.
            sketch: The sketch of the answer; empty if it cannot be compared.
            build: The build that served it, in hex; empty if that is not known.
        """
        key = self._names.experiment(name).turn(turn)
        await self._scripts.run("keep_answer", (key,), comparison, ask, sketch, build)

    async def name_answer(self, name: str, digest: str, answer: NamedAnswer, seconds: float) -> None:
        """Remember an answer under what stands for its own id."""
        key = self._names.experiment(name).continued(digest)
        await self._answer(self._redis.set(key, json.dumps(astuple(answer)), ex=max(1, round(seconds))))

    async def named_answer(self, name: str, digests: Sequence[str]) -> NamedAnswer | None:
        """The answer that one of these stands for, as far as it is known."""
        keys = self._names.experiment(name)
        found = await self._answer(self._redis.mget([keys.continued(digest) for digest in digests]))
        return next((NamedAnswer(*json.loads(text)) for text in found if text is not None), None)


def _known(said: Sequence[str | int]) -> KnownTurn | None:
    place, comparison, asks, *words = said
    if place == -1:
        return None
    first, second, first_build, second_build = map(str, words)
    return KnownTurn(int(place), str(comparison), int(asks), (first, second), (first_build, second_build))
