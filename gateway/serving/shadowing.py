"""Hands requests on to a judge after their callers were served, with the texts that the callers got."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from gateway.experiments.judge import CompiledJudge
from gateway.experiments.response_ids import Assignment
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import NotJudged
from gateway.judging.texts import conversation_text, text_in, text_to_judge, without_thought
from gateway.judging.unkept import unseen_request
from gateway.judging.unseen import Dropped, UnseenPair
from gateway.serving.panel import Panel
from gateway.serving.streamed_text import StreamedText, ended_response
from gateway.upstream.base import TRACE_HEADERS, AnswerStream, RawHeaders
from gateway.upstream.json_text import written
from gateway.upstream.surfaces import RESPONSES, Surface


class Shadowing:
    """Follows answers of the incumbent to requests that are judged.

    Args:
        offer: Takes what is to be compared; it may drop it.
        hooks: Hear of requests that cannot be judged.
    """

    def __init__(self, offer: Callable[[UnseenPair], None], hooks: Hooks) -> None:
        self._offer = offer
        self._hooks = hooks

    def follow(
        self, panel: Panel, judge: CompiledJudge, assignment: Assignment, reply: bytes | AnswerStream
    ) -> tuple[bytes | AnswerStream, Callable[[], None]]:
        """The answer, unchanged, and what to call once the caller has all of it.

        Args:
            panel: The request.
            judge: The judge.
            assignment: The pair that the judge compares.
            reply: The incumbent's answer.
        """
        policy, surface = panel.experiment.incumbent, panel.exchange.question.surface
        offer = partial(self._offered, panel, judge, assignment)
        if policy not in (assignment.first, assignment.second):
            return reply, lambda: offer({})
        if isinstance(reply, bytes):
            return reply, lambda: offer({policy: text_in(reply, surface)})
        followed = FollowedStream(reply, surface)
        return followed, lambda: offer({policy: followed.text})

    def _offered(
        self, panel: Panel, judge: CompiledJudge, assignment: Assignment, served: dict[int, str | None]
    ) -> None:
        question = panel.exchange.question
        texts = {policy: text for policy, text in served.items() if text is not None}
        if len(texts) < len(served) or conversation_text(question.payload, question.surface) is None:
            self._hooks.tell(NotJudged(panel.experiment.name, Dropped.NOT_TEXT.value))
            return
        self._offer(
            UnseenPair(
                experiment=panel.experiment,
                judge=judge,
                models=panel.models,
                assignment=assignment,
                surface=question.surface,
                headers={name: text for name, text in question.headers.items() if name not in TRACE_HEADERS},
                request=written(unseen_request(question.payload)),
                served=texts,
            )
        )


class FollowedStream:
    """A stream whose text is collected."""

    __slots__ = ("_collected", "_stream", "_surface", "_whole", "headers")

    def __init__(self, stream: AnswerStream, surface: Surface) -> None:
        self.headers: RawHeaders = stream.headers
        self._stream = stream
        self._surface = surface
        self._collected = StreamedText(surface)
        self._whole: Mapping[str, Any] | None = None

    @property
    def text(self) -> str | None:
        """The text of the whole answer; None if it is more than a text, or not whole."""
        if self._surface is RESPONSES:
            return text_to_judge(self._whole, RESPONSES)
        return without_thought(self._collected.as_sent) if self._collected.is_over else None

    async def read(self) -> bytes:
        """The next block, unchanged."""
        block = await self._stream.read()
        if self._surface is RESPONSES:
            self._whole = self._whole or ended_response(block)
        else:
            self._collected.read(block)
        return block

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()
