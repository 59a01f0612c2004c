"""Turns a sampler's draws into the distribution over pairs that a plan publishes.

A sampler proposes pairs, many runs side by side. A simulation uses them one after another; a gateway draws
from their shares, so that concurrent requests need no coordination. Both use the same sampler.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from gateway.llm_po.checks import reals
from gateway.llm_po.errors import DesignError
from gateway.llm_po.samplers import Sampler, Situation
from gateway.llm_po.scalars import shown, whole_number
from gateway.llm_po.wins import FloatArray, IntArray

DRAWS: Final = 128
"""Pairs drawn per refresh; their shares are the published distribution."""

PAIRS_PER_DRAW: Final = 4
"""How many of them come from each draw of the posterior (docs/decisions/0178-pairs-per-draw.md)."""

_SMALLEST_PROBABILITY: Final = 1e-3  # of the most likely pair's


def pair_distribution(
    sampler: Sampler, situation: Situation, rng: np.random.Generator, draws: int = DRAWS
) -> tuple[IntArray, FloatArray]:
    """How often a sampler would compare each pair next, in the first run of a situation.

    Args:
        sampler: Any way to choose pairs.
        situation: The data that it may use.
        rng: Source of its randomness.
        draws: Pairs drawn; their shares are the answer.

    Returns:
        Pairs, shape (M, 2), first < second, none twice; probabilities, shape (M,), all above 0, summing to 1.

    Raises:
        DesignError: If there is no draw.
    """
    whole_number(draws, "draws", 1)
    low, high = np.sort(sampler.pairs(situation, draws, rng)[0], axis=1).T
    times = np.bincount(low * situation.policies + high)
    numbers = np.flatnonzero(times)
    return np.stack(np.divmod(numbers, situation.policies), axis=1), times[numbers] / draws


def from_shares(shares: FloatArray) -> tuple[IntArray, FloatArray]:
    """A distribution from exact shares, shape (K, K), symmetric; pairs with negligible shares are left out.

    Raises:
        DesignError: If the shares are not such a matrix, or all 0.
    """
    shares = reals(shares, "shares", (None, None), DesignError)
    if shares.shape[0] != shares.shape[1] or shares.min() < 0 or not np.triu(shares, 1).any():
        raise DesignError(f"shares is {shown(shares)}; K x K numbers of at least 0 are needed, not all 0.")
    first, second = np.triu_indices(shares.shape[0], 1)
    probabilities = shares[first, second]
    kept = probabilities >= _SMALLEST_PROBABILITY * probabilities.max()
    chosen = probabilities[kept] / probabilities[kept].sum()
    return np.stack([first[kept], second[kept]], axis=1), np.asarray(chosen)
