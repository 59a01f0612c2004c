"""The ids of an experiment's answers, and its answers under their ids and the experiment's name."""

from __future__ import annotations

from gateway.experiments.response_ids import (
    NOBODY,
    Apart,
    Assignment,
    ResponseIds,
    key_digest,
)
from gateway.experiments.segments import segments_in
from gateway.experiments.served import UNKNOWN_BUILD
from gateway.serving.attempts import AttemptStream
from gateway.serving.exchange import Answer
from gateway.serving.panel import Panel, PolicyAnswer, PolicyFailure
from gateway.serving.relabelling import label_for
from gateway.upstream.base import AnswerStream


class AnswerIds:
    """Seals ids that hold what is needed to count a report on an answer."""

    def __init__(self, response_ids: ResponseIds) -> None:
        self._response_ids = response_ids
        self._builds = response_ids.builds

    def of(self, panel: Panel, assignment: Assignment, served: bytes = b"") -> str:
        """The id of an answer that takes part.

        Args:
            panel: The request.
            assignment: What the answer was given for.
            served: The builds that served both policies; empty if the assignment has them.
        """
        return self.sealed(panel, self.made_for(panel, assignment, served))

    def sealed(self, panel: Panel, assignment: Assignment) -> str:
        """The id of an answer that takes part, from an assignment that `made_for` completed."""
        return self._response_ids.seal(assignment, _prefix(panel))

    def build_of(self, answer: bytes) -> bytes:
        """The build that served an answer, of which this is all or the beginning."""
        return self._builds.of(answer)

    def served(self, assignment: Assignment, policy: int, answer: bytes) -> bytes:
        """The builds that served both policies, from one policy's answer: 0 for the other one."""
        if policy == assignment.first:
            return self._builds.of(answer) + UNKNOWN_BUILD
        return UNKNOWN_BUILD + (self._builds.of(answer) if policy == assignment.second else UNKNOWN_BUILD)

    def made_for(self, panel: Panel, assignment: Assignment, served: bytes = b"") -> Assignment:
        """An assignment that holds the API key, the voter, the builds and the segments."""
        question, ids = panel.exchange.question, self._response_ids
        voter = NOBODY if question.voter is None else ids.voter(question.key, question.voter)
        return assignment._replace(
            key=key_digest(question.key),
            voter=voter,
            definition=panel.experiment.short_definition,
            served=served or assignment.served,
            segments=segments_in(panel.experiment.segments, question.payload),
        )

    def unassigned(self, panel: Panel, why: Apart = Apart.NOT_DRAWN) -> str:
        """The id of an answer that takes no part."""
        question, experiment = panel.exchange.question, panel.experiment
        # as long as the id of an answer that takes part
        segments = segments_in(experiment.segments, question.payload)
        key = key_digest(question.key)
        return self._response_ids.seal_unassigned(experiment.name, _prefix(panel), key, why, segments)


async def beginning(reply: PolicyAnswer | PolicyFailure) -> bytes:
    """A whole answer, or the first block of a stream; nothing of a failure."""
    if isinstance(reply, AttemptStream):
        return await reply.first_block()
    return reply if isinstance(reply, bytes) else b""


def labelled_answer(
    panel: Panel,
    reply: bytes | AnswerStream,
    response_id: str,
    policies: tuple[str, ...],
    models: tuple[str, ...],
    fallback: str | None = None,
) -> Answer:
    """One policy's answer, or a fallback's, under the experiment's name and an id of the gateway's."""
    label = label_for(panel.exchange.question, response_id, panel.experiment.name)
    content = label.relabel(reply) if isinstance(reply, bytes) else label.relabel_stream(reply)
    return named_answer(panel, content, response_id, policies, models, fallback)


def named_answer(
    panel: Panel,
    content: bytes | AnswerStream,
    response_id: str,
    policies: tuple[str, ...],
    models: tuple[str, ...],
    fallback: str | None = None,
) -> Answer:
    """The answer to an exchange, with the names of those that gave it."""
    return Answer(
        panel.exchange,
        content,
        policies,
        models,
        fallback,
        response_id=response_id,
        keep_seconds=panel.experiment.window_seconds,
    )


def _prefix(panel: Panel) -> str:
    return panel.exchange.question.surface.id_prefix
