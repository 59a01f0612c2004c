"""The ids of an experiment's answers, and its answers under their ids and the experiment's name."""

from __future__ import annotations

from gateway.experiments.response_ids import NOBODY, Apart, Assignment, ResponseIds, key_digest
from gateway.serving.exchange import Answer
from gateway.serving.panel import Panel
from gateway.serving.relabelling import label_for
from gateway.upstream.base import AnswerStream


class AnswerIds:
    """Seals ids that hold what is needed to count a report on an answer."""

    def __init__(self, response_ids: ResponseIds) -> None:
        self._response_ids = response_ids

    def of(self, panel: Panel, assignment: Assignment) -> str:
        """The id of an answer that takes part."""
        return self._response_ids.seal(self.made_for(panel, assignment), _prefix(panel))

    def made_for(self, panel: Panel, assignment: Assignment) -> Assignment:
        """An assignment that holds the API key and the voter."""
        question, ids = panel.exchange.question, self._response_ids
        voter = NOBODY if question.voter is None else ids.voter(question.key, question.voter)
        return assignment._replace(
            key=key_digest(question.key),
            voter=voter,
            definition=panel.experiment.short_definition,
        )

    def unassigned(self, panel: Panel, why: Apart = Apart.NOT_DRAWN) -> str:
        """The id of an answer that takes no part."""
        key = key_digest(panel.exchange.question.key)
        return self._response_ids.seal_unassigned(panel.experiment.name, _prefix(panel), key, why)


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
