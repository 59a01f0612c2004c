"""Comparisons from elsewhere as a prior: pseudo-votes of a judge, an offline run or an earlier generation.

A source says how often each policy was preferred to each other, by its own standard. It may agree with the
users or not, and how far it does is not known. So the grid of the fit is repeated for different uses of the
sources: without any, with each of them alone, and with all together. Each use is weighted by how well it
predicts the users' comparisons counted so far: by their marginal likelihood given the pseudo-votes, which is
that of both together over that of the pseudo-votes alone (a power prior).

Forecasts, sampler and estimates use the posterior over all of these. The guarantee depends on none of it,
because a forecast may be anything that was published before its outcome (docs/proofs/informed-forecasts.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from gateway.llm_po.belief import UNUSED
from gateway.llm_po.bradley_terry import DEFAULT_SCALES, Fit, Scales, log_evidence
from gateway.llm_po.wins import FloatArray

MOST_VOTES: Final = 16.0
"""How many votes a pair of policies gets at most from a source that is used."""


def informed(sources: Sequence[FloatArray], scales: Scales = DEFAULT_SCALES) -> Scales:
    """The grid repeated for every use of the sources.

    Args:
        sources: Counts of each source, shape (R or 1, K, K).
        scales: The grid without them.
    """
    said = [_limited(source) for source in sources]
    together = [np.sum(said, axis=0)] if len(said) > 1 else []
    votes = np.stack([np.zeros_like(said[0]), *said, *together], axis=1)
    uses, cells = votes.shape[1], scales.score_sd.size
    chance = np.full(uses, (1 - UNUSED) / (uses - 1))
    chance[0] = UNUSED
    precision = scales.score_precision
    votes = np.repeat(votes, cells, axis=1)
    grid = replace(
        scales,
        score_sd=np.tile(scales.score_sd, uses),
        effect_sd=np.tile(scales.effect_sd, uses),
        score_precision=None if precision is None else np.tile(precision, (uses, 1, 1)),
        votes=votes,
    )
    alone = log_evidence(votes, grid)
    return replace(grid, log_prior=np.repeat(np.log(chance), cells) + np.tile(scales.log_prior, uses) - alone)


def used(fitted: Fit, sources: int) -> tuple[float, ...]:
    """The posterior probability that each source is used, alone or with all, in the first run of a fit."""
    if sources == 0:
        return ()
    uses = sources + 1 + (sources > 1)
    weights = fitted.weights[0].reshape(uses, -1).sum(axis=1)
    together = weights[-1] if sources > 1 else 0.0
    return tuple(float(weights[1 + source] + together) for source in range(sources))


def _limited(source: FloatArray) -> FloatArray:
    """The counts, scaled down where a pair has more than `MOST_VOTES` of them."""
    totals = source + source.swapaxes(1, 2)
    return np.asarray(source * np.minimum(1.0, MOST_VOTES / np.maximum(totals, MOST_VOTES)))
