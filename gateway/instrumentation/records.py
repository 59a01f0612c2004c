"""Every event that the gateway passes to its hooks.

Events are named tuples because the request path makes several of them for each request. Times are monotonic
seconds of the gateway's timer, whose zero differs between processes; a hook that needs a date subtracts the
event's age from its own clock.

`request_id` is the id in the answer's headers; all events of one request carry it. If the caller chose it,
it is well-formed (`running/request_id.py`). `experiment`, `policy`, `model` and `key` are names an operator
declared; `reason` and `code` come from closed sets in the code: an `UpstreamError.reason` or `template`, and
a code of `api/errors.py`. No event holds anything else that a caller or a provider wrote.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

NO_KEY: Final = "open"
"""Stands for the name of a key if no keys are configured, so that callers cannot be told apart."""

AnsweringRole = Literal["incumbent", "candidate"]
AttemptEnding = Literal["answered", "failed", "refused", "abandoned"]
JudgeRole = Literal["judge", "policy"]
FailureReason = Literal["missing", "unknown", "limited"]


class RequestBegun(NamedTuple):
    """A request arrived; a `RequestFinished` follows.

    Attributes:
        endpoint: The route's path as declared, or `unmatched` if there is no such route.
    """

    request_id: str
    endpoint: str


class RequestFinished(NamedTuple):
    """A request was answered.

    Attributes:
        endpoint: The same as in `RequestBegun`.
        status: The status that was sent; 499 if the caller left first.
        started: When the request arrived.
        ended: When its answer was complete, or had failed for good.
        overhead_seconds: Time until the answer's first byte that was not spent waiting for a provider; None
            if the answer is an error or no model was asked for.
        code: What was wrong; empty if nothing was. A stream that broke off has a code and the status 200.
        model: The model or experiment asked for; empty if there is no such model or none was named.
        key: Name of the caller's API key, or `NO_KEY`; empty if the caller is not known.
    """

    request_id: str
    endpoint: str
    status: int
    started: float
    ended: float
    overhead_seconds: float | None
    code: str
    model: str
    key: str


class Routed(NamedTuple):
    """The policies that answer a request for an experiment first were drawn.

    Attributes:
        policies: One, or both of a pair in the order in which they are shown.
        reason: Why the answer takes no part, one of `routing.IncumbentReason`; empty if it takes part.
    """

    request_id: str
    experiment: str
    policies: tuple[str, ...]
    reason: str


class AttemptEnded(NamedTuple):
    """An attempt at a provider is over: its answer is complete, or has failed or was abandoned.

    Attributes:
        model: The model's name in the configuration.
        experiment: The policy's experiment; empty for a model asked by its own name, or as a fallback.
        policy: The policy that was asked; empty for a model.
        role: The policy's role in its experiment; None for a model.
        started: When the provider was asked.
        begun: When the answer's first byte arrived; None if no byte arrived.
        ended: When the answer was complete, or was given up.
        ending: `refused` means that the request itself was at fault, `abandoned` that the caller left or the
            request's time ran out before this attempt had a result.
        reason: Why it failed or was refused; empty otherwise.
        tokens: Tokens of prompt and completion, if the provider reported them.
        key: Name of the caller's API key, or `NO_KEY`.
        is_streamed: Whether the answer was asked for as a stream.
    """

    request_id: str
    model: str
    experiment: str
    policy: str
    role: AnsweringRole | None
    started: float
    begun: float | None
    ended: float
    ending: AttemptEnding
    reason: str
    tokens: tuple[int, int] | None
    key: str
    is_streamed: bool


class LeftAlone(NamedTuple):
    """A policy was not asked, because it is ejected; without a policy, a model."""

    request_id: str
    model: str
    experiment: str
    policy: str


class RetryRefused(NamedTuple):
    """A second attempt was not made, because the budget for them is used up."""

    request_id: str


class ModelFellBack(NamedTuple):
    """One of a model's fallbacks answered in its place."""

    request_id: str
    model: str
    fallback: str
    reason: str


class PolicyFailed(NamedTuple):
    """A policy's answer broke off, or the policy could not answer a valid request."""

    request_id: str
    experiment: str
    policy: str
    reason: str


class FellBack(NamedTuple):
    """A policy or model that was not drawn answered, so the answer takes no part in the experiment.

    Attributes:
        answered: Whether the incumbent answered, or a fallback of its model because it failed as well.
    """

    request_id: str
    experiment: str
    reason: str
    answered: Literal["incumbent", "fallback"]


class StickySkipped(NamedTuple):
    """The store was too slow or away, so a session, or a question, was assigned without it."""

    request_id: str
    experiment: str


class AskedAgain(NamedTuple):
    """A question was asked again, and the pair's other policy has answered it."""

    experiment: str


class Ejected(NamedTuple):
    """A policy (without a policy: a model) failed so often in a row that requests go elsewhere."""

    model: str
    experiment: str
    policy: str


class EjectionEnded(NamedTuple):
    """An ejected model or policy answered, and gets requests again."""

    model: str
    experiment: str
    policy: str


class AuthenticationFailed(NamedTuple):
    """A request had no key or an unknown one, or its address had sent too many such requests."""

    reason: FailureReason


class KeyLimited(NamedTuple):
    """A request was refused because a limit of its API key is reached."""

    request_id: str
    key: str
    limit: str


class LimitsSkipped(NamedTuple):
    """A request passed because the limits of its API key could not be accounted for."""

    request_id: str
    key: str


class FeedbackReceived(NamedTuple):
    """Feedback was accepted; `status` is a `Receipt` that says whether it counts."""

    experiment: str
    signal: str
    status: str


class FeedbackDiscarded(NamedTuple):
    """Feedback was refused, and nothing was changed; `reason` is one of `acknowledging.DISCARD_REASONS`."""

    reason: str


class JudgeCalled(NamedTuple):
    """A provider was asked for the judge's sake: for a verdict (`judge`) or for an answer (`policy`).

    Attributes:
        outcome: `answered`; `unfinished` of a judge's answer that was cut off, filtered, refused or no text;
            the reason of the `UpstreamError`; or `template` if the policy's failed before.
        policy: The policy that was asked; empty for the judge.
    """

    experiment: str
    role: JudgeRole
    outcome: str
    policy: str = ""


class PairJudged(NamedTuple):
    """A judge compared two answers to one request.

    Attributes:
        result: `win`, `loss` or `tie`, of the pair's first policy.
        kind: How that came about, a field of `policy_store.judging.JudgeTally`.
        usd: What its answers and verdicts cost.
    """

    experiment: str
    result: str
    kind: str
    usd: float


class NotJudged(NamedTuple):
    """A request that was drawn for the judge has no verdict.

    Attributes:
        reason: A `judging.unseen.Dropped`.
        usd: What was spent on it nevertheless.
    """

    experiment: str
    reason: str
    usd: float = 0.0


class JudgeQueueChanged(NamedTuple):
    """Another number of requests waits for a judge in this process."""

    experiment: str
    waiting: int


class PlanPublished(NamedTuple):
    """A new plan of an experiment is in force."""

    experiment: str
    version: int
    comparisons: int
    duration_seconds: float


class PlanningFailed(NamedTuple):
    """A plan could not be computed, published or acted on; the last good one stays in force."""

    experiment: str
    reason: str


class DecisionTaken(NamedTuple):
    """This replica decided on an experiment; `champion` is the certified policy, if there is one."""

    experiment: str
    generation: int
    state: str
    champion: str | None


class GuardrailActed(NamedTuple):
    """A guardrail found a policy worse; `did` is what this replica did, a `Deed`."""

    experiment: str
    guardrail: str
    policy: str
    did: str


class MovedByHand(NamedTuple):
    """A person moved an experiment through this replica; `actor` is the name of the person's key."""

    experiment: str
    generation: int
    verb: str
    actor: str
    reason: str
    state: str
    incumbent: str


class WebhookAttempted(NamedTuple):
    """This replica sent a webhook an event; `outcome` is what came of it, a `DeliveryOutcome`."""

    webhook: str
    outcome: str


GatewayEvent = (
    RequestBegun
    | RequestFinished
    | Routed
    | AttemptEnded
    | LeftAlone
    | RetryRefused
    | ModelFellBack
    | PolicyFailed
    | FellBack
    | StickySkipped
    | AskedAgain
    | Ejected
    | EjectionEnded
    | AuthenticationFailed
    | KeyLimited
    | LimitsSkipped
    | FeedbackReceived
    | FeedbackDiscarded
    | JudgeCalled
    | PairJudged
    | NotJudged
    | JudgeQueueChanged
    | PlanPublished
    | PlanningFailed
    | DecisionTaken
    | GuardrailActed
    | MovedByHand
    | WebhookAttempted
)
