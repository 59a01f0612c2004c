"""The paper's own kind of stopping rule: a generalised likelihood ratio against a threshold beta(n, delta).

Against "policy i is preferred to every other" the ratio is the sum of n kl(rate, 1/2) over the rivals that
are ahead of i. There are two thresholds to choose from:

- `proven`: beta = log(1/delta) + sum over rivals of min(n kl + c, log(2 (K-1)) + (1/2) log n), where
  c = log((K-1) / (K-2)). Behind it is a mixture of bets whose product is a supermartingale, so a rule that
  promises delta keeps it at every sample size.
- `customary`: beta = log((1 + log t) / delta), usual in experiments with this family of rules (Garivier and
  Kaufmann 2016). It is smaller than any proof for K policies allows and flatters the methods that stop by it.

docs/decisions/0015-likelihood-ratio-thresholds.md has the proofs, and the thresholds for a policy no worse.
"""

from __future__ import annotations

import math
from typing import Final, Literal, get_args

import numpy as np

from gateway.llm_po.checks import counted
from gateway.llm_po.errors import UnsupportedError
from gateway.llm_po.lines import elimination_threshold
from gateway.llm_po.scalars import shown
from gateway.llm_po.stopping import Design, Verdict, cheapest
from gateway.llm_po.unstructured import bernoulli_kl
from gateway.llm_po.wins import (
    BoolArray,
    FloatArray,
    IntArray,
    WinMatrix,
    majority_cycle,
    pair_rates,
    pair_totals,
)

Threshold = Literal["proven", "customary"]

THRESHOLDS: Final[dict[str, Threshold]] = {"glr": "proven", "glr-customary": "customary"}
"""The threshold of each stopping rule of this kind."""


def glr_may_conclude(wins: IntArray, design: Design, threshold: Threshold = "proven") -> BoolArray:
    """Which of R runs `glr_verdict` would end, budgets aside; wins (R, K, K), with equal totals in all runs.

    Raises:
        TallyError: If `wins` cannot be counts.
        UnsupportedError: If there is no such threshold.
    """
    wins = counted(wins, design.policies, dimensions=3)
    _check_threshold(threshold)
    line = _line(int(wins[0].sum()), design, threshold)
    if design.epsilon == 0:
        standing = loser_nats(wins, threshold) < line
        return np.asarray(standing.sum(axis=1) <= 1)
    return np.asarray((_no_worse_nats(wins, design.epsilon, threshold) >= line).any(axis=1))


def glr_verdict(wins: IntArray, design: Design, threshold: Threshold = "proven") -> Verdict | None:
    """The verdict that the likelihood ratios support now, or None; counts of one run, shape (K, K).

    The statistic is the ratio less the terms that depend on the counts of single pairs; the needed nats are
    the rest.

    Raises:
        TallyError: If `wins` cannot be counts.
        UnsupportedError: If there is no such threshold.
    """
    wins = counted(wins, design.policies, dimensions=2)
    _check_threshold(threshold)
    comparisons = int(wins.sum())
    if not design.may_decide or comparisons < design.min_comparisons:
        return None
    certify = _winner if design.epsilon == 0 else _no_worse
    certified = certify(wins, design, threshold)
    if certified is not None:
        return certified
    if design.max_comparisons is not None and comparisons >= design.max_comparisons:
        return Verdict("inconclusive", None, None, None)
    return None


def _check_threshold(threshold: Threshold) -> None:
    if threshold not in get_args(Threshold):
        raise UnsupportedError("threshold", shown(threshold), get_args(Threshold))


def _winner(wins: IntArray, design: Design, threshold: Threshold) -> Verdict | None:
    nats = loser_nats(wins[None], threshold)[0]
    line = _line(int(wins.sum()), design, threshold)
    standing = np.flatnonzero(nats < line)
    if standing.size > 1:
        return None
    if standing.size == 0:
        return Verdict("no_winner", None, float(nats.min()), line, majority_cycle(WinMatrix(wins)))
    return Verdict("winner", int(standing[0]), float(np.delete(nats, standing[0]).min()), line)


def _no_worse(wins: IntArray, design: Design, threshold: Threshold) -> Verdict | None:
    nats = _no_worse_nats(wins[None], design.epsilon, threshold)[0]
    line = _line(int(wins.sum()), design, threshold)
    champion = cheapest(nats >= line, design)
    return None if champion is None else Verdict("no_worse", champion, float(nats[champion]), line)


def _line(comparisons: int, design: Design, threshold: Threshold) -> float:
    """The part of the threshold that all policies share."""
    needed = elimination_threshold(design.delta) if design.epsilon == 0 else design.no_worse_nats
    return needed + (math.log(1 + math.log(max(comparisons, 1))) if threshold == "customary" else 0.0)


def loser_nats(wins: IntArray, threshold: Threshold) -> FloatArray:
    """Nats against each policy being the winner, shape (R, K).

    Raises:
        TallyError: If `wins` cannot be counts.
        UnsupportedError: If there is no such threshold.
    """
    wins = counted(wins, dimensions=3)
    _check_threshold(threshold)
    pair_ratios = _pair_ratios(wins)
    ratios = pair_ratios.sum(axis=2)
    if threshold == "customary":
        return np.asarray(ratios)
    rivals = wins.shape[1] - 1
    # A share 1/(K-1) of the stake is bet on each rival being ahead; the rest is not bet.
    if_ahead = math.log(2 * rivals) + 0.5 * np.log(np.maximum(pair_totals(wins), 1))
    if_not = math.log(rivals / (rivals - 1)) if rivals > 1 else math.inf
    paid = np.minimum(pair_ratios + if_not, if_ahead)
    everyone = np.arange(rivals + 1)
    paid[:, everyone, everyone] = 0.0
    return np.asarray(ratios - paid.sum(axis=2))


def _no_worse_nats(wins: IntArray, epsilon: float, threshold: Threshold) -> FloatArray:
    """Nats against "some other policy is preferred to it by more than epsilon", shape (R, K).

    The least over its rivals of n kl(rate, 1/2 + epsilon) minus the proof's correction.
    """
    rates, totals, highest = pair_rates(wins), pair_totals(wins), 0.5 + epsilon
    nats = totals.astype(np.float64) * np.where(rates < highest, bernoulli_kl(rates, highest), 0.0)
    if threshold == "proven":
        nats = nats - 0.5 * np.log(np.maximum(totals, 1)) - math.log(2) - 1
    everyone = np.arange(wins.shape[1])
    nats[:, everyone, everyone] = np.inf
    return np.asarray(nats.min(axis=1))


def rival_evidence(wins: IntArray) -> FloatArray:
    """Generalised likelihood ratio against each policy being the winner, shape (R, K), in nats.

    The sum of n kl(rate, 1/2) over the rivals that are ahead of it.

    Raises:
        TallyError: If `wins` cannot be counts.
    """
    return np.asarray(_pair_ratios(counted(wins, dimensions=3)).sum(axis=2), dtype=np.float64)


def _pair_ratios(wins: IntArray) -> FloatArray:
    """N kl(rate, 1/2) of each pair where the column is ahead of the row, 0 elsewhere; shape (R, K, K)."""
    rates = pair_rates(wins)
    return np.asarray(
        pair_totals(wins) * np.where(rates < 0.5, bernoulli_kl(rates, 0.5), 0.0), dtype=np.float64
    )
