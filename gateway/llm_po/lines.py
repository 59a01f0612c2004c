"""The lines that evidence has to reach: all numbers on which the guarantees rest.

The server gives the elimination line to the store's counting script; the planner, the verifier and the
simulations compare with it too. So this module loads no numpy, because the server must not load it.
"""

from __future__ import annotations

import math
from typing import Final, Literal, get_args

from gateway.llm_po.errors import DesignError
from gateway.llm_po.scalars import FEWEST_POLICIES, checked_delta, shown, whole_number

NANO: Final = 1_000_000_000
"""Nano-nats in a nat."""

Promise = Literal["no_worse_than_best", "no_worse_than_any"]
PROMISES: Final[tuple[Promise, ...]] = get_args(Promise)
"""The promises with a margin: the promoted policy is no worse than any policy, or than the one preferred to
every other, if there is one (docs/proofs/no-worse-than-best.md)."""

UNSTATED_PROMISE: Final[Promise] = "no_worse_than_any"
"""The default promise, also of experiments and certificates from before there was a choice."""


def checked_promise(promise: object) -> Promise:
    """`promise`, if it is one.

    Raises:
        DesignError: If it is not.
    """
    for known in PROMISES:
        if promise == known:
            return known
    raise DesignError(f"promise is {shown(promise)}; choose one of {', '.join(PROMISES)}.")


def keeps_half(promise: Promise) -> bool:
    """Whether evidence at one half is kept for a promise, beside that at 1/2 + epsilon."""
    return promise == "no_worse_than_best"


def elimination_threshold(delta: float) -> float:
    """Nats at which a policy's row total eliminates it: log(1/delta).

    There is no union bound over policies, because only the elimination of the one true winner is an error.
    """
    return math.log(1 / checked_delta(delta))


def elimination_nano_nats(delta: float) -> int:
    """The elimination threshold in whole nano-nats, rounded up; the counting script compares with it."""
    return math.ceil(elimination_threshold(delta) * NANO)


def no_worse_threshold(delta: float, policies_ever: int, removed: int = 0) -> float:
    """Nats every `evidence[j, s]` must reach to certify that no policy beats `s` by more than epsilon.

    log(K/delta) for K >= 3: in a cycle every one of the K policies is beaten by another, so K wrong
    choices must share the error. For K = 2 not both can be beaten, so it is log(1/delta). After r removals
    log(K (1 + r)/delta): of r + 1 rivals that beat `s`, the removals may have left the one with the most
    misleading evidence (docs/proofs/policies-come-and-go.md).

    Args:
        delta: Error level in (0, 1).
        policies_ever: K, counting every policy the experiment ever had.
        removed: r, how many of them were removed.

    Raises:
        DesignError: If one is out of range.
    """
    whole_number(policies_ever, "policies_ever", FEWEST_POLICIES)
    if not 0 <= whole_number(removed, "removed", 0) <= policies_ever - FEWEST_POLICIES:
        raise DesignError(f"removed is {removed} of {policies_ever} policies; two at least must be left.")
    wrong_choices = 1 if policies_ever == FEWEST_POLICIES else policies_ever
    return math.log(wrong_choices * (1 + removed) / checked_delta(delta))


def no_worse_nano_nats(delta: float, policies_ever: int, removed: int = 0) -> int:
    """The no-worse threshold in whole nano-nats, rounded up."""
    return math.ceil(no_worse_threshold(delta, policies_ever, removed) * NANO)


def best_threshold(delta: float, removed: int = 0) -> float:
    """Nats needed against every rival of `s` to certify that the best policy does not beat it by epsilon.

    log(1/delta), because only the best policy matters and one supermartingale covers all wrong choices.
    After r removals log((1 + 2r)/delta), because the removals may have determined, with a view to the
    evidence, which of up to 1 + 2r policies is the best of the remaining ones
    (docs/proofs/no-worse-than-best.md).

    Args:
        delta: Error level in (0, 1).
        removed: r, how many policies were removed since the experiment began.

    Raises:
        DesignError: If one is out of range.
    """
    return math.log((1 + 2 * whole_number(removed, "removed", 0)) / checked_delta(delta))


def best_nano_nats(delta: float, removed: int = 0) -> int:
    """The `best_threshold` in whole nano-nats, rounded up."""
    return math.ceil(best_threshold(delta, removed) * NANO)


def last_look_nano_nats(nats: float, uniform: float) -> int:
    """A line of `nats` as it is at the last look: lower by log(1/uniform), in whole nano-nats, rounded up.

    At least one nano-nat, so that nothing is promoted without evidence or against it
    (docs/proofs/last-look.md).

    Args:
        nats: The line at all other times.
        uniform: The look's number in (0, 1].
    """
    return max(1, math.ceil((nats + math.log(uniform)) * NANO))
