"""Responses that name the one before (`previous_response_id`), in experiments that read conversations.

The provider keeps the conversation, under an id that the gateway's answer does not show. What the provider
calls an answer is kept for as long as feedback on it counts, under a keyed hash of the gateway's id, with the
question it answered: so the name says which answer was kept. Any policy may go on from it where all of them
ask one account of one provider; elsewhere such a request is refused, as by other experiments.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, Protocol

from gateway.errors import InvalidRequestError, UnavailableError
from gateway.experiments.sealing_key import SealingKeyHolder
from gateway.experiments.snapshot import LiveExperiment
from gateway.running.store_breaker import StoreBreaker
from gateway.serving.exchange import Continued, Question
from gateway.serving.finding import HeardTurn
from gateway.serving.kept import is_same_account
from gateway.serving.regenerating import AskedTurn
from gateway.serving.streamed_text import ended_response
from gateway.upstream.base import AnswerStream, ModelTarget, RawHeaders
from gateway.upstream.json_text import parsed
from gateway.upstream.surfaces import RESPONSES
from policy_store.errors import StoreError
from policy_store.turns import NamedAnswer

PREVIOUS: Final = "previous_response_id"
_DIGEST_BYTES: Final = 16
_LONGEST_SHOWN: Final = 64


class NamedAnswerStore(Protocol):
    """What this needs of the store."""

    async def name_answer(self, name: str, digest: str, answer: NamedAnswer, seconds: float) -> None:
        """Remember an answer. Raises StoreError."""
        ...

    async def named_answer(self, name: str, digests: Sequence[str]) -> NamedAnswer | None:
        """The answer that one of these stands for. Raises StoreError."""
        ...


class Continuing:
    """Lets responses go on from answers of an experiment.

    Args:
        store: Remembers answers; its calls are bounded in time.
        keys: Secrets that names of answers are made with.
        breaker: Open while the store does not answer: no request waits for it then.
    """

    def __init__(self, store: NamedAnswerStore, keys: SealingKeyHolder, breaker: StoreBreaker) -> None:
        self._store = store
        self._keys = keys
        self._breaker = breaker

    async def resolved(
        self, experiment: LiveExperiment, question: Question, models: Mapping[str, ModelTarget]
    ) -> Question:
        """The question as the provider understands it; as it came where no answer can be named.

        Raises:
            InvalidRequestError: If it names an answer that is not known.
            UnavailableError: If it names an answer, and the store that knows answers does not answer.
        """
        named = question.payload.get(PREVIOUS)
        if not isinstance(named, str) or question.surface is not RESPONSES:
            return question
        first, *others = (models[policy.model] for policy in experiment.policies)
        if not (first.speaks(RESPONSES) and all(is_same_account(first, other) for other in others)):
            return question
        if self._breaker.is_open:
            raise _away()
        try:
            found = await self._store.named_answer(experiment.name, self._digests(question, named))
        except StoreError as error:
            self._breaker.failed(error)
            raise _away() from error
        if found is None:
            raise _unknown(experiment, named)
        return question._replace(
            payload={**question.payload, PREVIOUS: found.provider_id},
            continued=Continued(named, found.turn, found.ask),
        )

    async def noted(
        self,
        experiment: LiveExperiment,
        question: Question,
        response_id: str,
        reply: bytes | AnswerStream,
        turn: AskedTurn | HeardTurn | None,
    ) -> bytes | AnswerStream:
        """An answer that the next request may name, once it is complete; other kinds of answers unchanged."""
        if question.surface is not RESPONSES or question.payload.get("store") is False:
            return reply

        # Within a loop of tools an answer belongs to the question that began it.
        if turn is not None:
            answered, ask = turn.name.digest.hex(), turn.ask
        else:
            answered, ask = ("", 0) if question.continued is None else question.continued[1:]

        async def remember(provider_id: Any) -> None:
            if isinstance(provider_id, str) and not self._breaker.is_open:
                answer = NamedAnswer(provider_id, answered, ask)
                await self._remember(experiment, self._digests(question, response_id)[0], answer)

        if isinstance(reply, bytes):
            await remember(parsed(reply).get("id"))
            return reply
        return _NamedOnTheWay(reply, remember)

    async def _remember(self, experiment: LiveExperiment, digest: str, answer: NamedAnswer) -> None:
        try:
            await self._store.name_answer(experiment.name, digest, answer, experiment.window_seconds)
        except StoreError as error:
            self._breaker.failed(error)

    def _digests(self, question: Question, response_id: str) -> list[str]:
        said = repr((question.key, response_id)).encode("utf-8", "surrogatepass")
        return [
            blake2b(said, digest_size=_DIGEST_BYTES, key=key, person=b"llmpo continued").hexdigest()
            for key in self._keys.current.all
        ]


class _NamedOnTheWay:
    """A streamed response. What its provider calls it is remembered before its last event passes."""

    __slots__ = ("_is_remembered", "_remember", "_stream", "headers")

    def __init__(self, stream: AnswerStream, remember: Callable[[Any], Awaitable[None]]) -> None:
        self.headers: RawHeaders = stream.headers
        self._stream = stream
        self._remember = remember
        self._is_remembered = False

    async def read(self) -> bytes:
        """The next block, as it is."""
        block = await self._stream.read()
        if not self._is_remembered and (ended := ended_response(block)) is not None:
            self._is_remembered = True
            await self._remember(ended.get("id"))
        return block

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()


def _away() -> UnavailableError:
    return UnavailableError(
        f"The answer that {PREVIOUS!r} names cannot be looked up while the store does not answer. "
        "Try again shortly, or send the whole conversation."
    )


def _unknown(experiment: LiveExperiment, named: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{PREVIOUS!r} names no answer of {experiment.name!r} that is known: {named[:_LONGEST_SHOWN]!r}. "
        'It may be too old, of another API key or model, or of a request with "store": false. '
        "Send the whole conversation.",
        param=PREVIOUS,
        code="previous_response_not_found",
    )
