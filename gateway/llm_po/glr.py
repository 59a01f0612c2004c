"""The paper's own stopping rule: a generalised likelihood ratio against a threshold beta(t, delta).

beta(t, delta) = log((1 + log t) / delta), the form customary in experiments with this family of rules
(Garivier and Kaufmann 2016). It is smaller than what a proof for every K would ask for, so a comparison with
it flatters the methods that stop by it; their wrong promotions are counted all the same. For a policy no
worse, every rival must be ruled out and the choice is among K: log(K (1 + log t) / delta), K = 1 for two.
"""

from __future__ import annotations

import math

import numpy as np

from gateway.llm_po.baselines import rival_evidence
from gateway.llm_po.evidence import no_worse_threshold
from gateway.llm_po.stopping import Design, Verdict, majority_cycle
from gateway.llm_po.unstructured import bernoulli_kl
from gateway.llm_po.wins import BoolArray, FloatArray, IntArray, WinMatrix, pair_rates, pair_totals


def glr_threshold(comparisons: int, delta: float) -> float:
    """beta(t, delta) in nats; t counts every comparison so far."""
    return math.log((1 + math.log(max(comparisons, 1))) / delta)


def may_conclude(wins: IntArray, design: Design) -> BoolArray:
    """Which of R runs `glr_verdict` would end, budgets aside; wins (R, K, K), every run counted the same."""
    comparisons = int(wins[0].sum())
    if design.epsilon == 0:
        standing = rival_evidence(wins) < glr_threshold(comparisons, design.delta)
        return np.asarray(standing.sum(axis=1) <= 1)
    reached = _no_worse_ratios(wins, design.epsilon) >= _no_worse_line(comparisons, design)
    return np.asarray(reached.any(axis=1))


def glr_verdict(wins: IntArray, design: Design) -> Verdict | None:
    """What the likelihood ratios support now, or None; counts of one run, shape (K, K)."""
    comparisons = int(wins.sum())
    if not design.may_decide or comparisons < design.min_comparisons:
        return None
    certified = _winner(wins, design) if design.epsilon == 0 else _no_worse(wins, design)
    if certified is not None:
        return certified
    if design.max_comparisons is not None and comparisons >= design.max_comparisons:
        return Verdict("inconclusive", None, None, None)
    return None


def _winner(wins: IntArray, design: Design) -> Verdict | None:
    evidence = rival_evidence(wins[None])[0]
    threshold = glr_threshold(int(wins.sum()), design.delta)
    standing = np.flatnonzero(evidence < threshold)
    if standing.size > 1:
        return None
    if standing.size == 0:
        return Verdict("no_winner", None, float(evidence.min()), threshold, majority_cycle(WinMatrix(wins)))
    others = np.delete(evidence, standing[0])
    return Verdict("winner", int(standing[0]), float(others.min()), threshold)


def _no_worse(wins: IntArray, design: Design) -> Verdict | None:
    statistic = _no_worse_ratios(wins[None], design.epsilon)[0]
    threshold = _no_worse_line(int(wins.sum()), design)
    best = int(statistic.argmax())
    if statistic[best] < threshold:
        return None
    return Verdict("no_worse", best, float(statistic[best]), threshold)


def _no_worse_line(comparisons: int, design: Design) -> float:
    return no_worse_threshold(design.delta, design.policies) + math.log(1 + math.log(max(comparisons, 1)))


def _no_worse_ratios(wins: IntArray, epsilon: float) -> FloatArray:
    """Least n kl(rate, 1/2 + epsilon) over the rivals of each policy, shape (R, K)."""
    rates, threshold = pair_rates(wins), 0.5 + epsilon
    ratios = pair_totals(wins) * np.where(rates < threshold, bernoulli_kl(rates, threshold), 0.0)
    everyone = np.arange(wins.shape[1])
    ratios[:, everyone, everyone] = np.inf
    return np.asarray(ratios.min(axis=1))
