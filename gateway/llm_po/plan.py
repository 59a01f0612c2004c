"""What a planner does at every refresh, in one call: fit, forecasts, pair distribution, progress, verdict.

    counts and evidence (Tally) + promise and limits (Design) -> plan() -> Plan, published to every replica

To read the core, begin with `plan`, then read the module behind each of its lines. A plan follows from the
counts, not from the log. Its fits and solutions are the starting point of the next refresh (`Start`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gateway.llm_po.bradley_terry import Fit, fit
from gateway.llm_po.checks import same_policies
from gateway.llm_po.distribution import DRAWS, PAIRS_PER_DRAW, from_shares, pair_distribution
from gateway.llm_po.errors import DesignError
from gateway.llm_po.evidence import Tally
from gateway.llm_po.exposure import Caps, Mix, capped_mix
from gateway.llm_po.forecast import bets, doubts, expected_information
from gateway.llm_po.last_look import with_last_look
from gateway.llm_po.lines import NANO, elimination_threshold
from gateway.llm_po.no_worse import against_rivals
from gateway.llm_po.priors import informed, used
from gateway.llm_po.rules import reached
from gateway.llm_po.samplers import LlmPo, Situation
from gateway.llm_po.stakes import Published, published
from gateway.llm_po.stopping import Design, Verdict, conclusion, progress, qualified
from gateway.llm_po.structured import likelihood_ratio, linear
from gateway.llm_po.structured.features import Features
from gateway.llm_po.structured.forecast import scales_for
from gateway.llm_po.structured.goodness_of_fit import GoodnessOfFit, goodness_of_fit
from gateway.llm_po.structured.linear import LinearFit
from gateway.llm_po.structured.sampler import Aim, aim, expected_remaining, shares_due
from gateway.llm_po.wins import FloatArray, IntArray

__all__ = ["Design", "Plan", "Start", "Tally", "Verdict", "plan"]


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Results of one refresh from which the experiment's next refresh starts, so that work is not repeated.

    Every fit and every solver starts here and reaches its optimum, within its tolerance, in fewer steps.

    Attributes:
        pooled: The posterior behind the forecasts.
        likeliest: The maximum likelihood fit under the structure; None if no structure is assumed.
        aimed: The proportions that structured pairs approach; None if likelihood ratios do not decide.
    """

    pooled: Fit
    likeliest: LinearFit | None = None
    aimed: Aim | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Everything that replicas need until the next refresh.

    Attributes:
        pairs: Shape (M, 2), first < second.
        probabilities: Shape (M,), sums to 1: how often to draw each pair.
        forecasts_millionths: Shape (K, K): forecasts of P(row preferred to column) for the bets against each
            row (`stakes`).
        weights: Shape (K, K): how many comparisons each forecast is worth (`betting.gone_on`).
        leader: The policy ahead in the data.
        evidence_nats: Shape (K,), the progress shown to people (`stopping.progress`).
        needed_nats: Shape (K,), the nats that each has to reach.
        expected_remaining: Estimated comparisons to a verdict, or None if there is no estimate.
        verdict: How the experiment ends, or None while it goes on.
        next_start: What the next refresh starts from.
        fit: Whether the structure fits the counts; None if no structure is assumed.
        compared: Share of the units taking part that are compared; below 1 only where caps require it.
        used: For each source of prior counts, the probability that the forecasts use it (`priors.used`).
    """

    pairs: IntArray
    probabilities: FloatArray
    forecasts_millionths: IntArray
    weights: IntArray
    leader: int
    evidence_nats: FloatArray
    needed_nats: FloatArray
    expected_remaining: float | None
    verdict: Verdict | None
    next_start: Start
    fit: GoodnessOfFit | None = None
    compared: float = 1.0
    used: tuple[float, ...] = ()


def plan(
    tally: Tally,
    design: Design,
    rng: np.random.Generator,
    start: Start | None = None,
    caps: Caps | None = None,
    sources: Sequence[FloatArray] = (),
) -> Plan:
    """Everything a planner refresh publishes.

    Args:
        tally: What has been counted.
        design: The experiment's promise, assumptions and limits.
        rng: Source of the posterior draws.
        start: `next_start` of an earlier plan for these policies and features. It saves time; the verdict
            does not depend on it.
        caps: How much each policy may answer; None for no caps. The verdict does not depend on them.
        sources: Counts from elsewhere that inform forecasts and pairs, shape (K, K) each. The verdict does
            not depend on them.

    Raises:
        TallyError: If tally and design disagree about K.
        DesignError: If caps and design disagree about K.
        SolverError: If the program that keeps the caps is not solved.
    """
    same_policies(tally.policies, design.policies)
    if caps is not None and len(caps.most) != design.policies:
        raise DesignError(f"There are caps for {len(caps.most)} policies, and {design.policies} policies.")
    alone = scales_for(design.features, over_rivals=design.assumes_winner)
    scales = informed([source[None] for source in sources], alone) if sources else alone
    pooled = None if start is None else start.pooled
    situation = replace(Situation.of(tally, design), start=pooled, scales=scales)
    model = situation.fit
    staked = published(bets(model, design.epsilon, over_rivals=design.assumes_winner), situation)
    if design.features is not None and design.stopping == "lr-mixture":
        found = _structured_plan(situation, tally, design.features, staked, rng, start, caps)
        return replace(found, used=used(model, len(sources)))
    sampler = LlmPo(PAIRS_PER_DRAW)
    mix = capped_mix(lambda each: Mix(*pair_distribution(sampler, each, rng)), situation, caps)
    evidence_nats, needed_nats = progress(tally, design)
    # Preferences in a cycle are looked for in the comparisons themselves, whatever others said of them.
    own = fit(tally.wins[None], alone) if sources else model
    concluded = _concluded(tally, design, own)
    likeliest = None if design.features is None else _likeliest(tally, design.features, start)
    return Plan(
        pairs=mix.pairs,
        probabilities=mix.probabilities,
        forecasts_millionths=staked.forecasts[0],
        weights=staked.weights[0],
        leader=_leader(model, tally, design),
        evidence_nats=evidence_nats,
        needed_nats=needed_nats,
        expected_remaining=0.0 if concluded else _expected_remaining(model, own, tally, design),
        verdict=concluded,
        next_start=Start(model, likeliest),
        fit=None if design.features is None else goodness_of_fit(tally.wins, design.features, likeliest),
        compared=mix.compared,
        used=used(model, len(sources)),
    )


def _concluded(tally: Tally, design: Design, model: Fit) -> Verdict | None:
    if design.stopping != "e-process":
        return reached(tally, design)
    return with_last_look(conclusion(tally, design, model), tally, design, model)


def _likeliest(tally: Tally, features: Features, start: Start | None) -> LinearFit:
    return linear.fit_structure(tally.wins[None], features, start=None if start is None else start.likeliest)


def _structured_plan(
    situation: Situation,
    tally: Tally,
    features: Features,
    staked: Published,
    rng: np.random.Generator,
    start: Start | None,
    caps: Caps | None,
) -> Plan:
    """The plan where likelihood ratios decide: shares from the solver, progress of the leader's ratios."""
    design = situation.design
    fitted = _likeliest(tally, features, start)
    evidence_nats, needed_nats = likelihood_ratio.leader_progress(tally.wins, design, features, fitted)
    budget = math.inf if design.max_comparisons is None else design.max_comparisons
    # The verdict follows from counts and design alone; this fit only says whether there may be one.
    may_end = likelihood_ratio.lr_may_conclude(tally.wins[None], design, features, fitted)[0]
    concluded = reached(tally, design) if tally.comparisons >= budget or may_end else None
    aimed = aim(situation, features, rng, None if start is None else start.aimed)

    def dealt(each: Situation) -> Mix:
        heading = aimed if each is situation else aim(each, features, rng, aimed)
        return Mix(*from_shares(shares_due(heading, each.wins, DRAWS)[0]))

    mix = capped_mix(dealt, situation, caps)
    remaining = min(expected_remaining(aimed, situation), max(float(budget - tally.comparisons), 0.0))
    return Plan(
        pairs=mix.pairs,
        probabilities=mix.probabilities,
        forecasts_millionths=staked.forecasts[0],
        weights=staked.weights[0],
        leader=int(fitted.scores[0].argmax()),
        evidence_nats=evidence_nats,
        needed_nats=needed_nats,
        expected_remaining=0.0 if concluded else remaining,
        verdict=concluded,
        next_start=Start(situation.fit, fitted, aimed),
        fit=goodness_of_fit(tally.wins, features, fitted, aimed.posterior),
        compared=mix.compared,
    )


def _leader(model: Fit, tally: Tally, design: Design) -> int:
    """The surviving policy with the best score; the best of all if epsilon > 0 or none survives."""
    out = (
        tally.eliminated
        if design.epsilon == 0 and not tally.eliminated.all()
        else np.zeros_like(tally.eliminated)
    )
    return int(np.where(out, -np.inf, model.mean_scores[0]).argmax())


def _expected_remaining(model: Fit, own: Fit, tally: Tally, design: Design) -> float | None:
    """Comparisons to a verdict at the pace that the posterior expects; None if there is no estimate.

    Args:
        model: The posterior with everything that informs it, which says how fast evidence comes.
        own: That of the comparisons alone, which the check against circles uses.
        tally: Everything counted.
        design: The design.
    """
    pace = expected_information(model, 0.5 + design.epsilon)[0]
    if design.epsilon > 0:
        against = against_rivals(tally.evidence, tally.at_half, tally.debts, design.promise)
        work = _work(design.no_worse_nats - against / NANO, _no_worse_pace(pace, model, design))
        np.fill_diagonal(work, 0.0)
        remaining = float(work.sum(axis=0).min())
    else:
        np.fill_diagonal(pace, 0.0)
        needed = elimination_threshold(design.delta) - tally.row_totals / NANO
        work = np.where(tally.eliminated, 0.0, _work(needed, pace.max(axis=1)))
        remaining = float(np.sort(work)[:-1].sum())
    if remaining == 0 and _is_in_doubt(own, tally, design):
        remaining = np.inf  # the check against circles may need any number
    if design.max_comparisons is not None:
        remaining = min(remaining, float(design.max_comparisons - tally.comparisons))
    return max(remaining, 0.0) if np.isfinite(remaining) else None


def _is_in_doubt(model: Fit, tally: Tally, design: Design) -> bool:
    """Whether the evidence certifies policies, and none of them is cleared of every rival."""
    if not design.assumes_winner:
        return False
    certified = ~tally.eliminated if design.epsilon == 0 else qualified(tally, design)
    found = [doubts(model, policy, design.epsilon).size > 0 for policy in np.flatnonzero(certified).tolist()]
    return bool(found) and all(found)


def _no_worse_pace(pace: FloatArray, model: Fit, design: Design) -> FloatArray:
    """Nats that the best comparison of j is expected to give towards s being no worse, `[j, s]`."""
    if not design.assumes_winner:
        return pace
    elsewhere = expected_information(model, 0.5)[0]
    np.fill_diagonal(elsewhere, 0.0)
    return np.asarray(np.maximum(pace, elsewhere.max(axis=1, keepdims=True)))


def _work(needed: FloatArray, pace: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(needed > 0, needed / pace, 0.0)
