"""Stopping in the structured space: a likelihood ratio per rival against a normal-mixture boundary.

Against "rival i is preferred to s by epsilon or more", that is `c_i' theta <= -logit(1/2 + epsilon)`, c_i
the difference of s to i, the ratio is `LR_i = l(theta_hat) - max l(theta)` under that constraint.
Asymptotically it is half the square of a normal, whose variance given the comparisons is `c_i' I^-1 c_i`.
Mixing the alternatives on the far side of the constraint with half a normal of standard deviation tau
gives, after Robbins, a statistic that exceeds `log(1/alpha)` at any time with probability at most alpha:

    LR_i r/(1+r) - log(1+r)/2 + log 2 Phi(z),   r = tau^2 / (c_i' I^-1 c_i),   z^2 = 2 LR_i r/(1+r)

I is the information without any prior, at the constrained fit. Under the tested hypothesis the truth is
there, and the information stays finite even if a policy has won every comparison.

s is promoted once the statistic of every rival reaches its line. The guarantee is *asymptotic*: it holds in
the limit of many comparisons and if the model is right. docs/decisions/0021-likelihood-ratio-stopping.md has
the line, and the simulations.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from gateway.llm_po.bradley_terry import laplacian
from gateway.llm_po.checks import counted, whole_array
from gateway.llm_po.errors import TallyError
from gateway.llm_po.lines import elimination_threshold
from gateway.llm_po.scalars import checked_epsilon, whole_number
from gateway.llm_po.stopping import Design, Verdict, cheapest
from gateway.llm_po.structured.features import Features
from gateway.llm_po.structured.linear import LinearFit, constrained_fit, fit_structure
from gateway.llm_po.wins import BoolArray, FloatArray, IntArray, pair_totals

TAU: Final = 0.5
"""Standard deviation of the mixture, in logits: it looks for gaps of this order."""

_NO_INFORMATION: Final = (
    1e-9  # keeps information invertible before comparisons: r and the statistic are then 0
)


def margin_logits(epsilon: float) -> float:
    """The margin in logits: logit(1/2 + epsilon).

    Raises:
        DesignError: If epsilon is not a margin.
    """
    checked_epsilon(epsilon)
    return math.log((0.5 + epsilon) / (0.5 - epsilon))


def lr_line_nats(delta: float, epsilon: float, policies: int) -> float:
    """The line that every rival's statistic has to reach.

    log(1/delta) for the winner; log((K-1)/delta) with a margin, because up to K - 1 policies may be wrong.

    Raises:
        DesignError: If a number is out of range.
    """
    whole_number(policies, "policies", 2)
    wrong_choices = 1 if checked_epsilon(epsilon) == 0 else max(policies - 1, 1)
    return elimination_threshold(delta) + math.log(wrong_choices)


def rival_nats(
    wins: IntArray, features: Features, policy: IntArray, epsilon: float, fitted: LinearFit
) -> FloatArray:
    """The statistic of each rival of `policy`, shape (R, K); 0 if the fit satisfies the constraint.

    Args:
        wins: Shape (R, K, K).
        features: The features of the K policies.
        policy: Shape (R,): the policy to certify.
        epsilon: Margin in [0, 1/2).
        fitted: Maximum likelihood fit of these runs.

    Returns:
        Nats, +inf at `policy` itself.

    Raises:
        TallyError: If `wins` cannot be counts, or `policy` names an unknown one.
        FeatureError: If wins and features disagree about K.
    """
    wins = counted(wins, dimensions=3)
    policy = whole_array(np.asarray(policy), "policy", 0, features.policies - 1)
    if policy.shape != wins.shape[:1]:
        raise TallyError(f"policy has shape {policy.shape}; one for each of {wins.shape[0]} runs is needed.")
    others = _others(policy, features.policies)
    result = np.full((policy.size, features.policies), np.inf)
    np.put_along_axis(result, others, _nats_against(wins, features, policy, others, epsilon, fitted), axis=1)
    return result


def _others(policy: IntArray, policies: int) -> IntArray:
    """All policies but one per run, shape (R, K - 1)."""
    everyone = np.arange(policies)
    return np.stack([np.delete(everyone, one) for one in policy])


def _nats_against(
    wins: IntArray,
    features: Features,
    policy: IntArray,
    rivals: IntArray,
    epsilon: float,
    fitted: LinearFit,
) -> FloatArray:
    """The statistic of some rivals, shape (R, C) like `rivals`, none of them the policy itself."""
    contrasts = features.basis[policy][:, None] - features.basis[rivals]
    margin = margin_logits(epsilon)
    held = constrained_fit(wins, features, contrasts, -margin, fitted)
    is_ahead = (contrasts @ fitted.theta[..., None])[..., 0] > -margin
    ratios = np.where(is_ahead, fitted.log_likelihood[:, None] - held.log_likelihood, 0.0)
    regular = held.information + _NO_INFORMATION * np.eye(held.information.shape[-1])
    variance = (contrasts * np.linalg.solve(regular, contrasts[..., None])[..., 0]).sum(axis=-1)
    return np.where(is_ahead, mixture_nats(np.maximum(ratios, 0.0), variance), 0.0)


def mixture_nats(ratios: FloatArray, variance: FloatArray) -> FloatArray:
    """Logarithm of the half-normal mixture, from ratios and the variances of the gaps; any shape."""
    r = TAU**2 / variance
    shrunk = ratios * r / (1 + r)
    z = np.sqrt(2 * shrunk)
    tail = np.array([math.erfc(value) for value in (z / math.sqrt(2)).ravel()]).reshape(z.shape)
    return np.asarray(shrunk - 0.5 * np.log1p(r) + np.log(2 - tail))  # 2 - tail is 2 Phi(z)


def lr_may_conclude(wins: IntArray, design: Design, features: Features, fitted: LinearFit) -> BoolArray:
    """Runs in which the leader (the best score) reached the line; shape (R,). The caller checks budgets."""
    line = lr_line_nats(design.delta, design.epsilon, features.policies)
    bounds = _most_nats(wins, design, features, fitted)
    leaders, hardest = fitted.scores.argmax(axis=1), bounds.argmin(axis=1)[:, None]
    reached = bounds.min(axis=1) >= line
    # Usually the rival with the lowest bound decides, so the others are computed only once it is cleared.
    for rivals in (hardest, _others(leaders, features.policies)):
        if reached.any():
            some = wins[reached], features, leaders[reached], rivals[reached]
            nats = _nats_against(*some, design.epsilon, fitted.of(reached))
            reached[reached] = nats.min(axis=1) >= line
    return np.asarray(reached)


def _most_nats(wins: IntArray, design: Design, features: Features, fitted: LinearFit) -> FloatArray:
    """Upper bounds on the statistic of each rival of the leader, shape (R, K), to save constrained fits.

    No comparison's curvature exceeds 1/4, so a ratio is at most gap^2 / (2 c' J^-1 c), J being the
    information at 1/4 throughout; the mixture adds at most log 2. +inf at the leader.
    """
    most = features.basis.T @ laplacian(pair_totals(wins) / 4.0) @ features.basis
    most += fitted.precision * np.eye(features.rank)
    covariance = features.basis @ np.linalg.inv(most) @ features.basis.T
    leaders = fitted.scores.argmax(axis=1)
    own = np.einsum("rii->ri", covariance)
    runs = np.arange(leaders.size)
    variance = own + own[runs, leaders][:, None] - 2 * covariance[runs, leaders]
    gaps = fitted.scores.max(axis=1, keepdims=True) - fitted.scores + margin_logits(design.epsilon)
    bounds = gaps**2 / (2 * np.maximum(variance, 1e-12)) + math.log(2)
    bounds[runs, leaders] = np.inf
    return np.asarray(bounds)


def lr_verdict(wins: IntArray, design: Design, features: Features) -> Verdict | None:
    """The verdict that the likelihood ratios support now, or None; counts of one run, shape (K, K).

    Nothing is certified before the leader is. Then, with epsilon > 0, among the policies that reach the
    line the cheapest is taken, then the incumbent.

    Raises:
        TallyError: If `wins` cannot be counts.
        FeatureError: If wins and features disagree about K.
    """
    wins = counted(wins, design.policies, dimensions=2)
    comparisons = int(wins.sum())
    if not design.may_decide or comparisons < design.min_comparisons:
        return None
    fitted = fit_structure(wins[None], features)
    if not lr_may_conclude(wins[None], design, features, fitted)[0]:
        return None
    line = lr_line_nats(design.delta, design.epsilon, features.policies)
    # No policy behind the leader by the margin or more can be certified; without one, only the leader.
    behind = fitted.scores[0].max() - fitted.scores[0]
    is_leader = np.arange(features.policies) == behind.argmin()
    is_near = behind < margin_logits(design.epsilon) if design.epsilon > 0 else is_leader
    least: dict[int, float] = {}
    for policy in np.flatnonzero(is_near):
        nats = rival_nats(wins[None], features, np.array([policy]), design.epsilon, fitted)
        least[int(policy)] = float(nats.min())
    reached = np.array([least.get(policy, 0.0) >= line for policy in range(features.policies)])
    champion = cheapest(reached, design)
    if champion is None:
        return None
    return Verdict("winner" if design.epsilon == 0 else "no_worse", champion, least[champion], line)


def leader_progress(
    wins: IntArray, design: Design, features: Features, fitted: LinearFit
) -> tuple[FloatArray, FloatArray]:
    """Evidence per policy and the nats that it needs, for people to look at; shapes (K,). One run.

    epsilon = 0: the evidence that the leader beats each other policy. epsilon > 0: for the leader, the
    smallest evidence over the rivals that the rival does not beat it by more; nothing for the others.
    """
    leader = int(fitted.scores[0].argmax())
    nats = np.maximum(rival_nats(wins[None], features, np.array([leader]), design.epsilon, fitted)[0], 0.0)
    least = float(nats.min())
    shown = np.where(np.isfinite(nats), nats, 0.0) if design.epsilon == 0 else np.zeros(features.policies)
    if design.epsilon > 0:
        shown[leader] = least
    return shown, np.full(features.policies, lr_line_nats(design.delta, design.epsilon, features.policies))
