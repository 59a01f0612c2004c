"""Every event the gateway tells its hooks of.

Events are named tuples because the request path makes several of them for each request. Times are seconds of
the gateway's timer, which only ever grows and does not start at the same moment in any two processes; a hook
that wants a date takes the difference to now from its own clock.

`request_id` is the id the caller finds in the answer's headers, the same in all events of one request.
`experiment`, `policy`, `model` and `key` are names an operator declared; `reason` comes from a closed set in
the code: an `UpstreamError.reason`, or `template`. Nothing a caller or a provider wrote is in any event.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Role = Literal["incumbent", "candidate"]
Ending = Literal["answered", "failed", "refused", "abandoned"]
FailureReason = Literal["missing", "unknown", "limited"]


class RequestFinished(NamedTuple):
    """A request for a model or an experiment was answered.

    Attributes:
        endpoint: The route's path.
        status: What was sent; 499 where the caller left first.
        started: When the request arrived.
        ended: When its answer was complete, or known not to become so.
        overhead_seconds: Time until the answer's first byte that was not spent waiting for a provider; None
            where the answer is an error.
    """

    request_id: str
    endpoint: str
    status: int
    started: float
    ended: float
    overhead_seconds: float | None


class AttemptEnded(NamedTuple):
    """A provider was asked, and there will be no more of its answer.

    Attributes:
        model: The model's name in the configuration.
        experiment: Whose policy was asked; empty for a model asked by its own name, or as a fallback.
        policy: Which; empty likewise.
        role: The policy's in its experiment; None without one.
        started: When the provider was asked.
        begun: When the answer's first byte was there; None if there was none.
        ended: When the answer was complete, or given up.
        ending: `refused` means that the request itself was at fault, `abandoned` that the caller left or the
            request's time ran out before this attempt could show anything.
        reason: Why it failed or was refused; empty otherwise.
        tokens: Of prompt and completion, as far as the provider reported them.
    """

    request_id: str
    model: str
    experiment: str
    policy: str
    role: Role | None
    started: float
    begun: float | None
    ended: float
    ending: Ending
    reason: str
    tokens: tuple[int, int] | None


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
    """A policy could not answer a request that is not itself at fault, or broke off."""

    request_id: str
    experiment: str
    policy: str
    reason: str


class FellBack(NamedTuple):
    """Another policy or model than the one drawn answered, so the answer takes no part in the experiment."""

    request_id: str
    experiment: str
    reason: str


class StickySkipped(NamedTuple):
    """The store was too slow or away, so a session was assigned without it."""

    request_id: str
    experiment: str


class Ejected(NamedTuple):
    """A model or policy failed so often in a row that requests go elsewhere. Without policy: the model."""

    model: str
    experiment: str
    policy: str


class Readmitted(NamedTuple):
    """What was ejected answered and takes part again."""

    model: str
    experiment: str
    policy: str


class AuthenticationFailed(NamedTuple):
    """A request carried no key, an unknown one, or came from an address after too many of those."""

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
    """Feedback was accepted; `status` says whether it was counted, is pending or was there before."""

    experiment: str
    signal: str
    status: str


class FeedbackDiscarded(NamedTuple):
    """Feedback was refused, and nothing was changed; `reason` is one of `feedback.DISCARD_REASONS`."""

    reason: str


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
    """This replica ended an experiment; `champion` is the certified policy, if there is one."""

    experiment: str
    generation: int
    state: str
    champion: str | None


Event = (
    RequestFinished
    | AttemptEnded
    | RetryRefused
    | ModelFellBack
    | PolicyFailed
    | FellBack
    | StickySkipped
    | Ejected
    | Readmitted
    | AuthenticationFailed
    | KeyLimited
    | LimitsSkipped
    | FeedbackReceived
    | FeedbackDiscarded
    | PlanPublished
    | PlanningFailed
    | DecisionTaken
)
