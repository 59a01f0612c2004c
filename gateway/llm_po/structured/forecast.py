"""Forecasts that use features and do not depend on them: exact evidence in the structured space.

The prior of the scores says that they mostly follow the features: a part in their span, with the usual
standard deviation, and a residual of each policy's own. How large the residual and the pair effects are is
unknown; the fit weighs a small grid, "the features explain it all" being as likely beforehand as all the rest
together. Any forecast keeps the evidence exact, so a wrong structure costs comparisons and never the promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from gateway.llm_po.bradley_terry import Fit, Scales, fit
from gateway.llm_po.samplers import Situation
from gateway.llm_po.structured.features import Features
from gateway.llm_po.structured.linear import prior_precision

_CELLS: Final = ((0.03, 0.0), (0.2, 0.0), (0.5, 0.0), (0.5, 0.5))
"""Standard deviations of residuals and pair effects, in logits; the first stands for no residual."""


@dataclass(frozen=True, eq=False, kw_only=True)
class StructuredSituation(Situation):
    """A situation whose fit knows the features.

    Attributes:
        features: Those of the policies.
    """

    features: Features

    @cached_property
    def fit(self) -> Fit:
        """The posterior under scores that mostly follow the features."""
        return fit(self.wins, scales=structured_scales(self.features), start=self.start)


def with_features(situation: Situation, features: Features | None) -> Situation:
    """The situation with a fit that knows the features, if there are any."""
    if features is None:
        return situation
    return StructuredSituation(
        wins=situation.wins,
        evidence=situation.evidence,
        eliminated=situation.eliminated,
        design=situation.design,
        start=situation.start,
        pair_costs=situation.pair_costs,
        debts=situation.debts,
        at_half=situation.at_half,
        features=features,
    )


def structured_scales(features: Features) -> Scales:
    """The grid of priors for these features."""
    residual, effect = np.array(_CELLS).T
    explained = features.basis @ features.basis.T / prior_precision(features)
    covariance = explained + residual[:, None, None] ** 2 * np.eye(features.policies)
    weights = np.array([0.5, *[0.5 / (len(_CELLS) - 1)] * (len(_CELLS) - 1)])
    return Scales(residual, effect, np.log(weights), np.linalg.inv(covariance))
