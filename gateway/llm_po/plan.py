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
from gateway.llm_po.features import Features
from gateway.llm_po.forecast import expected_information, forecasts
from gateway.llm_po.goodness_of_fit import GoodnessOfFit, goodness_of_fit
from gateway.llm_po.likelihood_ratio import leader_progress
from gateway.llm_po.linear import fit
from gateway.llm_po.rules import reached
from gateway.llm_po.samplers import LlmPo, Situation
from gateway.llm_po.stakes import published_forecasts
from gateway.llm_po.stopping import Design, Verdict, conclusion, progress
from gateway.llm_po.structured_forecast import StructuredSituation
from gateway.llm_po.structured_sampler import StructuredSampler, structured_remaining
from gateway.llm_po.wins import FloatArray, IntArray

__all__ = ["Design", "Plan", "Tally", "Verdict", "plan"]

DRAWS = 128
"""Pairs drawn per refresh; their shares are the published distribution."""

_SMALLEST_PROBABILITY = 1e-3  # of the most likely pair's


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
        fit: Whether the structure assumed fits the counts; None where none is assumed.
    """

    pairs: IntArray
    probabilities: FloatArray
    forecasts_millionths: IntArray
    leader: int
    evidence_nats: FloatArray
    needed_nats: FloatArray
    expected_remaining: float | None
    verdict: Verdict | None
    fit: GoodnessOfFit | None = None


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
    situation = _situation(tally, design)
    model = situation.fit
    published = published_forecasts(forecasts(model), situation)[0]
    if design.features is not None and design.stopping == "lr-mixture":
        return _structured_plan(situation, tally, design.features, published, rng)
    drawn = LlmPo().pairs(situation, DRAWS, rng)[0]
    pairs, counts = np.unique(np.sort(drawn, axis=1), axis=0, return_counts=True)
    evidence_nats, needed_nats = progress(tally, design)
    concluded = conclusion(tally, design, model) if design.stopping == "e-process" else reached(tally, design)
    return Plan(
        pairs=pairs,
        probabilities=counts / counts.sum(),
        forecasts_millionths=published,
        leader=_leader(model, tally, design),
        evidence_nats=evidence_nats,
        needed_nats=needed_nats,
        expected_remaining=0.0 if concluded else _expected_remaining(model, tally, design),
        verdict=concluded,
        fit=None if design.features is None else goodness_of_fit(tally.wins, design.features),
    )


def _situation(tally: Tally, design: Design) -> Situation:
    plain = Situation.of(tally, design)
    if design.features is None:
        return plain
    return StructuredSituation(
        wins=plain.wins,
        evidence=plain.evidence,
        eliminated=plain.eliminated,
        design=design,
        features=design.features,
    )


def _structured_plan(
    situation: Situation, tally: Tally, features: Features, published: IntArray, rng: np.random.Generator
) -> Plan:
    """The plan where likelihood ratios decide: shares from the solver, progress of the leader's ratios."""
    design = situation.design
    fitted = fit(situation.wins, features)
    evidence_nats, needed_nats = leader_progress(tally.wins, design, features, fitted)
    concluded = reached(tally, design)
    pairs, probabilities = _as_pairs(StructuredSampler(features).shares_due(situation, DRAWS, rng)[0])
    remaining = None if concluded else structured_remaining(situation.wins, design, features)
    return Plan(
        pairs=pairs,
        probabilities=probabilities,
        forecasts_millionths=published,
        leader=int(fitted.scores[0].argmax()),
        evidence_nats=evidence_nats,
        needed_nats=needed_nats,
        expected_remaining=0.0 if concluded else _within_budget(remaining, tally, design),
        verdict=concluded,
        fit=goodness_of_fit(tally.wins, features),
    )


def _as_pairs(shares: FloatArray) -> tuple[IntArray, FloatArray]:
    """Pairs with their probabilities, those hardly ever drawn left out."""
    first, second = np.triu_indices(shares.shape[0], 1)
    probabilities = shares[first, second]
    kept = probabilities >= _SMALLEST_PROBABILITY * probabilities.max()
    chosen = probabilities[kept] / probabilities[kept].sum()
    return np.stack([first[kept], second[kept]], axis=1), np.asarray(chosen)


def _within_budget(remaining: float | None, tally: Tally, design: Design) -> float | None:
    if remaining is None or design.max_comparisons is None:
        return remaining
    return min(remaining, max(float(design.max_comparisons - tally.comparisons), 0.0))


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
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(needed > 0, needed / pace, 0.0)
