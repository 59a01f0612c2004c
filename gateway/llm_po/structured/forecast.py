"""Forecasts that use the features, while the evidence stays exact if the features are wrong.

By the prior, the scores mostly follow the features: each score is a part in the span of the features, with
the usual standard deviation, plus the policy's own residual. The sizes of residuals and pair effects are
unknown, so the fit weighs a small grid in which "the features explain everything" has the same prior
probability as all other cells together. Any forecast keeps the evidence exact, so a wrong structure costs
comparisons but never breaks the promise.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from gateway.llm_po.bradley_terry import DEFAULT_SCALES, OVER_RIVALS_SCALES, Scales
from gateway.llm_po.structured.features import Features
from gateway.llm_po.structured.linear import prior_precision

_CELLS: Final = ((0.03, 0.0), (0.2, 0.0), (0.5, 0.0), (0.5, 0.5))
"""Standard deviations of residuals and pair effects, in logits; the first means no residual."""


def scales_for(features: Features | None, *, over_rivals: bool) -> Scales:
    """The grid of priors for these features; without any, the usual one.

    Args:
        features: The structure assumed, or None.
        over_rivals: Whether evidence against a policy adds up over its rivals.
    """
    if features is not None:
        return structured_scales(features)
    return OVER_RIVALS_SCALES if over_rivals else DEFAULT_SCALES


def structured_scales(features: Features) -> Scales:
    """The grid of priors for these features."""
    residual, effect = np.array(_CELLS).T
    explained = features.basis @ features.basis.T / prior_precision(features)
    covariance = explained + residual[:, None, None] ** 2 * np.eye(features.policies)
    weights = np.array([0.5, *[0.5 / (len(_CELLS) - 1)] * (len(_CELLS) - 1)])
    return Scales(residual, effect, np.log(weights), np.linalg.inv(covariance))
