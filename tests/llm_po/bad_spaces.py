"""Nonsense about worlds, features, costs and scores, for the functions that take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gateway.llm_po import exposure, unstructured
from gateway.llm_po.lab import matching, reference, voters, world_files, worlds
from gateway.llm_po.structured import features, solver
from tests.llm_po.nonsense import (
    HUGE,
    INF,
    NAN,
    NO_ARRAY,
    NO_COSTS,
    NO_DELTA,
    NO_LOGITS,
    NO_MARGIN,
    NO_NUMBER,
    NO_ORDER,
    NO_PREFERENCES,
    NO_ROWS,
    NO_SCORES,
    NO_SHARE,
    NO_TEXT,
    NO_WHOLE,
    ONE_HOT,
    PREFERENCES,
    WORLD,
    Case,
)

SPACES: list[Case] = [
    (unstructured.bernoulli_kl, {"p": 0.3, "q": 0.5}, {"p": [*NO_SHARE[:2], NAN, -1], "q": [0, 1, NAN, "x"]}),
    (unstructured.checked_preferences, {}, {"matrix": NO_PREFERENCES}),
    (unstructured.champion_of, {}, {"preferences": [*NO_PREFERENCES, np.full((2, 2), 0.5)]}),
    (
        unstructured.optimal_allocation,
        {"preferences": PREFERENCES},
        {"preferences": NO_PREFERENCES, "costs": NO_COSTS},
    ),
    (
        unstructured.no_worse_hardness,
        {"preferences": PREFERENCES, "epsilon": 0.1},
        {
            "preferences": NO_PREFERENCES,
            "epsilon": NO_MARGIN,
            "costs": NO_COSTS,
            "promise": [*NO_TEXT[1:], None],
        },
    ),
    (
        unstructured.lower_bound,
        {"hardness": 5.0, "delta": 0.05},
        {"hardness": [None, "text", NAN, -INF, -1.0, HUGE], "delta": NO_DELTA},
    ),
    (
        reference.solve_allocation,
        {"preferences": PREFERENCES},
        {"preferences": NO_PREFERENCES, "costs": NO_COSTS},
    ),
    (
        reference.solve_structured,
        {"scores": [0.8, 0.3, 0.0], "features": ONE_HOT},
        {
            "scores": [*NO_SCORES, [20.0, 0.0, -3.0]],
            "features": [None, "text", np.eye(3)],
            "ridge": [*NO_LOGITS, 1e-300],
            "margin": NO_LOGITS,
            "costs": NO_COSTS,
        },
    ),
    (
        solver.solve,
        {"scores": [[0.8, 0.3, 0.0]], "features": ONE_HOT},
        {
            "scores": [each if each is None else [each] for each in NO_SCORES],
            "features": [None, "text", np.eye(3)],
            "margin": NO_LOGITS,
            "costs": NO_COSTS,
            "ridge": [*NO_LOGITS, 1e-300],
            "tolerance": [*NO_NUMBER, 0.0, -1.0],
            "most_iterations": [*NO_WHOLE, 0],
        },
    ),
    (
        solver.checked_scores,
        {"features": ONE_HOT},
        {"scores": [None, "text", [0.1, 0.2, 0.3], [[NAN] * 3]]},
    ),
    (solver.check_gaps, {}, {"gaps": [np.zeros(2), np.array([1.0, -1.0])]}),
    (solver.check_numbers, {"margin": 0.0, "ridge": 0.0}, {"margin": NO_LOGITS, "ridge": NO_LOGITS}),
    (features.Features, {"rows": np.eye(3)}, {"rows": NO_ROWS}),
    (features.one_hot, {}, {"policies": [*NO_WHOLE, 0, 1]}),
    (ONE_HOT.relabelled, {}, {"order": NO_ORDER[:5]}),
    (
        features.Grid,
        {"axes": {"m": "ab"}},
        {
            "axes": [
                None,
                "text",
                [],
                {},
                {"m": None},
                {"m": []},
                {"m": [1, 2]},
                {"m": ["a", "a"]},
                {"m": [[]]},
            ],
            "interactions": [(("m",),), (("m", "x"),), (None,), ((1, 2),)],
        },
    ),
    (features.Grid({"m": "ab"}).features, {}, {"labels": [("a",), ("a", "b", "c")]}),
    (
        features.coded,
        {"levels": {"m": "ab"}},
        {"levels": [{}, {"m": ""}, {"m": None}, {"m": [1, 2]}, {"m": "ab", "p": "x"}, {"m": "aa"}]},
    ),
    (
        worlds.linear,
        {"name": "w", "features": np.eye(2), "theta": [0.1, 0.0]},
        {"features": NO_ROWS, "theta": [None, "text", [NAN, 0], [1.0], [1e308, -1e308], [[1, 2]]]},
    ),
    (
        worlds.grid,
        {"name": "w"},
        {
            "effects": [
                *(None, "text", [], {}, {"m": None}, {"m": {}}, {"m": [0, 1]}, {"m": {"a": 0}}),
                *({"m": {"a": bad, "b": 0}} for bad in (None, "text", NAN, INF, True, [], HUGE, 1e308)),
            ]
        },
    ),
    (worlds.named, {"name": "w"}, {"preferences": NO_PREFERENCES}),
    (worlds.success_rates, {"name": "w"}, {"rates": [None, "text", [0.5], [0, 0.5], [NAN, 0.5], [1.5, 0.5]]}),
    (
        matching.Outcomes,
        {"rates": (0.4, 0.6), "later": (0.5, 0.7)},
        {
            "rates": [None, "text", 0.5, {}, (0.5, "a"), (NAN, 0.5), (0.0, 0.5), (0.5, 1.0)],
            "later": ["text", 0.5, (0.5,), (0.5, NAN), (0.0, 0.5)],
            "drift_units": NO_WHOLE[1:],
            "reported": ["text", 0.5, (0.5,), (0.5, 0.0), (0.5, 1.5)],
            "delays": [*NO_WHOLE, (1,), (1, -1), (1, 0.5)],
            "hold": NO_WHOLE[1:],
            "wait": [*NO_WHOLE[1:], 0],
            "order": NO_TEXT,
            "lagging_share": [*NO_SHARE, 0, 1],
            "reported_failures": ["text", 0.5, (0.5,), (0.5, 0.0), (0.5, 1.5)],
        },
    ),
    (
        matching.outcomes_from_json,
        {"content": {"rates": [0.4, 0.6], "hold": 5}},
        {
            "content": [
                *(None, "text", 0.5, [], {"hold": 5}, {"rates": 0.5, "hold": 5}),
                {"rates": [0.4, 0.6], "later": [0.5, 0.6]},
                {"rates": [0.4, 0.6], "drift_units": 5},
                {"rates": [0.4, 0.6], "delays": 3},
            ]
        },
    ),
    (
        worlds.matched,
        {"name": "w", "outcomes": matching.Outcomes((0.4, 0.6))},
        {
            "outcomes": [
                None,
                "text",
                0.5,
                matching.Outcomes((0.4,)),
                matching.Outcomes((0.4, 0.6), (0.6, 0.4)),
            ]
        },
    ),
    (
        exposure.Caps,
        {"incumbent": 0, "most": (1.0, 0.2)},
        {
            "incumbent": [*NO_WHOLE, 2],
            "most": [None, 0.5, {}, (), "text", (1.0, NAN), (1.0, 0.0), (1.0, "a")],
            "least": NO_SHARE,
            "answers": [None, "text", 0, 3, NAN],
        },
    ),
    (
        worlds.cycle,
        {"name": "w", "policies": 3, "chance": 0.8},
        {"policies": [*NO_WHOLE, 1], "chance": NO_SHARE},
    ),
    (
        worlds.misfit,
        {"name": "w", "scores": [0.5, 0.0], "effect_sd": 0.1, "margin": 0.1, "seed": 0},
        {
            "scores": [None, "text", [NAN, 0], [1e308, -1e308]],
            "effect_sd": [*NO_NUMBER, -1.0, 1e308],
            "margin": NO_NUMBER,
            "seed": NO_WHOLE,
        },
    ),
    (
        worlds.drifting,
        {"name": "w", "scores": [0.5, 0.0], "later": [0.3, 0.0], "period": 100},
        {
            "scores": [None, [0.1, NAN], [0.1]],
            "later": [[0.0, 0.5], "text", [1, 0, 0]],
            "period": [*NO_WHOLE, 0],
        },
    ),
    (
        worlds.Drift,
        {"towards": PREFERENCES, "period": 9},
        {"towards": NO_PREFERENCES, "period": [*NO_WHOLE, 0]},
    ),
    (
        worlds.World,
        {"name": "w", "labels": ("a", "b", "c"), "preferences": PREFERENCES},
        {
            "labels": [None, "abc", ("a", "b"), ("a", "a", "b"), (1, 2, 3), ([], [], [])],
            "preferences": NO_PREFERENCES,
            "ties": [
                *NO_ARRAY[1:],
                np.eye(2),
                np.full((3, 3), NAN),
                np.full((3, 3), 1.5),
                np.full((3, 3), -1.0),
            ],
            "drift": ["text", 5],
            "features": ["text", np.eye(3), features.one_hot(2)],
            "outcomes": ["text", 5],
            "voters": ["text", 5, voters.Voters((1.0,), (np.full((2, 2), 0.5),), 1)],
        },
    ),
    (
        voters.Voters,
        {"shares": (0.5, 0.5), "kinds": (PREFERENCES, PREFERENCES), "votes": 2},
        {
            "shares": [None, "text", 0.5, (0.5,), (0.5, "a"), (NAN, 0.5), (0.7, 0.7), (1.5, -0.5)],
            "kinds": [None, 5, (PREFERENCES,), (PREFERENCES, np.full((2, 2), 0.5)), (PREFERENCES, None)],
            "votes": [*NO_WHOLE, 0],
            "cap": [*NO_WHOLE[1:], 0],
        },
    ),
    (worlds.voted, {"name": "w"}, {"voters": [None, "text", 5]}),
    (WORLD.relabelled, {}, {"order": NO_ORDER}),
    (WORLD.is_wrong, {"policy": 0, "epsilon": 0.0}, {"policy": [*NO_WHOLE, 3], "epsilon": NO_MARGIN}),
    (world_files.load_world, {}, {"path": [Path("nowhere.json"), Path()]}),
    (
        world_files.world_from_json,
        {"default_name": "w"},
        {
            "content": [
                *(
                    {},
                    {1: 2},
                    {"P": None},
                    {"scores": "text"},
                    {"rates": [2, 3]},
                    {"grid": 3},
                    {"grid": {"m": 1}},
                ),
                *({"features": [[1]], "theta": [1]}, {"features": [[1], [2]]}, {"features": 1, "theta": "x"}),
                *({"scores": [0, 1], "labels": bad} for bad in (3, "ab", ["a"], ["a", "a"], {"a": 1})),
            ]
        },
    ),
]
