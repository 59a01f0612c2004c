"""What a planner does at every refresh, in one call: fit, forecasts, pair distribution, progress, verdict.

    counts and evidence (Tally) + what was promised (Design) -> plan() -> Plan, published to every replica

This is the way in: read `plan`, then the module behind each of its lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gateway.llm_po.bradley_terry import Fit
from gateway.llm_po.errors import TallyError
from gateway.llm_po.evidence import NANO, Tally, elimination_threshold
from gateway.llm_po.forecast import expected_information, forecasts
from gateway.llm_po.samplers import LlmPo, Situation
from gateway.llm_po.stakes import published_forecasts
from gateway.llm_po.stopping import Design, Verdict, conclusion, progress
from gateway.llm_po.wins import FloatArray, IntArray

__all__ = ["Design", "Plan", "Tally", "Verdict", "plan"]

DRAWS = 128
"""Pairs drawn per refresh; their shares are the published distribution."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What every replica needs until the next refresh.

    Attributes:
        pairs: Shape (M, 2), first < second.
        probabilities: Shape (M,), sums to 1: how often to draw each pair.
        forecasts_millionths: Shape (K, K): of P(row preferred to column), as bets; see `stakes`.
        leader: The policy ahead in the data.
        evidence_nats: Shape (K,), progress for people; see `stopping.progress`.
        needed_nats: Shape (K,), what each has to reach.
        expected_remaining: Comparisons to a verdict if the data are right, or None if there is no telling.
        verdict: How the experiment ends, or None while it goes on.
    """

    pairs: IntArray
    probabilities: FloatArray
    forecasts_millionths: IntArray
    leader: int
    evidence_nats: FloatArray
    needed_nats: FloatArray
    expected_remaining: float | None
    verdict: Verdict | None


def plan(tally: Tally, design: Design, rng: np.random.Generator) -> Plan:
    """Everything a planner refresh publishes.

    Args:
        tally: What has been counted.
        design: What the experiment set out to show.
        rng: Source of the posterior draws.

    Raises:
        TallyError: If tally and design disagree about K.
    """
    if tally.policies != design.policies:
        raise TallyError(
            f"The tally has K = {tally.policies}, the design {design.policies}; they must agree."
        )
    situation = Situation.of(tally, design)
    model = situation.fit
    drawn = LlmPo().pairs(situation, DRAWS, rng)[0]
    pairs, counts = np.unique(np.sort(drawn, axis=1), axis=0, return_counts=True)
    evidence_nats, needed_nats = progress(tally, design)
    published = published_forecasts(forecasts(model), situation)[0]
    concluded = conclusion(tally, design, model)
    return Plan(
        pairs=pairs,
        probabilities=counts / counts.sum(),
        forecasts_millionths=published,
        leader=_leader(model, tally, design),
        evidence_nats=evidence_nats,
        needed_nats=needed_nats,
        expected_remaining=0.0 if concluded else _expected_remaining(model, tally, design),
        verdict=concluded,
    )


def _leader(model: Fit, tally: Tally, design: Design) -> int:
    """The surviving policy with the best score; among all when epsilon > 0 or nobody survives."""
    out = (
        tally.eliminated
        if design.epsilon == 0 and not tally.eliminated.all()
        else np.zeros_like(tally.eliminated)
    )
    return int(np.where(out, -np.inf, model.mean_scores[0]).argmax())


def _expected_remaining(model: Fit, tally: Tally, design: Design) -> float | None:
    """Comparisons to a verdict at the pace the posterior expects; None where there is no telling."""
    pace = expected_information(model, 0.5 + design.epsilon)[0]
    if design.epsilon > 0:
        needed = design.no_worse_nats - tally.evidence / NANO
        work = _work(needed, pace)
        np.fill_diagonal(work, 0.0)
        remaining = float(work.sum(axis=0).min())
    else:
        np.fill_diagonal(pace, 0.0)
        needed = elimination_threshold(design.delta) - tally.row_totals / NANO
        work = np.where(tally.eliminated, 0.0, _work(needed, pace.max(axis=1)))
        remaining = float(np.sort(work)[:-1].sum())
    if design.max_comparisons is not None:
        remaining = min(remaining, float(design.max_comparisons - tally.comparisons))
    return max(remaining, 0.0) if np.isfinite(remaining) else None


def _work(needed: FloatArray, pace: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(needed > 0, needed / pace, 0.0)
