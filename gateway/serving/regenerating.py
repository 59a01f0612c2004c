"""A repeated question gets the other policy's answer; the continued conversation shows which one was kept.

Clients need not do anything, because they resend the whole conversation anyway. A question is recognised by
a keyed hash of the conversation, for one API key, user and session of one experiment; its answers are
recognised by sketches (`sketches.py`). The coin decides which policy of the pair answers first. If the
question is asked again after that answer was complete, the other policy answers; further repetitions
alternate. If the conversation continues from one of the first two answers, that is a comparison. It is
counted before the request is answered, so that after a crash the caller's next attempt counts it.

A question that is sent again because its answer was lost is different. If the earlier answer is not
complete, the idempotency key is the same, or the caller's library says that it retries, the same policy
answers.

If the store is away, the comparison is lost: the question is drawn as if it were new, and not remembered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from gateway.config.feedback import RegenerateSpec
from gateway.errors import InvalidFeedbackError
from gateway.experiments.response_ids import Apart, Assignment, ResponseIds
from gateway.experiments.sealing_key import SealingKeyHolder
from gateway.experiments.snapshot import LiveExperiment
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import AskedAgain, StickySkipped
from gateway.running.store_breaker import StoreBreaker
from gateway.serving.exchange import Question
from gateway.serving.routing import (
    Drawn,
    Draws,
    Follow,
    Incumbent,
    Part,
    Single,
    draw_part,
)
from gateway.serving.sketches import Kept, Sketch, which_was_kept, which_was_named
from gateway.serving.streamed_text import ReadAlong
from gateway.serving.turn_names import TurnName, turn_names
from gateway.serving.turns import answer_text, turns_of
from gateway.upstream.base import AnswerStream
from gateway.upstream.json_text import parsed
from gateway.upstream.surfaces import Surface
from policy_store.errors import StoreError
from policy_store.turns import KnownTurn, TurnQuery

_SECOND: Final = 2

ReportKept = Callable[[str, Kept, tuple[str, str]], Awaitable[None]]
"""Has a comparison counted: its id, which answer was kept, and the builds that served both."""


class KnownTurns(Protocol):
    """The part of the store that this module needs."""

    async def ask(self, name: str, asking: TurnQuery) -> tuple[KnownTurn | None, KnownTurn | None]:
        """Register a question; returns what is known about it and the one before. Raises StoreError."""
        ...

    async def keep_answer(
        self, name: str, turn: str, comparison: str, ask: int, sketch: str, build: str
    ) -> None:
        """Remember that an answer is complete. Raises StoreError."""
        ...


@dataclass(frozen=True, slots=True)
class AskedTurn:
    """A question that is being answered.

    Attributes:
        experiment: Name of the experiment.
        name: The name of the question.
        comparison: Id of its comparison.
        ask: How often it was asked, including this time.
        surface: The kind of request.
        build: The build that serves the answer, in hex; empty if that is not known.
    """

    experiment: str
    name: TurnName
    comparison: str
    ask: int
    surface: Surface
    build: str = ""


@dataclass(frozen=True, slots=True)
class Turned(Single):
    """One policy of a pair answers a question that may be asked again."""

    turn: AskedTurn


class Regenerating:
    """Routes questions that may be asked again, and notices which answers are kept.

    Args:
        store: Remembers questions; its calls are bounded in time.
        keys: Secrets of the keyed hashes, so that texts are neither stored nor can be guessed.
        response_ids: Opens the ids of comparisons.
        report: Called with the answer of a comparison that was kept.
        hooks: Hear when a question is asked again, and when the store could not be used.
        breaker: Open while the store does not answer: no request waits for it then.
        draws: Randomness for routing.
    """

    def __init__(
        self,
        *,
        store: KnownTurns,
        keys: SealingKeyHolder,
        response_ids: ResponseIds,
        report: ReportKept,
        hooks: Hooks,
        breaker: StoreBreaker,
        draws: Draws,
    ) -> None:
        self._store = store
        self._keys = keys
        self._response_ids = response_ids
        self._report = report
        self._hooks = hooks
        self._breaker = breaker
        self._draws = draws

    async def part_of(
        self,
        experiment: LiveExperiment,
        question: Question,
        now: float,
        request_id: str,
        seal: Callable[[Assignment], str],
    ) -> Part:
        """The part of a request; a comparison that it completes is counted.

        Args:
            experiment: As the snapshot has it.
            question: The question.
            now: Unix seconds.
            request_id: Id of the present request.
            seal: Makes an id of a comparison.
        """
        facts = experiment.state.facts
        if not (experiment.matches_store and facts.counts_reports):
            return draw_part(experiment, None, self._draws, now)
        turns = turns_of(question.payload, question.surface)
        keys = self._keys.current
        names = turn_names(keys, turns.asked, experiment, question)
        point = names[0].point if names else None
        drawn = draw_part(experiment, None, self._draws, now, point) if names else Incumbent("no_question")
        asked = names if facts.draws_pairs and _may_take_part(names, experiment) else ()
        answered = turn_names(keys, turns.answered, experiment, question)
        answered = answered if _may_take_part(answered, experiment) else ()
        if not (asked or answered or _named_turn(question)):
            return drawn
        if self._breaker.is_open:
            self._hooks.tell(StickySkipped(request_id, experiment.name))
            return drawn
        before_names = [name.digest.hex() for name in answered] or _named_turn(question)
        try:
            known, before = await self._store.ask(
                experiment.name, self._asking(experiment, question, asked, before_names, drawn, seal)
            )
        except StoreError as error:
            self._breaker.failed(error)
            self._hooks.tell(StickySkipped(request_id, experiment.name))
            return drawn
        if before is not None:
            if answered and turns.kept is not None:
                kept = Sketch.of(turns.kept, answered[before.place].secret)
                await self._compare(experiment, before, partial(which_was_kept, kept))
            elif question.continued is not None and turns.asked is not None:
                await self._compare(experiment, before, partial(which_was_named, question.continued.ask))
            if turns.asked is None and facts.draws_pairs:
                # the policy whose answer called the conversation's tools, or whose answer is continued
                earlier = self._opened(before.comparison)
                return Follow(_answering(earlier, before.asks), Apart.NOT_DRAWN) if earlier else drawn
        return drawn if known is None else self._turned(experiment, question, asked, known) or drawn

    async def noted(self, turn: AskedTurn, reply: bytes | AnswerStream) -> bytes | AnswerStream:
        """The answer; a sketch of it is stored once it is complete."""
        if isinstance(reply, bytes):
            await self.complete(turn, answer_text(parsed(reply), turn.surface))
            return reply
        return ReadAlong(reply, turn.surface, partial(self.complete, turn))

    async def complete(self, turn: AskedTurn, text: str) -> None:
        """Remember that a question got an answer; without a text the answer cannot be compared."""
        if self._breaker.is_open:
            return
        sketch = Sketch.of(text, turn.name.secret).written() if text and turn.ask <= _SECOND else ""
        name = turn.name.digest.hex()
        try:
            await self._store.keep_answer(
                turn.experiment, name, turn.comparison, turn.ask, sketch, turn.build
            )
        except StoreError as error:
            self._breaker.failed(error)
        else:
            if turn.ask == _SECOND:
                self._hooks.tell(AskedAgain(turn.experiment))

    def _asking(
        self,
        experiment: LiveExperiment,
        question: Question,
        asked: Sequence[TurnName],
        answered: Sequence[str],
        drawn: Drawn,
        seal: Callable[[Assignment], str],
    ) -> TurnQuery:
        return TurnQuery(
            asked=[name.digest.hex() for name in asked],
            answered=answered,
            generation=experiment.generation,
            proposal=seal(drawn.assignment) if isinstance(drawn, Single) else "",
            attempt=asked[0].attempt(question) if asked else "",
            is_retry=question.is_retry,
            within_seconds=min(experiment.regenerate.within.total_seconds(), experiment.window_seconds),
            window_seconds=experiment.window_seconds,
        )

    async def _compare(
        self,
        experiment: LiveExperiment,
        before: KnownTurn,
        which: Callable[[Sketch, Sketch, RegenerateSpec], Kept | None],
    ) -> None:
        """Have the comparison counted that the continued conversation completes, if any."""
        if not all(before.sketches):
            return
        first, second = map(Sketch.read, before.sketches)
        kept = which(first, second, experiment.regenerate)
        if kept is not None:
            await self._report(before.comparison, kept, before.builds)

    def _turned(
        self, experiment: LiveExperiment, question: Question, asked: Sequence[TurnName], known: KnownTurn
    ) -> Turned | None:
        assignment = self._opened(known.comparison)
        if assignment is None:
            return None
        turn = AskedTurn(experiment.name, asked[known.place], known.comparison, known.asks, question.surface)
        return Turned(assignment, _answering(assignment, known.asks), turn)

    def _opened(self, comparison: str) -> Assignment | None:
        try:
            assignment = self._response_ids.open(comparison)
        except InvalidFeedbackError:  # sealed with a key that is no longer in force
            return None
        return assignment if isinstance(assignment, Assignment) else None


def _named_turn(question: Question) -> list[str]:
    """What stands for the question whose answer a request names."""
    continued = question.continued
    return [continued.turn] if continued is not None and continued.turn else []


def _may_take_part(names: Sequence[TurnName], experiment: LiveExperiment) -> bool:
    return any(name.point < experiment.share for name in names)


def _answering(assignment: Assignment, ask: int) -> int:
    """The policy that answers a question at its n-th asking."""
    pair = (assignment.first, assignment.second)
    return pair[(assignment.side + ask - 1) % len(pair)]
