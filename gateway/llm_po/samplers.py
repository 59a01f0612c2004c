"""Which pair next: LLM-PO's own design, as many draws of a pair at once.

A planner turns the draws into a distribution over pairs; a simulation takes them one after another. All
samplers answer the same question through the `Sampler` protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gateway.llm_po.bradley_terry import Fit, logistic
from gateway.llm_po.evidence import NANO, Tally, elimination_threshold, no_worse_threshold
from gateway.llm_po.forecast import chance_preferred, draw_logits
from gateway.llm_po.stopping import Design
from gateway.llm_po.unstructured import bernoulli_kl
from gateway.llm_po.wins import FloatArray, IntArray

SMALLEST_DIVERGENCE = 1e-4  # nats per comparison; a rival this hard to tell apart is not worth planning for


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """What a sampler may look at."""

    tally: Tally
    design: Design
    fit: Fit


class Sampler(Protocol):
    """Proposes pairs to compare."""

    def pairs(self, situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
        """`draws` pairs, shape (draws, 2), in the order they would be compared; any orientation."""
        ...


class LlmPo:
    """Top-two Thompson sampling with challengers in proportion to the work left on them."""

    def pairs(self, situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
        """Pairs drawn for the certificate the design asks for."""
        if situation.design.epsilon > 0:
            return _no_worse_pairs(situation, draws, rng)
        if np.count_nonzero(~situation.tally.eliminated) == 1:
            return _doubtful_pairs(situation, draws, rng)
        return _winner_pairs(situation, draws, rng)


def _winner_pairs(situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
    """A surviving challenger, and the rival that beats it most clearly in the same draw."""
    tally = situation.tally
    scores, logits = draw_logits(situation.fit, draws, rng)
    leaders = np.where(tally.eliminated, -np.inf, scores).argmax(axis=1)
    rows = np.arange(draws)
    logits[:, np.arange(tally.policies), np.arange(tally.policies)] = np.inf
    opponents = logits.argmin(axis=2)
    clearest = np.minimum(logits.min(axis=2), 0.0)
    needed = np.maximum(elimination_threshold(situation.design.delta) - tally.row_totals / NANO, 0.0)
    pace = np.maximum(bernoulli_kl(logistic(clearest), 0.5), SMALLEST_DIVERGENCE)
    work = np.where(tally.eliminated, 0.0, needed + 1e-9) / pace
    work[rows, leaders] = 0.0
    challengers = _categorical(work, rng)
    rivals = opponents[rows, challengers]
    beaten = logits[rows, challengers, rivals] < 0
    return np.stack([challengers, np.where(beaten, rivals, leaders)], axis=1)


def _doubtful_pairs(situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
    """The survivor, and the rivals it has not yet shown itself ahead of."""
    survivor = int(np.flatnonzero(~situation.tally.eliminated)[0])
    doubt = 1 - chance_preferred(situation.fit, survivor)
    doubt[survivor] = 0.0
    rivals = _categorical(np.tile(doubt + 0.0, (draws, 1)), rng)
    return np.stack([np.full(draws, survivor), rivals], axis=1)


def _no_worse_pairs(situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
    """The policy cheapest to certify in a draw, and a rival in proportion to the work left on it."""
    tally, design = situation.tally, situation.design
    _, logits = draw_logits(situation.fit, draws, rng)
    chance = logistic(logits)
    threshold = 0.5 + design.epsilon
    needed = np.maximum(no_worse_threshold(design.delta, tally.policies) - tally.evidence / NANO, 0.0)
    np.fill_diagonal(needed, 0.0)
    pace = np.where(chance < threshold, bernoulli_kl(chance, threshold), 0.0)
    work = needed / np.maximum(pace, SMALLEST_DIVERGENCE)
    certified = work.sum(axis=1).argmin(axis=1)
    rivals = _categorical(work[np.arange(draws), :, certified] + 1e-12, rng, forbidden=certified)
    return np.stack([rivals, certified], axis=1)


def _categorical(
    weights: FloatArray, rng: np.random.Generator, forbidden: IntArray | None = None
) -> IntArray:
    """One index per row, with probability proportional to the row's weights."""
    if forbidden is not None:
        weights[np.arange(weights.shape[0]), forbidden] = 0.0
    cumulative = weights.cumsum(axis=1)
    point = rng.random((weights.shape[0], 1)) * cumulative[:, -1:]
    return np.asarray((cumulative <= point).sum(axis=1))
