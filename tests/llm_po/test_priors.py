"""Counts from elsewhere inform forecasts as far as they predict the users, and decide nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway.llm_po.bradley_terry import DEFAULT_SCALES, Fit, fit
from gateway.llm_po.evidence import Tally
from gateway.llm_po.lab import worlds
from gateway.llm_po.plan import plan
from gateway.llm_po.priors import MOST_VOTES, informed, used
from gateway.llm_po.stopping import Design
from gateway.llm_po.structured.features import one_hot
from gateway.llm_po.wins import FloatArray, IntArray

_WORLD = worlds.bradley_terry("b", [0.8, 0.3, 0.1, -0.2, -1.0]).preferences
_NOTHING = np.zeros((1, 5, 5), dtype=np.int64)


def _votes(each: float, preferences: FloatArray = _WORLD) -> FloatArray:
    """Exactly the expected votes, shape (1, 5, 5)."""
    return np.asarray(each * preferences * (1 - np.eye(5)))[None]


def _counts(each: int) -> IntArray:
    return np.round(_votes(each)).astype(np.int64)


def _chances(fitted: Fit) -> FloatArray:
    """Posterior mean of P(row preferred to column), about."""
    return np.asarray(np.einsum("g,gij->ij", fitted.weights[0], 1 / (1 + np.exp(-fitted.logits[0]))))


def test_source_moves_forecasts_before_the_first_vote() -> None:
    """Without comparisons a source counts with its probability beforehand, between ignored and believed."""
    upper = np.triu_indices(5, 1)
    alone, said = _chances(fit(_NOTHING))[upper], _chances(fit(_NOTHING, informed([_votes(16)])))[upper]
    assert alone == pytest.approx(0.5)
    assert ((said - 0.5) / (_WORLD[upper] - 0.5)).min() > 0.3
    assert ((said - 0.5) / (_WORLD[upper] - 0.5)).max() < 1


def test_weight_follows_how_well_a_source_predicts() -> None:
    """It rises with comparisons that agree and falls with those that contradict."""
    right, wrong = informed([_votes(20)]), informed([_votes(20, 1 - _WORLD)])
    beforehand = used(fit(_NOTHING, right), 1)[0]
    agreeing, contradicted = (
        [used(fit(_counts(each), scales), 1)[0] for each in (4, 12)] for scales in (right, wrong)
    )

    assert beforehand == pytest.approx(0.7)
    assert beforehand < agreeing[0] < agreeing[1]
    assert beforehand > contradicted[0] > contradicted[1]
    assert agreeing[1] > 0.95
    assert contradicted[1] < 0.05


def test_of_two_sources_the_better_one_is_used() -> None:
    """Each source has a weight of its own."""
    scales = informed([_votes(20, 1 - _WORLD), _votes(20)])
    wrong, right = used(fit(_counts(12), scales), 2)
    assert wrong < 0.05
    assert right > 0.9


def test_refuted_source_leaves_the_posterior_as_it_was() -> None:
    """Where the users contradict a source, forecasts are those without it."""
    counts = _counts(40)
    alone, said = fit(counts), fit(counts, informed([_votes(20, 1 - _WORLD)]))
    assert _chances(said) == pytest.approx(_chances(alone), abs=1e-3)


def test_source_without_counts_changes_nothing() -> None:
    """An empty source predicts as well as none."""
    counts = _counts(8)
    said = fit(counts, informed([np.zeros((1, 5, 5))]))
    assert _chances(said) == pytest.approx(_chances(fit(counts)), abs=1e-6)
    assert used(said, 1)[0] == pytest.approx(0.7)


def test_a_million_verdicts_weigh_no_more_than_a_few() -> None:
    """A pair gets a limited number of votes, so a large source can be refuted as soon as a small one."""
    few, many = informed([_votes(MOST_VOTES)]), informed([_votes(1e6)])
    assert many.votes == pytest.approx(few.votes)


def test_pairs_that_a_source_never_compared_get_no_votes() -> None:
    """Counts may be of some pairs only."""
    partial = _votes(10)
    partial[:, 4, :] = partial[:, :, 4] = 0
    scales = informed([partial])
    assert scales.votes is not None
    assert not scales.votes[:, :, 4].any()
    assert np.isfinite(_chances(fit(_counts(4), scales))).all()


def test_runs_may_have_sources_of_their_own() -> None:
    """Each run is fitted with its own source, and keeps it when others leave."""
    both = np.concatenate([_votes(20), _votes(20, 1 - _WORLD)])
    counts = np.repeat(_counts(12), 2, axis=0)
    scales = informed([both])
    fitted = fit(counts, scales)
    kept = fit(counts[1:], scales.of(np.array([False, True])), fitted.of(np.array([False, True])))

    assert used(fitted, 1)[0] > 0.95
    assert used(kept, 1)[0] < 0.05


def test_earlier_fit_over_another_grid_is_not_started_from() -> None:
    """The first verdicts of a judge change the grid; the next plan then starts anew."""
    scales = informed([_votes(20)])
    cold, warm = fit(_counts(8), scales), fit(_counts(8), scales, fit(_counts(4)))
    assert _chances(warm) == pytest.approx(_chances(cold), abs=1e-6)


@pytest.mark.parametrize("features", [None, one_hot(5)])
def test_verdict_depends_on_no_source(features: object) -> None:
    """A source changes forecasts and pairs of a plan, never what is decided."""
    counts = _counts(400)[0]
    line = round(math.log(5 / 0.05) * 1e9) + 1
    evidence = np.where(np.arange(5)[None] == 0, line, 0) * (1 - np.eye(5, dtype=np.int64))
    tally = Tally(counts, np.zeros((5, 5), dtype=np.int64), evidence, np.zeros(5, dtype=np.bool_), 4000)
    design = Design(0.05, 0.02, 1, (0.0,) * 5, features=features)
    plans = [
        plan(tally, design, np.random.default_rng(1), sources=sources)
        for sources in ([], [_votes(1000, 1 - _WORLD)[0]])
    ]
    verdicts = [each.verdict for each in plans]
    assert verdicts[0] is not None
    assert verdicts[0].champion == 0
    assert verdicts[0] == verdicts[1]
    assert [len(each.used) for each in plans] == [0, 1]


def test_default_grid_is_untouched() -> None:
    """Repeating the grid for a source leaves the usual one without votes."""
    informed([_votes(20)])
    assert DEFAULT_SCALES.votes is None
    assert DEFAULT_SCALES.of(np.array([True])) is DEFAULT_SCALES
