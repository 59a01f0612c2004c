"""The promise of a promotion in words, for the API, the console, commands and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from gateway.experiments.judge import in_whose_eyes
from gateway.llm_po.lines import Promise, checked_promise

if TYPE_CHECKING:
    from policy_store.experiment import Experiment

Promised = Literal["winner", "no_worse_than_best", "no_worse_than_any"]

POLICY: Final = "{policy}"
"""The placeholder for the promoted policy."""

_WORDS: Final[dict[Promised, str]] = {
    "winner": "{policy} is preferred to every other policy",
    "no_worse_than_any": "no other policy is preferred to {policy} by more than {margin}",
    "no_worse_than_best": (
        "if some policy is preferred to every other, it is not preferred to {policy} by more than {margin}"
    ),
}


def promised(epsilon: float, promise: Promise) -> Promised:
    """The promise: without a margin `winner`, otherwise the configured one."""
    return promise if epsilon else "winner"


def promised_by(experiment: Experiment) -> Promised:
    """The promise of an experiment.

    Raises:
        DesignError: If this version does not know the promise.
    """
    return promised(experiment.epsilon, checked_promise(experiment.promise))


def claim_of(experiment: Experiment, policy: str = POLICY) -> str:
    """The statement that holds for a policy promoted by an experiment, and in whose eyes.

    Raises:
        DesignError: If this version does not know the promise.
    """
    whose, stated = in_whose_eyes(experiment), claim(promised_by(experiment), experiment.epsilon, policy)
    return stated if whose is None else f"{whose}, {stated}"


def claim(promise: Promised, epsilon: float, policy: str = POLICY) -> str:
    """The statement that holds for a promoted policy with the configured confidence."""
    return _WORDS[promise].replace("{margin}", f"{100 * epsilon:g} points in 100").replace(POLICY, policy)
