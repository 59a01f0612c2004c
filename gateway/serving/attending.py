"""Notes what is missing of answers once they have ended, where that counts if nothing is reported of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from gateway.config.feedback import READ_FROM_ANSWERS, Missing
from gateway.experiments.missing_answers import Lack, lack_of_pair
from gateway.experiments.response_ids import Assignment
from gateway.experiments.snapshot import LiveExperiment
from gateway.serving.answer_ids import AnswerIds
from gateway.serving.panel import (
    POLICY_FAILURES,
    Panel,
    PolicyAnswer,
    PolicyFailure,
    is_callers_fault,
    missing_of,
)
from gateway.serving.shortfalls import WatchedEnd, shortfall
from gateway.upstream.base import AnswerStream
from gateway.upstream.surfaces import Surface

NoteMissing = Callable[[Assignment, LiveExperiment, Missing | Lack], None]
"""Told what is missing of an answer, or of two answers and what that comes to."""


class Attending:
    """Attends to answers until they have ended.

    Args:
        ids: Knows whom an answer is made for.
        note: Told what is missing.
    """

    def __init__(self, ids: AnswerIds, note: NoteMissing) -> None:
        self._ids = ids
        self._note = note

    def over_one(
        self, panel: Panel, assignment: Assignment, reply: bytes | AnswerStream
    ) -> bytes | AnswerStream:
        """An answer; once it has ended, what is missing of it is noted, or that nothing was reported yet."""
        missing = panel.experiment.missing
        if not missing:
            return reply

        def tell(what: Missing | None) -> None:
            self.missed(panel, assignment, what if what in missing else Missing.NO_FEEDBACK)

        return _watched(reply, _surface_read(panel), tell)

    def missed(self, panel: Panel, assignment: Assignment, what: Missing | None) -> None:
        """Note what the answer comes to if nothing is reported of it, where that counts."""
        if what is not None and what in panel.experiment.missing:
            self._note(self._ids.made_for(panel, assignment), panel.experiment, what)

    def over_both(
        self, panel: Panel, assignment: Assignment, replies: Mapping[int, PolicyAnswer | PolicyFailure]
    ) -> dict[int, bytes | AnswerStream]:
        """The answers that two policies gave, by policy; once both have ended, what is missing is noted.

        A policy that was not asked lacks nothing, and a request that both call invalid is no failure: then
        they are not compared.
        """
        answers: dict[int, bytes | AnswerStream] = {
            policy: reply for policy, reply in replies.items() if not isinstance(reply, POLICY_FAILURES)
        }
        failures = {policy: reply for policy, reply in replies.items() if isinstance(reply, POLICY_FAILURES)}
        failed = {policy: missing_of(failure) for policy, failure in failures.items()}
        is_refused = not answers and all(map(is_callers_fault, failures.values()))
        if not panel.experiment.missing or None in failed.values() or is_refused:
            return answers
        ended: dict[int, Missing | None] = dict(failed)

        def end(policy: int, what: Missing | None) -> None:
            ended[policy] = what
            if len(ended) == len(replies):
                self._missed_of_both(panel, assignment, ended, is_shown=not failed)

        if not answers:
            self._missed_of_both(panel, assignment, ended, is_shown=False)
        return {
            policy: _watched(reply, _surface_read(panel), partial(end, policy))
            for policy, reply in answers.items()
        }

    def _missed_of_both(
        self, panel: Panel, assignment: Assignment, ended: Mapping[int, Missing | None], *, is_shown: bool
    ) -> None:
        found = lack_of_pair(
            panel.experiment.missing, ended[assignment.first], ended[assignment.second], is_shown=is_shown
        )
        if found is not None:
            self._note(self._ids.made_for(panel, assignment), panel.experiment, found)


def _surface_read(panel: Panel) -> Surface | None:
    """The kind of request, if anything is to be read from the answer itself."""
    is_read = not READ_FROM_ANSWERS.isdisjoint(panel.experiment.missing)
    return panel.exchange.question.surface if is_read else None


def _watched(
    reply: bytes | AnswerStream, surface: Surface | None, tell: Callable[[Missing | None], None]
) -> bytes | AnswerStream:
    if isinstance(reply, bytes):
        tell(None if surface is None else shortfall(reply, surface))
        return reply
    return WatchedEnd(reply, surface, tell)
