"""Answers a request: asks a plain model, or routes it to policies of an experiment and labels the answer.

If anything goes wrong before the first byte, the incumbent answers instead and the answer takes no part in
the experiment; if the incumbent fails as well, the fallbacks of its model answer. If all of them fail, the
caller gets the incumbent's error: a request that is itself invalid comes back with the provider's own words.
A candidate has no fallback but the incumbent: another model's answer would be counted as its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from gateway.experiments.collecting import Assigns
from gateway.experiments.response_ids import Apart, ResponseIds
from gateway.experiments.snapshot import LiveExperiment, Snapshot, unknown_model
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import ModelFellBack, Routed
from gateway.serving.answer_ids import AnswerIds, beginning, labelled_answer, named_answer
from gateway.serving.answerable import check_answerable
from gateway.serving.attempts import Attempts, AttemptStream
from gateway.serving.attending import Attending, NoteMissing
from gateway.serving.conversations import Conversations
from gateway.serving.dueling import DuelLabel, DuelStream, asked_of_each, both, merge_answers
from gateway.serving.exchange import Answer, Exchange, Gauge, Question, Respondent
from gateway.serving.failure_reports import FailureReports
from gateway.serving.kept import check_kept_by_model, keepers, without_threads
from gateway.serving.makers import Makers, NotedStream, noted
from gateway.serving.panel import (
    POLICY_FAILURES,
    Panel,
    PolicyAnswer,
    PolicyFailure,
    is_callers_fault,
    missing_of,
)
from gateway.serving.routing import (
    Draws,
    Duel,
    Follow,
    Incumbent,
    Part,
    Single,
    Staged,
    draw_part,
    measured_policies,
    policies_of,
    unseen_beside,
)
from gateway.serving.shadowing import Shadowing
from gateway.serving.sticky import Sticky
from gateway.upstream.base import AnswerStream, ModelTarget
from gateway.upstream.bound_state import state_of, without_state


class Answering:
    """Answers for experiments and plain models.

    Args:
        attempts: Asks providers.
        response_ids: Makes response ids.
        sticky: Routes sessions.
        conversations: What follows from how conversations go on.
        makers: Knows which policies made the opaque parts of conversations.
        shadowing: Hands on requests that are judged.
        hooks: Hear what happens.
        draws: The source of randomness for routing.
        note_missing: Told what is missing of an answer, where that counts if nothing is reported of it.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        attempts: Attempts,
        response_ids: ResponseIds,
        sticky: Sticky,
        conversations: Conversations,
        makers: Makers,
        shadowing: Shadowing,
        hooks: Hooks,
        draws: Draws,
        note_missing: NoteMissing,
        gauge: Callable[[LiveExperiment, Sequence[int]], Gauge | None] = lambda _experiment, _policies: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._attempts = attempts
        self._ids = AnswerIds(response_ids)
        self._failures = FailureReports(hooks)
        self._hooks = hooks
        self._sticky = sticky
        self._conversations = conversations
        self._makers = makers
        self._shadowing = shadowing
        self._draws = draws
        self._attending = Attending(self._ids, note_missing)
        self._gauge = gauge
        self._clock = clock

    async def answer(self, request_id: str, question: Question, snapshot: Snapshot) -> Answer:
        """The answer of the model or experiment that a question names.

        Raises:
            UnknownModelError: If there is none of that name.
            InvalidRequestError: If the experiment cannot answer such a request.
            UnavailableError: If the request goes on from an answer that only the store knows, and it is away.
            UpstreamError: If a plain model's providers failed, or the incumbent's did as well.
            RenderError: If the incumbent's template failed.
        """
        name = question.payload["model"]
        experiment = snapshot.experiments.get(name)
        if experiment is not None:
            question = await self._conversations.resolved(experiment, question, snapshot.models)
            takes_part = check_answerable(experiment, question, snapshot.models)
            asked = asked_of_each(question) if experiment.way.assigns is Assigns.BOTH else question
            exchange = self._attempts.begin(request_id, asked)
            panel = Panel(experiment, exchange, snapshot.models, self._attempts, self._hooks)
            answering = self._from_experiment(panel, takes_part=takes_part)
        else:
            target = snapshot.models.get(name)
            if target is None:
                raise unknown_model(name, snapshot)
            check_kept_by_model(question.payload, question.surface, target)
            exchange = self._attempts.begin(request_id, question)
            answering = self._from_model(target, exchange)
        try:
            return await answering
        except BaseException:
            await exchange.aclose()
            raise

    async def _from_model(self, target: ModelTarget, exchange: Exchange) -> Answer:
        """A model's answer, or a fallback's, exactly as its provider gave it."""
        question = exchange.question
        payload = without_threads(question.payload, question.surface, target)
        respondents = [target, *keepers(payload, target, target.fallbacks)]
        served, answer, failure = await self._attempts.first_of(
            [Respondent(each) for each in respondents], payload, exchange
        )
        model, reason = served.target.name, None if failure is None else failure.reason
        if reason is not None:
            self._hooks.tell(ModelFellBack(exchange.request_id, target.name, model, reason))
        content = answer if isinstance(answer, AttemptStream) else answer.body
        return Answer(exchange, content, models=(model,), fallback=reason, headers=answer.headers)

    async def _from_experiment(self, panel: Panel, *, takes_part: bool) -> Answer:
        part = await self._part(panel, takes_part=takes_part)
        parts = state_of(panel.exchange.question.payload)
        if parts:
            part, panel = await self._continued(panel, part, parts)
        ejected = panel.experiment.ejected  # by a guardrail
        if ejected and not ejected.isdisjoint(policies_of(part)):
            await self._conversations.lost(part)
            part = Incumbent("guardrail")
        if panel.experiment.guardrails:
            panel.exchange.gauge = self._gauge(panel.experiment, measured_policies(panel.experiment, part))
        match part:
            case Follow(policy, why):
                self._routed(panel, policy, reason=why.name.lower())
                return await self._follow(panel, policy, why)
            case Incumbent() as alone:
                self._routed(panel, panel.experiment.incumbent, reason=alone.reason)
                return await self._alone(panel, alone)
            case Staged(policy):
                self._routed(panel, policy, reason="staged")
                return await self._follow(panel, policy, Apart.NOT_DRAWN)
            case Duel() as duel:
                self._routed(panel, *duel.shown)
                return await self._duel(panel, duel)
            case Single() as single:
                self._routed(panel, single.policy)
                return await self._single(panel, single)

    async def _single(self, panel: Panel, single: Single) -> Answer:
        try:
            reply = await panel.ask(single.policy)
        except POLICY_FAILURES as error:
            answer = await self._without(panel, single, error)
            await self._conversations.lost(single)  # the incumbent's answer is none of the pair's
            return answer
        served = self._ids.served(single.assignment, single.policy, await beginning(reply))
        assignment = self._ids.made_for(panel, single.assignment, served)
        response_id = self._ids.sealed(panel, assignment)
        noted = self._attending.over_one(panel, assignment, self._noted(panel, single.policy, reply))
        if panel.experiment.reads_conversations:
            noted = await self._conversations.noted(
                *(panel.experiment, panel.exchange.question, response_id, noted, single),
                assignment.build_of(single.policy),
            )
        return labelled_answer(panel, noted, response_id, *panel.names(single.policy))

    async def _without(self, panel: Panel, part: Single, error: PolicyFailure) -> Answer:
        """Let the incumbent answer. A refusal is a failure only if the incumbent does not refuse as well."""
        is_refusal, what = is_callers_fault(error), missing_of(error)
        if not is_refusal:
            self._attending.missed(panel, part.assignment, what)
        answer = await self._incumbent(panel, {part.policy: error})
        if is_refusal:
            self._attending.missed(panel, part.assignment, what)
        return answer

    async def _continued(self, panel: Panel, part: Part, parts: Sequence[str]) -> tuple[Part, Panel]:
        """The part for a conversation with content that only the policy that made it can continue.

        If the session's own policy made it, the session stays with this policy and counts. If the maker is
        not known, it is taken to be the session's policy or else the incumbent. If a person took the traffic
        back, the incumbent continues.

        Returns:
            The part, and the panel for the question without content that another model made.
        """
        experiment, question = panel.experiment, panel.exchange.question
        makers = await self._makers.of(experiment, parts)
        maker = next((makers[each] for each in reversed(parts) if each in makers), None)
        if maker is not None and (not experiment.state.facts.keeps_sessions or maker in experiment.ejected):
            maker = experiment.incumbent
        is_session = experiment.unit == "session" and question.session is not None
        if maker is None:
            is_kept = is_session or isinstance(part, Follow)
            return part if is_kept else Follow(experiment.incumbent, Apart.PROVIDER_STATE), panel
        models = {each: experiment.policies[policy].model for each, policy in makers.items()}
        foreign = {each for each, model in models.items() if model != experiment.policies[maker].model}
        if foreign:
            panel = panel.with_payload(without_state(question.payload, foreign.__contains__))
        if isinstance(part, Single | Follow) and part.policy == maker and is_session:
            return part, panel
        return Follow(maker, Apart.PROVIDER_STATE), panel

    async def _follow(self, panel: Panel, policy: int, why: Apart) -> Answer:
        """Let a policy continue its conversation, outside any comparison."""
        try:
            reply = await panel.ask(policy)
        except POLICY_FAILURES as error:
            others = panel.without_state(policy)
            if others is None:
                raise self._failures.refused(panel, {policy: error}, error) from error.with_traceback(None)
            if policy != panel.experiment.incumbent:
                return await self._incumbent(others, {policy: error}, why)
            if others is not panel and is_callers_fault(error):
                # The maker of the content may be unknown.
                return await self._incumbent(others, {}, why)
            return await self._fallback(panel, {policy: error})
        return await self._unassigned(panel, policy, reply, {}, why)

    def _noted(self, panel: Panel, policy: int, reply: bytes | AnswerStream) -> bytes | AnswerStream:
        """The answer; its maker is remembered if only the maker can continue it."""
        if isinstance(reply, bytes):
            return noted(self._makers, panel.experiment, policy, reply)
        return NotedStream(reply, self._makers, panel.experiment, policy)

    def _routed(self, panel: Panel, *policies: int, reason: str = "") -> None:
        if self._hooks.hear(Routed):
            names, _ = panel.names(*policies)
            self._hooks.tell(Routed(panel.exchange.request_id, panel.experiment.name, names, reason))

    async def _part(self, panel: Panel, *, takes_part: bool) -> Part:
        experiment, exchange, now = panel.experiment, panel.exchange, self._clock()
        if not takes_part and experiment.staged is None:
            return Incumbent("one_choice")
        question, request_id = exchange.question, exchange.request_id
        if takes_part and experiment.way.assigns is Assigns.IN_TURN:
            seal = partial(self._ids.of, panel)
            regenerating = self._conversations.regenerating
            return await regenerating.part_of(experiment, question, now, request_id, seal)
        part: Part
        if experiment.unit == "session" and (session := question.session) is not None:
            part = await self._sticky.part_of(experiment, session, now, request_id, takes_part=takes_part)
        else:
            part = draw_part(experiment, None, self._draws, now, takes_part=takes_part)
        if experiment.found is None:
            return part
        return await self._conversations.finding.part_of(experiment, question, part)

    async def _duel(self, panel: Panel, duel: Duel) -> Answer:
        panel.exchange.planned = 2
        left, right = duel.shown
        replies = dict(zip(duel.shown, await both(panel.ask(left), panel.ask(right)), strict=True))
        builds = [self._ids.build_of(await beginning(reply)) for reply in replies.values()]
        served = b"".join(builds if duel.assignment.side == 0 else reversed(builds))
        response_id = self._ids.of(panel, duel.assignment, served)
        answers = self._attending.over_both(panel, duel.assignment._replace(served=served), replies)
        whole = [answers[policy] for policy in duel.shown if policy in answers]
        bodies = [answer for answer in whole if isinstance(answer, bytes)]
        streams = [answer for answer in whole if not isinstance(answer, bytes)]
        label = DuelLabel(response_id, panel.experiment.name, int(self._clock()))
        content: bytes | AnswerStream
        match bodies, streams:
            case ([_, _], []):
                for policy, body in zip(duel.shown, bodies, strict=True):
                    self._noted(panel, policy, body)
                content = merge_answers(bodies, label)
            case ([], [first, second]):
                # Clients that did not ask for usage do not expect a last event with usage and no choices.
                options = panel.exchange.question.payload.get("stream_options") or {}
                both_noted = (
                    NotedStream(first, self._makers, panel.experiment, left),
                    NotedStream(second, self._makers, panel.experiment, right),
                )
                content = DuelStream(both_noted, label, shows_usage=bool(options.get("include_usage")))
            case _:
                return await self._half_duel(panel, replies, answers)
        return named_answer(panel, content, response_id, *panel.names(*duel.shown))

    async def _half_duel(
        self,
        panel: Panel,
        replies: Mapping[int, PolicyAnswer | PolicyFailure],
        answers: Mapping[int, bytes | AnswerStream],
    ) -> Answer:
        """Answer after one policy or both failed; no user can compare the answer that is left."""
        failures = {policy: reply for policy, reply in replies.items() if isinstance(reply, POLICY_FAILURES)}
        for policy, answer in answers.items():
            return await self._unassigned(panel, policy, answer, failures)
        return await self._incumbent(panel, failures)

    async def _alone(self, panel: Panel, part: Incumbent) -> Answer:
        """Let the incumbent answer; afterwards a judge may compare two policies on the request."""
        judge = panel.experiment.judge
        if judge is None:
            return await self._incumbent(panel, {})
        unseen = unseen_beside(panel.experiment, part, self._draws, self._clock())
        if unseen is None:
            return await self._incumbent(panel, {})
        policy = panel.experiment.incumbent
        try:
            reply = await panel.ask(policy)
        except POLICY_FAILURES as error:
            return await self._fallback(panel, {policy: error})
        served = self._ids.served(unseen, policy, await beginning(reply))
        made_for = self._ids.made_for(panel, unseen, served)
        followed, when_served = self._shadowing.follow(panel, judge, made_for, reply)
        answer = await self._unassigned(panel, policy, followed, {})
        return answer._replace(when_served=when_served)

    async def _incumbent(
        self, panel: Panel, failures: Mapping[int, PolicyFailure], why: Apart = Apart.NOT_DRAWN
    ) -> Answer:
        """Let the incumbent answer after the policies in `failures` could not."""
        policy = panel.experiment.incumbent
        if policy in failures:
            return await self._fallback(panel, failures)
        try:
            reply = await panel.ask(policy)
        except POLICY_FAILURES as error:
            return await self._fallback(panel, {**failures, policy: error})
        return await self._unassigned(panel, policy, reply, failures, why)

    async def _fallback(self, panel: Panel, failures: Mapping[int, PolicyFailure]) -> Answer:
        """Let a fallback of the incumbent's model answer; the incumbent's failure is among `failures`."""
        policy = panel.experiment.incumbent
        try:
            served, reply = await panel.stand_in(policy, failures[policy])
        except POLICY_FAILURES as error:
            # The traceback holds this frame, and `failures` in it the error: a cycle that only garbage
            # collection would free.
            raise self._failures.refused(panel, failures, error) from error.with_traceback(None)
        if served is None:
            others = {other: error for other, error in failures.items() if other != policy}
            return await self._unassigned(panel, policy, reply, others)
        reason = self._failures.fell_back(panel, failures)
        return labelled_answer(panel, reply, self._ids.unassigned(panel), (), (served,), reason)

    async def _unassigned(
        self,
        panel: Panel,
        policy: int,
        reply: bytes | AnswerStream,
        failures: Mapping[int, PolicyFailure],
        why: Apart = Apart.NOT_DRAWN,
    ) -> Answer:
        """A policy's answer that takes no part in the experiment, after the policies in `failures` failed."""
        reason = self._failures.fell_back(panel, failures)
        noted, response_id = self._noted(panel, policy, reply), self._ids.unassigned(panel, why)
        question = panel.exchange.question
        noted = await self._conversations.noted(panel.experiment, question, response_id, noted)
        return labelled_answer(panel, noted, response_id, *panel.names(policy), reason)
