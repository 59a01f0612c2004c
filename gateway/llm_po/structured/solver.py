"""The structured optimum: how often to compare each pair if preferences are linear Bradley-Terry.

    minimise over w with sum c w = 1     max over rivals i of  f_i(w)  +  ridge/2 ||w||^2
    f_i(w) = c_i' I(w)^-1 c_i / gap_i^2,   I(w) = sum over pairs of w v x x',   v = mu (1 - mu)

x is a pair's difference of features, c_i the champion's difference to rival i, gap_i its logit. f_i is the
variance of a rival's estimated gap, per comparison and in units of the gap; twice the optimal maximum is the
hardness, in comparisons per nat. After Hu, Gao, Hu and Zhou (2026), arXiv:2604.08779, whose program this is.

Two multiplicative steps alternate. *Proportions*: for fixed weights rho of the rivals phi = rho' f is
convex in w with gradient -G, and `sum of w_old^2 G / w + ridge/2 w^2` lies above it and touches it at
w_old. Its minimiser has a closed form without a ridge (`w sqrt(G / c)`, normalised); with one, two nested
Newton iterations find it. The step is stretched by `_STRETCH`, which makes several times fewer steps
necessary. *Rivals*: rho grows where f is large.

Neither has to converge for the answer to be sound, because every iterate bounds the optimum from below: phi
is convex and homogeneous of degree -1, so `phi(u) >= 2 phi(w)/t - G'u/t^2` for every u and every t > 0, and
the remaining minimisation over u is a projection. Without a ridge the best t gives `phi^2 / max(G / c)`.
`gap` is the least upper over the greatest lower bound seen, less one
(docs/decisions/0020-structured-proportions.md).

Arrays carry a leading axis of R problems over the same features. Pair matrices (K, K) are symmetric with a
zero diagonal; a sum "over pairs" counts each once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.llm_po.bradley_terry import differences, laplacian, logistic
from gateway.llm_po.checks import LARGEST_SPREAD, checked_type, pair_costs, reals, spread_scores
from gateway.llm_po.errors import DesignError, FeatureError, NoChampionError, SolverError
from gateway.llm_po.scalars import real, whole_number
from gateway.llm_po.structured.features import Features
from gateway.llm_po.wins import BoolArray, FloatArray, IntArray

SMALLEST_CURVATURE: Final = 1e-9
"""A pair further than 20 logits apart counts as 20 apart, so that the information stays invertible."""

SMALLEST_GAP: Final = 1e-9
"""Logits; a champion ahead by less does not count as ahead."""

_STRETCH: Final = 1.8  # of the step in log w, below the 2 at which a problem of few pairs oscillates
_RIVAL_EXPONENT: Final = 0.5
_UNIFORM_SHARE: Final = 0.02  # mixed into a start, so that a pair it leaves out can come back
_SMALLEST_SHARE: Final = 1e-12  # keeps vanishing pairs and rivals from becoming subnormal numbers
_SMALLEST_RIDGE: Final = 1e-9
_LARGEST_RIDGE: Final = 1e12
_NO_ANSWER: Final = "The numbers grew out of range; bring scores, costs and ridge closer to one another"
_CUBIC_STEPS: Final = 8
_MULTIPLIER_STEPS: Final = 60


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Near-optimal proportions of R problems, with a proven bound on the gap.

    Attributes:
        champion: Shape (R,): the policy with the largest score.
        weights: Shape (R, K, K), symmetric; the sum over pairs of cost x weight is 1.
        rivals: Shape (R, K): the weight of each rival's term; sums to 1, 0 at the champion.
        worst: Shape (R,): max_i f_i at `weights`.
        gap: Shape (R,): objective over its proven lower bound, less one.
        iterations: Steps taken by the slowest problem.
    """

    champion: IntArray
    weights: FloatArray
    rivals: FloatArray
    worst: FloatArray
    gap: FloatArray
    iterations: int

    @property
    def hardness(self) -> FloatArray:
        """Comparisons (units of cost, if costs differ) per nat of evidence, shape (R,)."""
        return np.asarray(2 * self.worst)

    @property
    def proportions(self) -> FloatArray:
        """Share of the comparisons of each pair, shape (R, K, K), symmetric; sums to 1 over pairs."""
        return np.asarray(self.weights / (self.weights.sum(axis=(1, 2), keepdims=True) / 2))

    def pooled(self, problems: int) -> Solution:
        """One start for every one of so many problems: the mean of these solutions."""
        weights, rivals = (each.mean(axis=0, keepdims=True) for each in (self.weights, self.rivals))
        return replace(
            self, weights=np.repeat(weights, problems, axis=0), rivals=np.repeat(rivals, problems, axis=0)
        )


def solve(
    scores: npt.ArrayLike,
    features: Features,
    *,
    margin: float = 0.0,
    costs: npt.ArrayLike | None = None,
    ridge: float = 0.0,
    tolerance: float = 0.01,
    start: Solution | None = None,
    most_iterations: int = 20_000,
) -> Solution:
    """Proportions within `tolerance` of the optimum.

    Args:
        scores: Shape (R, K), in logits.
        features: The features of the K policies; the scores need not lie in their span.
        margin: Logits by which a rival may be ahead of the champion and still count as no better.
        costs: Cost of one comparison, shape (K, K), symmetric, positive off the diagonal; None: all cost 1.
        ridge: lambda >= 0; any positive one makes the optimum unique.
        tolerance: Gap at which a problem counts as solved; the result says which gap was reached.
        start: Solution of similar problems over these policies.
        most_iterations: After this many, the best point so far is returned.

    Raises:
        NoChampionError: If two policies share the largest score, or nearly, and there is no margin.
        FeatureError: If scores and features disagree about K, or the scores are no logits.
        DesignError: If a number is out of range.
        SolverError: If the numbers are too far apart to compute proportions.
    """
    checked_type(features, Features, "features", FeatureError)
    check_numbers(margin, ridge)
    if not real(tolerance, "tolerance", "a share above 0 is needed") > 0:
        raise DesignError(f"tolerance is {tolerance}; a share above 0 is needed.")
    whole_number(most_iterations, "most_iterations", 1)
    checked = checked_scores(scores, features)
    problems = _Problems.of(checked, features, margin, pair_costs(costs, features.policies, DesignError))
    try:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            found = _iterate(problems, _State.first(problems, start), ridge, tolerance, most_iterations)
    except np.linalg.LinAlgError as error:
        raise SolverError(f"{_NO_ANSWER} ({error}).") from error
    if not (np.isfinite(found.worst).all() and np.isfinite(found.weights).all()):
        raise SolverError(f"{_NO_ANSWER}.")
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Problems:
    """The data of R programs.

    basis (K, r); costs (K, K), 1 on the diagonal; curvature (R, K, K), 0 on the diagonal; inverse squared
    gaps (R, K), 0 at the champion; champion (R,).
    """

    basis: FloatArray
    costs: FloatArray
    curvature: FloatArray
    inverse_square_gaps: FloatArray
    champion: IntArray

    @classmethod
    def of(cls, scores: FloatArray, features: Features, margin: float, costs: FloatArray) -> _Problems:
        chance = logistic(differences(scores))
        curvature = np.maximum(chance * (1 - chance), SMALLEST_CURVATURE) * (1 - np.eye(features.policies))
        champion = scores.argmax(axis=1)
        gaps = scores.max(axis=1, keepdims=True) - scores + margin
        np.put_along_axis(gaps, champion[:, None], np.inf, axis=1)
        check_gaps(gaps)
        return cls(features.basis, costs, curvature, 1 / gaps**2, champion)

    def of_runs(self, kept: BoolArray) -> _Problems:
        return _Problems(
            self.basis,
            self.costs,
            self.curvature[kept],
            self.inverse_square_gaps[kept],
            self.champion[kept],
        )

    def terms_and_slope(self, weights: FloatArray, rivals: FloatArray) -> tuple[FloatArray, FloatArray]:
        """f, shape (R, K) with 0 at the champion, and -d(rho'f)/dw, shape (R, K, K)."""
        information = self.basis.T @ laplacian(weights * self.curvature) @ self.basis
        covariance = self.basis @ np.linalg.inv(information) @ self.basis.T
        at_champion = np.take_along_axis(covariance, self.champion[:, None, None], axis=2)
        lean = at_champion - covariance  # [a, i] = z_a' I^-1 c_i
        ahead = np.take_along_axis(lean, self.champion[:, None, None], axis=1)[:, 0]
        terms = (ahead - np.einsum("rii->ri", lean)) * self.inverse_square_gaps
        lean = lean * np.sqrt(rivals * self.inverse_square_gaps)[:, None, :]
        gram = lean @ lean.swapaxes(1, 2)
        own = np.einsum("rii->ri", gram)
        return terms, self.curvature * np.maximum(own[:, :, None] + own[:, None, :] - 2 * gram, 0.0)

    def moved(self, weights: FloatArray, slope: FloatArray, ridge: float) -> FloatArray:
        """The weights after a stretched step of the proportions."""
        if ridge > 0:
            target = self.ridge_minimiser(weights**2 * slope, ridge)
            ratio = np.divide(target, weights, out=np.zeros_like(weights), where=weights > 0)
        else:
            ratio = np.sqrt(slope / self.costs)
        return self.normalised(weights * ratio**_STRETCH)

    def ridge_minimiser(self, pull: FloatArray, ridge: float) -> FloatArray:
        """Minimiser of `sum pull / u + ridge/2 u^2` over `sum over pairs of costs u = 1`; shape (R, K, K).

        With multiplier nu, 1/u is the positive root of `pull y^3 - nu costs y - ridge`. The sum of costs u is
        a decreasing convex function of nu, so Newton's method reaches the multiplier from wherever it starts.
        """
        pull, costs = pull + _SMALLEST_SHARE * pull.max(axis=(1, 2), keepdims=True), self.costs
        off = 1 - np.eye(costs.shape[0])
        nu = (np.sqrt(pull * costs) * off).sum(axis=(1, 2), keepdims=True) ** 2 / 4  # exact without a ridge
        root = _cubic_root(pull, nu * costs, ridge)
        for _ in range(_MULTIPLIER_STEPS):
            excess = (costs / root * off).sum(axis=(1, 2), keepdims=True) / 2 - 1
            steepness = costs**2 / (root * (3 * pull * root**2 - nu * costs)) * off
            nu = nu + excess / (steepness.sum(axis=(1, 2), keepdims=True) / 2)
            root = _cubic_root(pull, nu * costs, ridge)
            if np.abs(excess).max() < 1e-9:
                break
        return np.asarray(off / root)

    def ridge_bound(self, phi: FloatArray, slope: FloatArray, ridge: float) -> FloatArray:
        """Lower bound of the optimum with a ridge: the better of t = 1 and the t that is best without one."""
        upper_triangle = np.triu_indices(self.costs.shape[0], 1)
        pull, cost = slope[:, *upper_triangle], self.costs[upper_triangle]
        stretched = (pull / cost).max(axis=1) / phi
        bounds = [
            2 * phi / t + _projected_minimum(pull / t[:, None] ** 2, cost, ridge)
            for t in (np.ones_like(phi), stretched)
        ]
        return np.maximum(*bounds)

    def normalised(self, weights: FloatArray) -> FloatArray:
        """Weights scaled so that cost x weight sums to 1 over pairs; none off the diagonal vanishes."""
        scaled = weights / ((self.costs * weights).sum(axis=(1, 2), keepdims=True) / 2)
        floor = _SMALLEST_SHARE * (1 - np.eye(self.costs.shape[0]))
        return np.asarray(np.maximum(scaled, floor))

    def normalised_rivals(self, rivals: FloatArray) -> FloatArray:
        """Weights of the rivals scaled to sum to 1; none but the champion's vanishes."""
        floored = np.maximum(rivals, _SMALLEST_SHARE) * (self.inverse_square_gaps > 0)
        return np.asarray(floored / floored.sum(axis=1, keepdims=True))


@dataclass(slots=True, eq=False)
class _State:
    """The state of R iterations: the current point, and the best point and bounds seen."""

    weights: FloatArray
    rivals: FloatArray
    best_weights: FloatArray
    best_rivals: FloatArray
    worst: FloatArray
    upper: FloatArray
    lower: FloatArray

    @classmethod
    def first(cls, problems: _Problems, start: Solution | None) -> _State:
        """Uniform proportions, or an earlier solution with a little of the uniform ones."""
        shape = problems.curvature.shape
        weights = uniform = problems.normalised(np.broadcast_to(1 - np.eye(shape[1]), shape))
        rivals = even = problems.normalised_rivals(np.ones(shape[:2]))
        if start is not None:
            if start.weights.shape != shape:
                raise DesignError(f"start has shape {start.weights.shape}; the problems need {shape}.")
            weights = (1 - _UNIFORM_SHARE) * problems.normalised(start.weights) + _UNIFORM_SHARE * uniform
            rivals = problems.normalised_rivals((1 - _UNIFORM_SHARE) * start.rivals + _UNIFORM_SHARE * even)
        unknown = np.full(shape[0], np.inf)
        return cls(weights, rivals, weights.copy(), rivals.copy(), unknown, unknown, np.zeros(shape[0]))

    def of_runs(self, kept: BoolArray) -> _State:
        return _State(*(getattr(self, field.name)[kept] for field in fields(self)))

    def put(self, kept: BoolArray, part: _State) -> None:
        for field in fields(self):
            getattr(self, field.name)[kept] = getattr(part, field.name)

    @property
    def gap(self) -> FloatArray:
        return np.asarray(self.upper / self.lower - 1)

    def step(self, problems: _Problems, ridge: float) -> None:
        """Evaluate the current point, note its bounds, move on."""
        terms, slope = problems.terms_and_slope(self.weights, self.rivals)
        worst = terms.max(axis=1)
        phi = (self.rivals * terms).sum(axis=1)
        upper, lower = worst, phi**2 / (slope / problems.costs).max(axis=(1, 2))
        if ridge > 0:
            upper = worst + ridge / 4 * (self.weights**2).sum(axis=(1, 2))
            lower = problems.ridge_bound(phi, slope, ridge)
        self.lower = np.maximum(self.lower, lower)
        better = upper < self.upper
        self.upper = np.where(better, upper, self.upper)
        self.worst = np.where(better, worst, self.worst)
        self.best_weights[better], self.best_rivals[better] = self.weights[better], self.rivals[better]
        self.weights = problems.moved(self.weights, slope, ridge)
        self.rivals = problems.normalised_rivals(self.rivals * (terms / worst[:, None]) ** _RIVAL_EXPONENT)


def _iterate(
    problems: _Problems, state: _State, ridge: float, tolerance: float, most_iterations: int
) -> Solution:
    """Step every problem until its gap is small; solved problems are dropped once they are half of them."""
    active = np.ones(state.upper.size, dtype=np.bool_)
    working, part, iterations = problems, state, 0
    for iterations in range(1, most_iterations + 1):
        part.step(working, ridge)
        is_open = part.gap > tolerance
        if not is_open.any() or iterations == most_iterations:
            break
        if 2 * is_open.sum() <= is_open.size:
            state.put(active, part)
            active = active.copy()
            active[active] = is_open
            working, part = problems.of_runs(active), state.of_runs(active)
    state.put(active, part)
    return Solution(
        problems.champion, state.best_weights, state.best_rivals, state.worst, state.gap, iterations
    )


def _cubic_root(cube: FloatArray, line: FloatArray, constant: float) -> FloatArray:
    """Positive root y of `cube y^3 - line y - constant`; Newton from its right, where the cubic is convex."""
    root = np.maximum(np.sqrt(2 * np.maximum(line, 0.0) / cube), np.cbrt(2 * constant / cube))
    for _ in range(_CUBIC_STEPS):
        square = root * root
        root = (2 * cube * root * square + constant) / (3 * cube * square - line)
    return root


def _projected_minimum(pull: FloatArray, cost: FloatArray, ridge: float) -> FloatArray:
    """Minimum of `-pull'u + ridge/2 u'u` over u >= 0 with cost'u = 1, shape (R,); by sorting, exact."""
    order = np.argsort(-pull / cost, axis=1)
    sorted_pull, sorted_cost = np.take_along_axis(pull, order, axis=1), cost[order]
    level = ((sorted_cost * sorted_pull).cumsum(axis=1) - ridge) / (sorted_cost**2).cumsum(axis=1)
    last = (sorted_pull > level * sorted_cost).sum(axis=1) - 1
    nu = np.take_along_axis(level, last[:, None], axis=1)
    u = np.maximum(pull - nu * cost, 0.0) / ridge
    return np.asarray((-pull * u + ridge / 2 * u * u).sum(axis=1))


def check_numbers(margin: float, ridge: float) -> None:
    """Refuse a margin or ridge that is out of range.

    Raises:
        DesignError: If one is out of range.
    """
    if not 0 <= real(margin, "margin", "at least 0 logits") <= LARGEST_SPREAD:
        raise DesignError(f"margin is {margin}; from 0 to {LARGEST_SPREAD:g} logits.")
    if real(ridge, "ridge", "at least 0") != 0 and not _SMALLEST_RIDGE <= ridge <= _LARGEST_RIDGE:
        raise DesignError(f"ridge is {ridge}; 0, or from {_SMALLEST_RIDGE:g} to {_LARGEST_RIDGE:g}.")


def checked_scores(scores: npt.ArrayLike, features: Features) -> FloatArray:
    """Scores of R problems in logits, shape (R, K).

    Raises:
        FeatureError: If they are anything else, or further apart than logits can be.
    """
    return spread_scores(reals(scores, "scores", (None, features.policies), FeatureError), FeatureError)


def check_gaps(gaps: FloatArray) -> None:
    """Refuse a champion that is no better than another policy, including the margin.

    Raises:
        NoChampionError: If a gap, in logits, is too small to count.
    """
    if gaps.min() < SMALLEST_GAP:
        raise NoChampionError(
            f"Two policies share the largest score ({float(gaps.min()):g} logits apart), so neither is "
            "better; use a margin epsilon > 0."
        )
