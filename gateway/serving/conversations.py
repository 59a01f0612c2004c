"""What follows from how conversations go on: what is remembered of an answer, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.experiments.snapshot import LiveExperiment
from gateway.serving.continuing import Continuing
from gateway.serving.exchange import Question
from gateway.serving.finding import Finding, Heard, HeardTurn
from gateway.serving.regenerating import AskedTurn, Regenerating, Turned
from gateway.serving.routing import Part, Single
from gateway.upstream.base import AnswerStream, ModelTarget


@dataclass(frozen=True, slots=True)
class Conversations:
    """What follows from conversations.

    Attributes:
        regenerating: Routes questions that may be asked again.
        finding: Finds signals.
        continuing: Knows the answers that their next requests may name.
    """

    regenerating: Regenerating
    finding: Finding
    continuing: Continuing

    async def resolved(
        self, experiment: LiveExperiment, question: Question, models: Mapping[str, ModelTarget]
    ) -> Question:
        """The question as the provider understands it, where conversations are read.

        Raises:
            InvalidRequestError: If it names an answer that is not known.
            UnavailableError: If it names an answer, and the store does not answer.
        """
        if not experiment.reads_conversations:
            return question
        return await self.continuing.resolved(experiment, question, models)

    async def lost(self, part: Part) -> None:
        """Note that another answer is given than that of the pair's policy, which then cannot be compared."""
        if isinstance(part, Turned):
            await self.regenerating.complete(part.turn, "")

    async def noted(
        self,
        experiment: LiveExperiment,
        question: Question,
        response_id: str,
        reply: bytes | AnswerStream,
        part: Single | None = None,
        build: str = "",
    ) -> bytes | AnswerStream:
        """An answer, remembered once it is complete, where conversations are read.

        Args:
            experiment: The experiment.
            question: The request.
            response_id: The answer's id.
            reply: The answer.
            part: What was drawn for the request; None for nothing.
            build: The build that served the answer.
        """
        if not experiment.reads_conversations:
            return reply
        turn: AskedTurn | HeardTurn | None = None
        if isinstance(part, Turned):
            turn = asked = replace(part.turn, build=build)
            reply = await self.regenerating.noted(asked, reply)
        elif isinstance(part, Heard):
            turn = part.turn
            reply = await self.finding.noted(part.turn, response_id, reply)
        return await self.continuing.noted(experiment, question, response_id, reply, turn)
