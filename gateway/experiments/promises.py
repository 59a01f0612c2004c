"""What a promotion promises, in words: the one place that the API, the console, commands and reports read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from gateway.llm_po.lines import Promise, checked_promise

if TYPE_CHECKING:
    from policy_store.models import Experiment

Promised = Literal["winner", "no_worse_than_best", "no_worse_than_any"]

POLICY: Final = "{policy}"
"""Stands in the words for the policy that is promoted."""

_WORDS: Final[dict[Promised, str]] = {
    "winner": "{policy} is preferred to every other policy",
    "no_worse_than_any": "no other policy is preferred to {policy} by more than {margin}",
    "no_worse_than_best": (
        "if some policy is preferred to every other, it is not preferred to {policy} by more than {margin}"
    ),
}


def promised(epsilon: float, promise: Promise) -> Promised:
    """What is promised: without a margin that it is the winner, with one what was chosen."""
    return promise if epsilon else "winner"


def promised_by(experiment: Experiment) -> Promised:
    """What an experiment promises.

    Raises:
        DesignError: If this version does not know the promise.
    """
    return promised(experiment.epsilon, checked_promise(experiment.promise))


def claim(promise: Promised, epsilon: float, policy: str = POLICY) -> str:
    """What holds of a promoted policy, with the confidence asked for."""
    return _WORDS[promise].replace("{margin}", f"{100 * epsilon:g} points in 100").replace(POLICY, policy)
