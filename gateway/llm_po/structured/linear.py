"""Linear Bradley-Terry fitted to counts: maximum likelihood, with and without one constraint, and draws.

    logit P(i preferred to j) = (u_i - u_j)' theta,   u = rows of `Features.basis`

Maximum likelihood does not always exist: a policy that won every comparison would get an infinite score. With
a prior precision of 1e-6 on theta the maximum always exists and is unique. The prior's effect on a logit
that the data determine is smaller than the data can resolve. In a separated design it stops the fit at
logits of 10 to 20, and `is_separated` says so. Directions in which nothing was compared yet stay at zero;
`identified` says which pairs they concern.

Newton's step is damped to `log(1 + s) / s` of its length, s being its largest change of a logit: along any
direction the curvature grows at most by the factor exp(s t), so this is the step that raises the resulting
bound on the likelihood most, every step gains, and near the maximum the step is the full one. Arrays carry
leading axes: R runs here, and in a constrained fit one more for the constraints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.llm_po.bradley_terry import differences, laplacian, logistic
from gateway.llm_po.checks import checked_type, counted, reals
from gateway.llm_po.errors import DesignError, FeatureError
from gateway.llm_po.scalars import real, whole_number
from gateway.llm_po.structured.features import Features
from gateway.llm_po.wins import BoolArray, FloatArray, IntArray, pair_totals

SMALLEST_PRECISION: Final = 1e-6
"""The precision of the prior that makes the maximum exist; a standard deviation of 1,000 logits."""

SEPARATED_LOGIT: Final = 8.0
"""A fitted logit of a compared pair beyond this was bounded by the prior, not by the data."""

_PRIOR_SD: Final = 0.5  # logits, of a policy's score, as for unstructured forecasts
# logits; Newton converges quadratically, so the remaining error is about its square
_STEP_TOLERANCE: Final = 1e-6
_MOST_STEPS: Final = 100
_RANK_TOLERANCE: Final = 1e-9
_LEAST_PRECISION: Final = 1e-12
_MOST_PRECISION: Final = 1e12


@dataclass(frozen=True, slots=True, eq=False)
class LinearFit:
    """The maximum of the likelihood.

    Attributes:
        theta: Shape (..., r): coefficients in the basis of the features.
        scores: Shape (..., K), each set centred.
        information: Shape (..., r, r): Fisher information of the counts at theta, without any prior.
        log_likelihood: Shape (...), in nats, including the prior.
        precision: The precision of the prior on theta.
    """

    theta: FloatArray
    scores: FloatArray
    information: FloatArray
    log_likelihood: FloatArray
    precision: float

    def of(self, runs: BoolArray | IntArray) -> LinearFit:
        """The fit of some of the runs."""
        return LinearFit(
            self.theta[runs],
            self.scores[runs],
            self.information[runs],
            self.log_likelihood[runs],
            self.precision,
        )

    @property
    def covariance(self) -> FloatArray:
        """Covariance of theta: the inverse curvature, including the prior; shape (..., r, r)."""
        prior = self.precision * np.eye(self.theta.shape[-1])
        return np.asarray(np.linalg.inv(self.information + prior), dtype=np.float64)


def prior_precision(features: Features) -> float:
    """Precision of theta at which a policy's score has a prior standard deviation of one half on average."""
    return features.rank / features.policies / _PRIOR_SD**2


def fit_structure(
    wins: IntArray,
    features: Features,
    precision: float = SMALLEST_PRECISION,
    start: LinearFit | None = None,
) -> LinearFit:
    """Maximum likelihood, or with a larger `precision` the posterior mode under theta ~ N(0, 1 / precision).

    Args:
        wins: Decisive comparisons of each run, shape (R, K, K).
        features: The features of the K policies.
        precision: The prior's precision, greater than 0.
        start: An earlier fit of these runs, to start from.

    Raises:
        TallyError: If `wins` cannot be counts.
        FeatureError: If wins and features disagree about K.
        DesignError: If `precision` is out of range.
    """
    wins = _checked_wins(wins, features)
    if not _LEAST_PRECISION <= real(precision, "precision", "greater than 0") <= _MOST_PRECISION:
        raise DesignError(
            f"precision is {precision}; it must be greater than 0, from {_LEAST_PRECISION:g} to "
            f"{_MOST_PRECISION:g}."
        )
    theta = np.zeros((wins.shape[0], features.rank)) if start is None else start.theta
    return _maximise(_Counts.of(wins, features, precision), theta, None)


def constrained_fit(
    wins: IntArray, features: Features, contrasts: FloatArray, bound: float, start: LinearFit
) -> LinearFit:
    """Maximum likelihood on each of C hyperplanes `contrasts' theta = bound`.

    Where the unconstrained maximum violates `contrasts' theta <= bound`, this is the maximum under it.

    Args:
        wins: Shape (R, K, K).
        features: The features of the K policies.
        contrasts: Shape (R, C, r), in the basis of the features.
        bound: In logits.
        start: The unconstrained fit of these runs, whose prior is used.

    Returns:
        A fit with leading axes (R, C).

    Raises:
        TallyError: If `wins` cannot be counts.
        FeatureError: If wins and features disagree about K, or contrasts and features about r.
        DesignError: If the bound is no number.
    """
    wins = _checked_wins(wins, features)
    contrasts = reals(contrasts, "contrasts", (wins.shape[0], None, features.rank), FeatureError)
    if not np.abs(contrasts).any(axis=-1).all():
        raise FeatureError("contrasts holds one that is 0 throughout; two different policies are needed.")
    real(bound, "bound", "a number of logits is needed")
    covariance = start.covariance
    direction = contrasts @ covariance
    excess = (contrasts @ start.theta[..., None])[..., 0] - bound
    scale = excess / (direction * contrasts).sum(axis=-1)
    nearest = start.theta[:, None] - scale[..., None] * direction
    return _maximise(_Counts.of(wins[:, None], features, start.precision), nearest, contrasts)


def draw_scores(fitted: LinearFit, features: Features, draws: int, rng: np.random.Generator) -> FloatArray:
    """Draws from the Laplace approximation of the posterior, shape (R, draws, K).

    Raises:
        DesignError: If there is no draw.
    """
    whole_number(draws, "draws", 1)
    roots = np.linalg.cholesky(fitted.covariance)
    noise = rng.standard_normal((*fitted.theta.shape[:-1], draws, features.rank))
    theta = fitted.theta[..., None, :] + noise @ roots.swapaxes(-1, -2)
    return np.asarray(theta @ features.basis.T)


def is_separated(fitted: LinearFit, wins: IntArray) -> BoolArray:
    """Runs in which only the prior bounds the logit of some compared pair, shape (R,)."""
    logits = np.where(pair_totals(wins) > 0, np.abs(differences(fitted.scores)), 0.0)
    return np.asarray(logits.max(axis=(-1, -2)) > SEPARATED_LOGIT)


def identified(wins: IntArray, features: Features) -> BoolArray:
    """Pairs whose logit the comparisons made so far determine, compared or not; shape (R, K, K).

    A pair's logit is determined if its contrast lies in the span of the contrasts of compared pairs.

    Raises:
        TallyError: If `wins` cannot be counts.
        FeatureError: If wins and features disagree about K.
    """
    wins = _checked_wins(wins, features)
    compared = (pair_totals(wins) > 0).astype(np.float64)
    values, vectors = np.linalg.eigh(_projected(compared, features.basis))
    unknown = vectors * (values <= _RANK_TOLERANCE * features.policies)[..., None, :]
    left = features.basis @ unknown
    length = np.linalg.norm(left[..., :, None, :] - left[..., None, :, :], axis=-1)
    return np.asarray(length < np.sqrt(_RANK_TOLERANCE))


def _projected(weights: FloatArray, basis: FloatArray) -> FloatArray:
    """`sum over pairs of weight x x'` in the basis, shape (..., r, r)."""
    return np.asarray(basis.T @ laplacian(weights) @ basis)


@dataclass(frozen=True, slots=True, eq=False)
class _Counts:
    """The data of a likelihood; wins and totals have shape (..., K, K)."""

    wins: FloatArray
    totals: FloatArray
    basis: FloatArray
    precision: float

    @classmethod
    def of(cls, wins: IntArray, features: Features, precision: float) -> _Counts:
        won = wins.astype(np.float64)
        return cls(won, won + won.swapaxes(-1, -2), features.basis, precision)

    def scores(self, theta: FloatArray) -> FloatArray:
        return np.asarray(theta @ self.basis.T)

    def log_likelihood(self, theta: FloatArray) -> FloatArray:
        losses = np.logaddexp(0.0, -differences(self.scores(theta)))
        penalty = 0.5 * self.precision * (theta**2).sum(axis=-1)
        return np.asarray(-(self.wins * losses).sum(axis=(-1, -2)) - penalty)

    def slope_and_information(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Gradient with the prior, shape (..., r), and information without it, shape (..., r, r)."""
        chance = logistic(differences(self.scores(theta)))
        expected = self.totals * chance
        slope = (self.wins - expected).sum(axis=-1) @ self.basis - self.precision * theta
        return slope, _projected(expected * (1 - chance), self.basis)


def _maximise(counts: _Counts, theta: FloatArray, contrasts: FloatArray | None) -> LinearFit:
    prior = counts.precision * np.eye(theta.shape[-1])
    for _ in range(_MOST_STEPS):
        slope, information = counts.slope_and_information(theta)
        step = _newton_step(information + prior, slope, contrasts)
        change = np.ptp(counts.scores(step), axis=-1, keepdims=True)
        theta = theta + step * np.divide(np.log1p(change), change, out=np.ones_like(change), where=change > 0)
        if change.max() < _STEP_TOLERANCE:
            break
    return LinearFit(
        theta,
        counts.scores(theta),
        counts.slope_and_information(theta)[1],
        counts.log_likelihood(theta),
        counts.precision,
    )


def _newton_step(hessian: FloatArray, slope: FloatArray, contrasts: FloatArray | None) -> FloatArray:
    """Newton's step; with contrasts, the one that stays on the hyperplane."""
    if contrasts is None:
        return np.asarray(np.linalg.solve(hessian, slope[..., None])[..., 0], dtype=np.float64)
    both = np.linalg.solve(hessian, np.stack([slope, contrasts], axis=-1))
    free, normal = both[..., 0], both[..., 1]
    across = (contrasts * free).sum(axis=-1, keepdims=True) / (contrasts * normal).sum(axis=-1, keepdims=True)
    return np.asarray(free - across * normal)


def _checked_wins(wins: IntArray, features: Features) -> IntArray:
    checked_type(features, Features, "features", FeatureError)
    counts = counted(wins, dimensions=3)
    if counts.shape[-1] != features.policies:
        raise FeatureError(
            f"The counts have K = {counts.shape[-1]}, the features {features.policies}; they must agree."
        )
    return counts
