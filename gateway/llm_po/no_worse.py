"""The evidence that a policy s may be promoted as no worse within a margin, under either promise.

For every rival j of s a number of nats has to reach a line; number and line depend on the promise.

    no_worse_than_any     e[j, s]                                            >= log(K/delta)
    no_worse_than_best    sum over k != s of e_low[j, k] + e[j, s] + debt[j] >= log((1 + 2r)/delta)

e[j, k] is the evidence against "j is preferred to k with probability at least 1/2 + epsilon", and e_low[j, k]
the lower of it and of the evidence against "at least 1/2", both counted with the same published forecasts.
The second line does not contain K: s is a wrong choice only if the best policy beats it by more than
epsilon, and for every s the best policy's sum lies below the logarithm of the same supermartingale. r is the
number of policies removed since the experiment began. docs/proofs/no-worse-than-best.md has the proof.
"""

from __future__ import annotations

from typing import assert_never

import numpy as np

from gateway.llm_po.errors import TallyError
from gateway.llm_po.lines import (
    Promise,
    best_nano_nats,
    best_threshold,
    no_worse_nano_nats,
    no_worse_threshold,
)
from gateway.llm_po.wins import IntArray


def against_rivals(
    evidence: IntArray, at_half: IntArray | None, debts: IntArray | None, promise: Promise
) -> IntArray:
    """The evidence against each rival j of each policy s, in nano-nats: `[..., j, s]`.

    Args:
        evidence: Shape (..., K, K), as in `Tally`.
        at_half: As in `Tally`; `no_worse_than_any` does not use it.
        debts: Shape (..., K), as in `Tally`, or None for none.
        promise: The promise about s.

    Returns:
        Shape (..., K, K); the diagonal has no meaning.

    Raises:
        TallyError: If the evidence at one half is needed and missing.
    """
    if promise == "no_worse_than_any":
        return evidence
    if promise == "no_worse_than_best":
        low = _lower(evidence, at_half)
        return np.asarray(against_best(evidence, at_half, debts)[..., None] - low + evidence)
    assert_never(promise)


def against_best(evidence: IntArray, at_half: IntArray | None, debts: IntArray | None) -> IntArray:
    """Nano-nats against each policy being at least even with every other, shape (..., K).

    Raises:
        TallyError: If the evidence at one half is missing.
    """
    totals = _lower(evidence, at_half).sum(axis=-1)
    return np.asarray(totals if debts is None else totals + debts)


def _lower(evidence: IntArray, at_half: IntArray | None) -> IntArray:
    """The matrix e_low: the best may be even with a rival or lead by epsilon, so the lower value counts."""
    if at_half is None:
        raise TallyError("at_half is None; no_worse_than_best needs the evidence at one half.")
    return np.asarray(np.minimum(evidence, at_half))


def line_nats(promise: Promise, delta: float, policies_ever: int, removed: int) -> float:
    """The nats that `against_rivals` has to reach for every rival.

    Raises:
        DesignError: If a number is out of range.
    """
    if promise == "no_worse_than_any":
        return no_worse_threshold(delta, policies_ever, removed)
    if promise == "no_worse_than_best":
        return best_threshold(delta, removed)
    assert_never(promise)


def line_nano_nats(promise: Promise, delta: float, policies_ever: int, removed: int) -> int:
    """The line in whole nano-nats, rounded up.

    Raises:
        DesignError: If a number is out of range.
    """
    if promise == "no_worse_than_any":
        return no_worse_nano_nats(delta, policies_ever, removed)
    if promise == "no_worse_than_best":
        return best_nano_nats(delta, removed)
    assert_never(promise)
