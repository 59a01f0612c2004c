"""Finds what the next request of a conversation shows of the answer before it.

Clients resend the whole conversation with each request, so nothing has to be reported. A question is known
by a keyed hash of the conversation, for one API key, user and session of one experiment, and its answer by a
sketch (`sketches.py`). The store keeps both until the answer counts. A later request then shows of the answer
that its conversation

    goes on from it         `continued`
    asks nearly the same    `reasked`; so does the same request sent again, unless it is a retry
    holds it edited         `corrected`

Without such a request the answer was `abandoned`; `learning/found_signals.py` counts that. What is found is
counted before the request is answered. If the store is away, the signal is lost and the answer is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Final, Protocol

from gateway.config.found_signals import FoundSignal
from gateway.experiments.found_signals import FoundRules
from gateway.experiments.sealing_key import SealingKeyHolder, SealingKeys
from gateway.experiments.snapshot import LiveExperiment
from gateway.running.store_breaker import StoreBreaker
from gateway.serving.exchange import Question
from gateway.serving.routing import Part, Single
from gateway.serving.sketches import Sketch
from gateway.serving.streamed_text import ReadAlong
from gateway.serving.turn_names import TurnName, turn_names
from gateway.serving.turns import Turns, answer_text, turns_of
from gateway.upstream.base import AnswerStream
from gateway.upstream.json_text import parsed
from gateway.upstream.surfaces import Surface
from policy_store.errors import StoreError
from policy_store.found_signals import HeardAnswer

_SECRET_BYTES: Final = 32
_FEWEST_WORDS: Final = 3  # "Go on" may be said again and again


class HeardAnswers(Protocol):
    """The part of the store that this module needs. Its methods raise StoreError."""

    async def heard_answers(self, name: str, turns: Sequence[str]) -> list[HeardAnswer | None]:
        """The answers to these questions, as far as they are remembered."""
        ...

    async def forget_answer(self, name: str, turn: str) -> None:
        """Forget the answer to a question."""
        ...


class Findings(Protocol):
    """Has counted what is found. No method raises an error."""

    async def answered(self, turn: str, answer: HeardAnswer) -> None:
        """Remember an answer from which a conversation may go on."""
        ...

    async def found(self, response_id: str, signal: FoundSignal | None) -> None:
        """Count what was found of an answer, if it is listed; None: nothing is known, but it is over."""
        ...


@dataclass(frozen=True, slots=True)
class HeardTurn:
    """A question whose answer may be found again.

    Attributes:
        name: The name of the question.
        sketch: The sketch of its words; empty if it is more than a text.
        attempt: A digest of the caller's own name of the request; empty without one.
        surface: The kind of request.
        ask: How often it was asked; always 1, because each answer is found for itself.
    """

    name: TurnName
    sketch: str
    attempt: str
    surface: Surface
    ask: int = 1


@dataclass(frozen=True, slots=True)
class Heard(Single):
    """One policy of a pair answers a question whose answer may be found again."""

    turn: HeardTurn


class Finding:
    """Looks for signals in conversations that are sent back.

    Args:
        store: Remembers answers; its calls are bounded in time.
        keys: Secrets of the keyed hashes, so that texts are neither stored nor can be guessed.
        findings: Told what is found.
        breaker: Open while the store does not answer: no request waits for it then.
    """

    def __init__(
        self, store: HeardAnswers, keys: SealingKeyHolder, findings: Findings, breaker: StoreBreaker
    ) -> None:
        self._store = store
        self._keys = keys
        self._findings = findings
        self._breaker = breaker

    async def part_of(self, experiment: LiveExperiment, question: Question, part: Part) -> Part:
        """The part of a request, with its question's name if it takes part; what it shows is counted.

        Args:
            experiment: As the snapshot has it.
            question: The request.
            part: What was drawn for it.
        """
        rules, facts = experiment.found, experiment.state.facts
        if rules is None or not (experiment.matches_store and facts.counts_reports):
            return part
        turns, keys = turns_of(question.payload, question.surface), self._keys.current
        names = turn_names(keys, turns.asked, experiment, question)
        if not names:
            return part
        if not self._breaker.spares_sessions:
            try:
                await self._look(experiment, rules, question, turns, names)
            except StoreError as error:
                self._breaker.failed(error)
        if not isinstance(part, Single) or question.payload.get("n") not in (None, 1):
            return part
        name = names[0]
        sketch = _question_sketch(turns, _secrets(keys, name.digest)[0])
        turn = HeardTurn(
            name, "" if sketch is None else sketch.written(), name.attempt(question), question.surface
        )
        return Heard(part.assignment, part.policy, turn)

    async def noted(
        self, turn: HeardTurn, response_id: str, reply: bytes | AnswerStream
    ) -> bytes | AnswerStream:
        """The answer; a sketch of it is stored once it is complete."""
        if isinstance(reply, bytes):
            await self._complete(turn, response_id, answer_text(parsed(reply), turn.surface))
            return reply
        return ReadAlong(reply, turn.surface, partial(self._complete, turn, response_id))

    async def _complete(self, turn: HeardTurn, response_id: str, text: str) -> None:
        """Remember a complete answer; one that is not just a text cannot be found again."""
        if not text or self._breaker.spares_sessions:
            return
        sketch = Sketch.of_words(text, _secrets(self._keys.current, turn.name.digest)[0])
        answer = HeardAnswer(response_id, turn.attempt, turn.sketch, sketch.written())
        await self._findings.answered(turn.name.digest.hex(), answer)

    async def _look(
        self,
        experiment: LiveExperiment,
        rules: FoundRules,
        question: Question,
        turns: Turns,
        asked: Sequence[TurnName],
    ) -> None:
        keys, continued = self._keys.current, question.continued
        # Many people begin with the same words, so a first question is only the same one for a named caller.
        is_own = turns.answered is not None or question.voter is not None or continued is not None
        again = asked if is_own or question.is_retry or question.attempt is not None else ()
        before = [name.digest for name in turn_names(keys, turns.answered, experiment, question)]
        if continued is not None:
            before = [bytes.fromhex(continued.turn)] if continued.turn else []
        digests = [*(name.digest for name in again), *before]
        if not digests:
            return
        heard = await self._store.heard_answers(experiment.name, [digest.hex() for digest in digests])
        for name, answer in zip(again, heard, strict=False):
            if answer is not None:
                await self._asked_again(experiment, question, name, answer, is_own=is_own)
        for digest, answer in zip(before, heard[len(again) :], strict=True):
            if answer is not None:
                found = _found(rules, question, turns, answer, _secrets(keys, digest))
                await self._findings.found(answer.response_id, found)

    async def _asked_again(
        self,
        experiment: LiveExperiment,
        question: Question,
        name: TurnName,
        answer: HeardAnswer,
        *,
        is_own: bool,
    ) -> None:
        """The same request as before: the user wants another answer, or the first one got lost."""
        attempt = name.attempt(question)
        is_retry = question.is_retry or (attempt != "" and attempt == answer.attempt)
        if is_own or is_retry:
            await self._findings.found(answer.response_id, None if is_retry else FoundSignal.REASKED)
            await self._store.forget_answer(experiment.name, name.digest.hex())


def _found(
    rules: FoundRules, question: Question, turns: Turns, answer: HeardAnswer, secrets: Sequence[bytes]
) -> FoundSignal | None:
    """What a request shows of the answer before it, of what is listed; None if it is another answer."""
    is_edited = False
    if question.continued is not None:
        if question.continued.response_id != answer.response_id:
            return None
    elif turns.kept is None:
        return None
    else:
        given = Sketch.read(answer.answer)
        kept = [Sketch.of_words(turns.kept, secret) for secret in secrets]
        if max(map(given.similarity, kept)) < rules.answer_similarity:
            return None
        is_edited = all(each.exact != given.exact for each in kept)
    shown = [FoundSignal.CORRECTED] if is_edited else []
    shown += [FoundSignal.REASKED] if _is_same_question(rules, turns, answer, secrets) else []
    return next((each for each in shown if each in rules.signals), FoundSignal.CONTINUED)


def _is_same_question(rules: FoundRules, turns: Turns, answer: HeardAnswer, secrets: Sequence[bytes]) -> bool:
    if not answer.question:
        return False
    before = Sketch.read(answer.question)
    now = [sketch for secret in secrets if (sketch := _question_sketch(turns, secret)) is not None]
    return len(before.shingles) >= _FEWEST_WORDS and any(
        before.similarity(sketch) >= rules.question_similarity for sketch in now
    )


def _question_sketch(turns: Turns, secret: bytes) -> Sketch | None:
    return None if turns.question is None else Sketch.of_words(turns.question, secret, 1)


def _secrets(keys: SealingKeys, digest: bytes) -> list[bytes]:
    """The secrets that sketches of a turn may have, by the newest sealing key first."""
    return [
        blake2b(digest, digest_size=_SECRET_BYTES, key=key, person=b"llmpo heard").digest()
        for key in keys.all
    ]
