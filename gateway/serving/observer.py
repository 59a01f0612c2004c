"""What the data plane reports about itself. A protocol, so that path imports no metrics library."""

from __future__ import annotations

from typing import Literal, Protocol

from gateway.serving.ejection import Target

Role = Literal["incumbent", "candidate"]


class RequestObserver(Protocol):
    """Hears of every request. Methods are called on the event loop and must be quick and not raise.

    `experiment` and `policy` are names an operator declared; `reason` comes from a closed set in the code:
    an `UpstreamError.reason` or `template`. Models are asked by their own name: by callers, or as fallbacks.
    """

    def request_finished(self, endpoint: str, status: int) -> None:
        """A request was answered; `endpoint` is the route's path. 499: the caller left first."""

    def policy_answered(self, experiment: str, policy: str, role: Role, latency_seconds: float) -> None:
        """A policy's answer is complete; for a stream the latency runs to its end."""

    def policy_tokens(self, experiment: str, policy: str, prompt: int, completion: int) -> None:
        """The provider reported how many tokens a policy's answer used."""

    def policy_failed(self, experiment: str, policy: str, reason: str) -> None:
        """A policy could not answer, or broke off."""

    def fell_back(self, experiment: str, reason: str) -> None:
        """Another policy than the one drawn answered, so the answer takes no part in the experiment."""

    def model_failed(self, model: str, reason: str) -> None:
        """A model asked by its name did not answer, or broke off."""

    def model_fell_back(self, model: str, fallback: str, reason: str) -> None:
        """One of a model's fallbacks answered in its place."""

    def retry_refused(self) -> None:
        """A second attempt was not made, because the budget for them is used up."""

    def target_ejected(self, target: Target) -> None:
        """A model or policy failed so often in a row that requests go elsewhere."""

    def target_readmitted(self, target: Target) -> None:
        """It answered and takes part again."""

    def overhead(self, seconds: float) -> None:
        """Time a request spent in the gateway itself: before the provider was called and after it answered.

        For a stream, until its first block was passed on.
        """

    def sticky_skipped(self, experiment: str) -> None:
        """The store was too slow or away, so a session was assigned without it."""
