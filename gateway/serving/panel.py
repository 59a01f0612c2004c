"""The policies of one experiment, ready to be asked one question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.config.feedback import Missing
from gateway.errors import RenderError, UpstreamError
from gateway.experiments.snapshot import LiveExperiment
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import ModelFellBack
from gateway.serving.attempts import Answered, Attempts, AttemptStream
from gateway.serving.exchange import Exchange, Respondent
from gateway.serving.kept import keepers
from gateway.upstream.base import ModelTarget, PolicyPart
from gateway.upstream.bound_state import may_go_without, state_of, without_state

PolicyFailure = UpstreamError | RenderError
POLICY_FAILURES: Final = (UpstreamError, RenderError)
PolicyAnswer = bytes | AttemptStream


EJECTED: Final = "ejected"
_TIMEOUT: Final = "timeout"


def failure_reason(error: PolicyFailure) -> str:
    """The failure as a word from a closed set, for metrics."""
    return error.reason if isinstance(error, UpstreamError) else "template"


def is_callers_fault(error: PolicyFailure) -> bool:
    """Whether the request is at fault, and not the policy."""
    return isinstance(error, UpstreamError) and error.is_callers_fault


def missing_of(error: PolicyFailure) -> Missing | None:
    """What is missing of a policy that failed; None of one that was not asked."""
    reason = failure_reason(error)
    if reason == EJECTED:
        return None
    return Missing.TIMEOUT if reason == _TIMEOUT else Missing.FAILURE


class Panel:
    """An experiment's policies, each of which can be asked the same question.

    Args:
        experiment: The policies' experiment.
        exchange: The question and the effort of answering it.
        models: How each model is called.
        attempts: Asks providers.
        hooks: Hear what happens.
        payload: The body to send, if it is not the caller's own.
    """

    __slots__ = ("_attempts", "_hooks", "_payload", "exchange", "experiment", "models")

    def __init__(
        self,
        experiment: LiveExperiment,
        exchange: Exchange,
        models: Mapping[str, ModelTarget],
        attempts: Attempts,
        hooks: Hooks,
        payload: dict[str, Any] | None = None,
    ) -> None:
        self._payload = exchange.question.payload if payload is None else payload
        self.experiment = experiment
        self.exchange = exchange
        self.models = models
        self._attempts = attempts
        self._hooks = hooks

    async def ask(self, policy: int) -> PolicyAnswer:
        """A policy's answer: a JSON object, or a stream whose first event has arrived.

        Raises:
            UpstreamError: If its provider failed, or is not asked at present.
            RenderError: If its template failed.
        """
        payload, part = self._rendered(policy)
        answer = await self._attempts.make(self._respondent(policy), payload, self.exchange, policy_part=part)
        return _content(answer)

    async def stand_in(self, policy: int, failure: PolicyFailure) -> tuple[str | None, PolicyAnswer]:
        """The answer of a fallback of a policy's model, in place of the policy's own.

        Args:
            policy: The policy that failed.
            failure: Its failure. If the policy was only ejected, it is asked after all when its fallbacks
                fail.

        Returns:
            The fallback's name (None if the policy answered after all), and the answer.

        Raises:
            UpstreamError: The policy's failure, if no fallback can answer or the request is at fault.
            RenderError: If the policy's template failed and no fallback can answer.
        """
        if not isinstance(failure, UpstreamError) or failure.is_callers_fault:
            raise failure
        own = self._respondent(policy)
        fallbacks = keepers(self.exchange.question.payload, own.target, own.target.fallbacks)
        respondents = [own, *map(Respondent, fallbacks)]
        # A single message is right for all of them.
        merges = any(target.merges_system for target in fallbacks)
        payload, part = self._rendered(policy, merges_system=merges)
        served, answer, _ = await self._attempts.first_of(respondents, payload, self.exchange, failure, part)
        if served is own:
            return None, _content(answer)
        fallback = served.target.name
        self._hooks.tell(ModelFellBack(self.exchange.request_id, own.target.name, fallback, failure.reason))
        return fallback, _content(answer)

    def names(self, *policies: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of policies, and of their models."""
        compiled = [self.experiment.policies[policy] for policy in policies]
        return tuple([policy.name for policy in compiled]), tuple([policy.model for policy in compiled])

    def targets(self) -> list[ModelTarget]:
        """The model of every policy."""
        return [self.models[policy.model] for policy in self.experiment.policies]

    def without_state(self, maker: int) -> Panel | None:
        """The panel for the question without content that only another model can read.

        Args:
            maker: The policy that made the content and cannot continue.

        Returns:
            This panel itself if there is no such content or the incumbent uses the same model; None if the
            incumbent's model does not accept the question without it.
        """
        incumbent = self.experiment.incumbent
        own, other = (self.targets()[policy] for policy in (maker, incumbent))
        is_same = maker != incumbent and (own.model, own.api_base) == (other.model, other.api_base)
        if is_same or not state_of(self._payload):
            return self
        if not may_go_without(self._payload, other):
            return None if maker != incumbent else self
        return self.with_payload(without_state(self._payload, lambda _part: True))

    def with_payload(self, payload: dict[str, Any]) -> Panel:
        """The panel with another body to send."""
        return Panel(self.experiment, self.exchange, self.models, self._attempts, self._hooks, payload)

    def under_own_name(self, error: PolicyFailure) -> PolicyFailure:
        """A provider's error as the experiment's: neither its words nor its headers tell who was asked."""
        if not isinstance(error, UpstreamError):
            return RenderError(str(error))
        name, message, body = self.experiment.name, str(error), error.body
        if error.is_callers_fault:
            for target in self.targets():
                for hidden in (target.model, target.name):
                    message = message.replace(hidden, name)
                    body = body and body.replace(hidden.encode(), name.encode())
        return UpstreamError(
            message,
            status=error.status,
            reason=error.reason,
            body=body,
            is_callers_fault=error.is_callers_fault,
            retry_after=error.retry_after,
            detail=error.detail,
        )

    def _respondent(self, policy: int) -> Respondent:
        experiment = self.experiment
        compiled = experiment.policies[policy]
        return Respondent(
            self.models[compiled.model],
            experiment.name,
            compiled.name,
            "incumbent" if policy == experiment.incumbent else "candidate",
            compiled.fingerprint,
        )

    def _rendered(self, policy: int, *, merges_system: bool = False) -> tuple[Mapping[str, Any], PolicyPart]:
        question, compiled = self.exchange.question, self.experiment.policies[policy]
        return compiled.put_to(self._payload, question.surface.name, merges_system=merges_system)


def _content(answer: Answered) -> PolicyAnswer:
    return answer if isinstance(answer, AttemptStream) else answer.body
