"""Nonsense about counts, evidence, designs and runs, for the functions that take them."""

from __future__ import annotations

import numpy as np

from gateway.llm_po import (
    bradley_terry,
    certificate,
    confidence,
    distribution,
    draws,
    evidence,
    forecast,
    glr,
    holdback,
    lines,
    plan,
    rules,
    samplers,
    stopping,
    succession,
    wins,
)
from gateway.llm_po.lab import baselines, judges, simulate, traces, trial, worlds
from gateway.llm_po.structured import features, goodness_of_fit, likelihood_ratio, linear
from tests.llm_po.nonsense import (
    COUNTS,
    DESIGN,
    EVEN,
    FITTED,
    HUGE,
    INF,
    NAN,
    NO_ARRAY,
    NO_COUNTS,
    NO_DELTA,
    NO_MARGIN,
    NO_NUMBER,
    NO_TEXT,
    NO_WHOLE,
    ONE_HOT,
    OTHER,
    PREFERENCES,
    RNG,
    SITUATION,
    STANDING,
    STORED,
    TALLY,
    WORLD,
    Case,
)

RUNS: list[Case] = [
    (evidence.clip_forecasts, {}, {"q": [None, "text", {}, NAN, [0.5, INF], [[1], [1, 2]], HUGE]}),
    (evidence.in_millionths, {}, {"q": [None, "text", 0.5, [0.5, 0.5], [[0.5, NAN], [0.5, 0.5]]]}),
    (
        evidence.increments,
        {"probability_millionths": 400_000, "epsilon": 0.0},
        {
            "probability_millionths": [*NO_WHOLE, 0, 10_000, HUGE],
            "epsilon": NO_MARGIN,
            "second_millionths": [*NO_WHOLE[1:], 0, 10_000, HUGE],
        },
    ),
    (
        confidence.mixture_evidence,
        {"wins": 3, "losses": 2, "probability": 0.4},
        {"wins": NO_WHOLE, "losses": NO_WHOLE, "probability": [*NO_NUMBER, -0.1, 1.1]},
    ),
    (
        confidence.preference_interval,
        {"wins": 3, "losses": 2, "delta": 0.05},
        {"wins": NO_WHOLE, "losses": NO_WHOLE, "delta": NO_DELTA},
    ),
    (lines.elimination_threshold, {}, {"delta": NO_DELTA}),
    (lines.elimination_nano_nats, {}, {"delta": NO_DELTA}),
    *(
        (
            threshold,
            {"delta": 0.05, "policies_ever": 3},
            {"delta": NO_DELTA, "policies_ever": [*NO_WHOLE, 1], "removed": [*NO_WHOLE, 2]},
        )
        for threshold in (lines.no_worse_threshold, lines.no_worse_nano_nats)
    ),
    *(
        (threshold, {"delta": 0.05}, {"delta": NO_DELTA, "removed": NO_WHOLE})
        for threshold in (lines.best_threshold, lines.best_nano_nats)
    ),
    (lines.checked_promise, {}, {"promise": NO_TEXT}),
    (
        evidence.Tally,
        {
            "wins": COUNTS,
            "ties": COUNTS * 0,
            "evidence": COUNTS * 0,
            "eliminated": [0, 0, 0],
            "comparisons": 35,
        },
        {
            "wins": NO_COUNTS,
            "ties": [*NO_COUNTS, np.triu(np.ones((3, 3)), 1)],
            "evidence": [*NO_ARRAY, np.full((3, 3), 1e30), np.full((3, 3), NAN), np.eye(3)],
            "eliminated": [None, "text", [NAN, 0, 0], [0, 0], [0, 2, 0], [["a"], [], 1]],
            "comparisons": [None, "text", NAN, 34, -1],
            "at_half": [
                *NO_ARRAY[1:],
                np.full((3, 3), 1e30),
                np.full((3, 3), NAN),
                np.eye(3),
                np.zeros((4, 4)),
            ],
            "debts": [
                "text",
                [NAN, 0, 0],
                [0, 0],
                [0, 0, 1],
                [-0.5, 0, 0],
                [-1e30, 0, 0],
                [[0], [0], [0, 1]],
            ],
        },
    ),
    (evidence.Tally.empty, {}, {"policies": [*NO_WHOLE, 0, 1]}),
    (
        evidence.Ledgers,
        {"runs": 2, "policies": 3, "delta": 0.05, "epsilon": 0.0},
        {
            "runs": NO_WHOLE,
            "policies": [*NO_WHOLE, 1],
            "delta": NO_DELTA,
            "epsilon": NO_MARGIN,
            "promise": NO_TEXT,
        },
    ),
    (
        evidence.Ledger,
        {"policies": 3, "delta": 0.05, "epsilon": 0.0},
        {"policies": [*NO_WHOLE, 1], "delta": NO_DELTA, "epsilon": NO_MARGIN, "promise": NO_TEXT},
    ),
    (
        evidence.Ledger(3, 0.05, 0.0).count,
        {"first": 0, "second": 1, "result": "win", "probability_millionths": 400_000},
        {
            "first": [*NO_WHOLE, 1, 2],
            "second": [*NO_WHOLE, 0, 3],
            "result": NO_TEXT,
            "probability_millionths": [*NO_WHOLE[1:], 0],
        },
    ),
    (
        evidence.Ledger(3, 0.05, 0.0).inherit,
        {"tally": TALLY, "eliminated_at": (None, None, None)},
        {"tally": [OTHER], "eliminated_at": [(), (None,), (None, None, "text"), (None, None, -1)]},
    ),
    (wins.WinMatrix, {}, {"wins": NO_COUNTS}),
    (wins.checked_counts, {"name": "wins"}, {"matrix": NO_COUNTS}),
    (
        wins.square_integers,
        {"name": "evidence"},
        {"matrix": [*NO_ARRAY, [[0, 1e30], [0, 0]], [[1, 0], [0, 1]]]},
    ),
    *(
        (make, {"name": "w"}, {"scores": [*NO_ARRAY, [], [0.1], [0.1, NAN], [1e308, -1e308], [1e6, -1e6]]})
        for make in (worlds.bradley_terry,)
    ),
    (
        stopping.Design,
        {"delta": 0.05, "epsilon": 0.0, "incumbent": 0, "costs": (1.0, 1.0)},
        {
            "delta": NO_DELTA,
            "epsilon": NO_MARGIN,
            "incumbent": [*NO_WHOLE, 2],
            "costs": [None, "ab", (), (1.0,), (1.0, NAN), (1.0, -1.0), (1.0, "x"), (1.0, None), (HUGE, 1)],
            "max_comparisons": [*NO_WHOLE[1:], 0],
            "min_comparisons": NO_WHOLE,
            "objective": NO_TEXT,
            "policies_ever": [*NO_WHOLE[1:], 1],
            "features": ["text", 5, np.eye(2), ONE_HOT],
            "stopping": [*NO_TEXT, "lr-mixture"],
            "promise": NO_TEXT,
        },
    ),
    (
        stopping.Design,
        {"delta": 0.05, "epsilon": 0.0, "incumbent": 0, "objective": "cost"},
        {"costs": [(0.0, 1.0), (1e-300, 1.0), (1e300, 1.0)]},
    ),
    (stopping.beaten_nats, {"design": DESIGN}, {"wins": NO_COUNTS}),
    *(
        (judge, {"design": DESIGN}, {"tally": [OTHER]})
        for judge in (stopping.verdict, stopping.qualified, stopping.progress, rules.reached)
    ),
    (stopping.no_worse_verdict, {"champion": 0, "design": DESIGN}, {"tally": [OTHER]}),
    (stopping.conclusion, {"design": DESIGN, "fit": SITUATION.fit}, {"tally": [OTHER]}),
    (plan.plan, {"design": DESIGN, "rng": RNG}, {"tally": [OTHER]}),
    (samplers.Situation.of, {"design": DESIGN}, {"tally": [OTHER]}),
    (
        samplers.Situation,
        {"wins": COUNTS[None], "evidence": COUNTS[None], "eliminated": np.zeros((1, 3)), "design": DESIGN},
        {
            "wins": NO_COUNTS,
            "evidence": [None, "text", COUNTS],
            "eliminated": [None, np.zeros(3)],
            "at_half": ["text", COUNTS],
        },
    ),
    *((of, {}, {"wins": NO_COUNTS}) for of in (baselines.borda, glr.rival_evidence, bradley_terry.fit)),
    (
        bradley_terry.Scales.grid,
        {"cells": [(0.5, 0.0, 1.0), (0.5, 0.1, 1.0)]},
        {
            "cells": [
                *([(scale, 0.1, 1.0)] for scale in (*NO_NUMBER[:2], NAN, 0.0, -1.0, 1e308)),
                *([(0.5, scale, 1.0)] for scale in (NAN, -0.1, "x")),
                *([(0.5, 0.1, chance)] for chance in (NAN, 0.0, -1.0)),
                [],
                [(0.5, 0.1)],
            ]
        },
    ),
    (
        linear.fit_structure,
        {"wins": COUNTS[None], "features": ONE_HOT},
        {
            "wins": NO_COUNTS,
            "features": [None, np.eye(3), features.one_hot(4)],
            "precision": [*NO_NUMBER, 0.0, -1.0, 1e-320, 1e308],
        },
    ),
    (
        linear.constrained_fit,
        {
            "wins": COUNTS[None],
            "features": ONE_HOT,
            "contrasts": np.ones((1, 1, 2)),
            "bound": 0.0,
            "start": FITTED,
        },
        {
            "wins": NO_COUNTS,
            "features": [None, features.one_hot(4)],
            "contrasts": [None, "text", np.ones((1, 1, 3)), np.full((1, 1, 2), NAN), np.zeros((1, 1, 2))],
            "bound": NO_NUMBER,
        },
    ),
    (linear.draw_scores, {"fitted": FITTED, "features": ONE_HOT, "rng": RNG}, {"draws": [*NO_WHOLE, 0]}),
    (linear.identified, {"features": ONE_HOT}, {"wins": NO_COUNTS}),
    (
        goodness_of_fit.goodness_of_fit,
        {"wins": COUNTS, "features": ONE_HOT},
        {"wins": NO_COUNTS, "features": [None, np.eye(3), features.one_hot(4)]},
    ),
    (
        glr.glr_may_conclude,
        {"wins": COUNTS[None], "design": DESIGN},
        {"wins": NO_COUNTS, "threshold": NO_TEXT},
    ),
    (glr.glr_verdict, {"wins": COUNTS, "design": DESIGN}, {"wins": NO_COUNTS, "threshold": NO_TEXT}),
    (
        glr.loser_nats,
        {"wins": COUNTS[None], "threshold": "proven"},
        {"wins": NO_COUNTS, "threshold": NO_TEXT},
    ),
    (likelihood_ratio.margin_logits, {}, {"epsilon": NO_MARGIN}),
    (
        likelihood_ratio.lr_line_nats,
        {"delta": 0.05, "epsilon": 0.0, "policies": 3},
        {"delta": NO_DELTA, "epsilon": NO_MARGIN, "policies": [*NO_WHOLE, 1]},
    ),
    (
        likelihood_ratio.rival_nats,
        {
            "wins": COUNTS[None],
            "features": ONE_HOT,
            "policy": np.array([0]),
            "epsilon": 0.0,
            "fitted": FITTED,
        },
        {"wins": NO_COUNTS, "policy": [None, "text", [NAN], [3], [-1], [0, 1], 0], "epsilon": NO_MARGIN},
    ),
    (likelihood_ratio.lr_verdict, {"design": DESIGN, "features": ONE_HOT}, {"wins": NO_COUNTS}),
    (
        holdback.Holdback,
        {"champion": 0, "previous": 1, "level": 0.05, "margin": 0.0},
        {
            "champion": [*NO_WHOLE, 1],
            "previous": [*NO_WHOLE, 0],
            "level": NO_DELTA,
            "margin": NO_MARGIN,
        },
    ),
    (
        forecast.bets,
        {"fit": SITUATION.fit, "epsilon": 0.0, "over_rivals": False},
        {"epsilon": NO_MARGIN},
    ),
    (forecast.expected_information, {"fit": SITUATION.fit, "threshold": 0.5}, {"threshold": [0.4, 1.0, NAN]}),
    (draws.draw_pairs, {"fit": SITUATION.fit, "rng": RNG}, {"draws": [*NO_WHOLE, 0]}),
    (
        distribution.pair_distribution,
        {"sampler": samplers.LlmPo(), "situation": SITUATION, "rng": RNG},
        {"draws": [*NO_WHOLE, 0]},
    ),
    (distribution.from_shares, {}, {"shares": [None, "text", [1.0], EVEN * 0, -EVEN, EVEN * NAN, EVEN[:2]]}),
    (traces.checkpoints, {"most": 100}, {"most": [*NO_WHOLE, 0], "count": [*NO_WHOLE, 0]}),
    (
        succession.succeed,
        {"before": STANDING, "delta": 0.05, "sources": [0, 1, 2]},
        {"sources": [[], [0], [0, 0], [0, 7], [0, -1], [0, 1.5], [0, "text"], [0, NAN]]},
    ),
    (
        judges.SimulatedJudge,
        {"agreement": 0.8},
        {"agreement": [*NO_NUMBER, -0.1, 1.1], "per_pair": [*NO_WHOLE, 0]},
    ),
    (
        trial.Trial,
        {"world": WORLD},
        {
            "world": [None, "text", PREFERENCES],
            "method": NO_TEXT,
            "stopping": NO_TEXT,
            "delta": NO_DELTA,
            "epsilon": NO_MARGIN,
            "max_comparisons": [*NO_WHOLE[1:], 0],
            "in_flight": NO_WHOLE,
            "refresh_every": [*NO_WHOLE[1:], 0],
            "blind_start": NO_WHOLE,
            "incumbent": [*NO_WHOLE, 3],
            "costs": ["text", 5, (1.0,), (1.0, NAN, 1.0), (1.0, "x", 1.0)],
            "min_comparisons": NO_WHOLE,
            "objective": [*NO_TEXT, "cost"],
            "space": [*NO_TEXT[1:], "linear"],
            "promise": NO_TEXT,
        },
    ),
    (
        simulate.simulate,
        {"trial": trial.Trial(WORLD), "seeds": 1},
        {"seeds": [*NO_WHOLE, 0], "seed": NO_WHOLE},
    ),
    (simulate.batches, {"trial": trial.Trial(WORLD)}, {"seeds": [*NO_WHOLE, 0]}),
    (
        simulate.run_batch,
        {"trial": trial.Trial(WORLD), "batch": simulate.BatchOfRuns(0, 1), "seed": 0},
        {"seed": NO_WHOLE, "budgets": [["text"], [NAN], [-1]]},
    ),
    (
        certificate.recompute,
        {"comparisons": [], "stored": STORED},
        {
            "stored": [
                *(None, "text", {}, {**STORED, "comparisons": "text"}, {**STORED, "comparisons": NAN}),
                *({**STORED, "delta": bad} for bad in (None, "text", NAN, 2)),
                *({**STORED, "costs": bad} for bad in (None, "text", [1.0], [NAN, 1, 1])),
                *({**STORED, "features": bad} for bad in ("text", [[1], [1], [1]], np.eye(2))),
                *({**STORED, "stopping": bad} for bad in ("guess", [], None)),
                *({**STORED, "max_comparisons": bad} for bad in ("text", NAN, -1)),
                {key: value for key, value in STORED.items() if key != "comparisons"},
                {key: value for key, value in STORED.items() if key != "max_comparisons"},
            ]
        },
    ),
    (certificate.replay, {"comparisons": [], "design": DESIGN, "until": 0}, {"until": [*NO_WHOLE, 3]}),
]
