"""Values that are nonsense somewhere, by what they fail to be, and a few that make sense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gateway.llm_po import certificate, evidence, samplers, stopping, succession
from gateway.llm_po.lab import worlds
from gateway.llm_po.structured import features, linear

NAN, INF = float("nan"), float("inf")
HUGE = 10**400  # no floating-point number
RNG = np.random.default_rng(0)

NO_NUMBER = [None, "text", [], {}, NAN, INF, -INF, HUGE, 1j, True]
NO_SHARE = [*NO_NUMBER, -0.5, 1.5]
NO_DELTA = [*NO_SHARE, 0, 1, 1e-320]
NO_MARGIN = [*NO_SHARE, 0.5, 0.5 - 1e-17]
NO_LOGITS = [*NO_NUMBER, -1.0, 1e308]
NO_WHOLE = [None, "text", [], {}, NAN, INF, -1, 1.5, True]
NO_ARRAY: list[Any] = [None, "text", {}, [[1, 2], [3]], [["a", "b"], ["c", "d"]], 1.0, [[HUGE, 0], [0, 0]]]
NO_COUNTS: list[Any] = [
    *NO_ARRAY,
    [[0]],
    [[0, 1, 2], [1, 0, 3]],
    [[0, -1], [1, 0]],
    [[0, NAN], [1, 0]],
    [[0, 1.5], [1, 0]],
    [[0, 1e30], [1, 0]],
    np.array([[0, 2**63], [1, 0]], dtype=np.uint64),
    np.zeros((4, 4, 4, 4)),
]
NO_PREFERENCES: list[Any] = [
    *NO_ARRAY,
    [[0.5]],
    [0.5, 0.5],
    [[0.5, NAN], [0.5, 0.5]],
    [[0.5, 0.7], [0.7, 0.5]],
    [[0.5, 1.2], [-0.2, 0.5]],
    [[0.5, 1e308], [-1e308, 0.5]],
    [[0.5, 1j], [1, 0.5]],
]
NO_COSTS: list[Any] = [
    *(each for each in NO_ARRAY if each is not None),
    np.ones((2, 2)),
    np.ones((3, 4)),
    np.zeros((3, 3)),
    -np.ones((3, 3)),
    np.full((3, 3), NAN),
    np.full((3, 3), INF),
    np.full((3, 3), 1e-300),
    np.full((3, 3), 1e300),
    [[1, 2, 1], [1, 1, 1], [1, 1, 1]],
]
NO_SCORES: list[Any] = [
    *NO_ARRAY,
    [1.0, 2.0],
    [0.3, NAN, 0.0],
    [INF, 0.0, 0.0],
    [1e308, -1e308, 0.0],
    [1e6, -1e6, 0.0],
    [0.5, 0.5, 0.1],
    [0.5, 0.5 - 1e-12, 0.1],
]
NO_ROWS: list[Any] = [
    *NO_ARRAY,
    [[1.0]],
    [1.0, 2.0],
    [[0.0], [NAN]],
    [[1.0], [1.0]],
    [[1e308], [-1e308]],
    np.zeros((3, 0)),
]
NO_ORDER: list[Any] = [None, "text", [0, 1, 7], [0, 1, -1], [0, 1, NAN], [0, 1], [0, 0, 1]]
NO_TEXT = [None, 3, NAN, [], "guess"]

ONE_HOT = features.one_hot(3)
WORLD = worlds.bradley_terry("w", [0.8, 0.3, 0.0])
PREFERENCES = WORLD.preferences
DESIGN = stopping.Design(0.05, 0.0, 0, (1.0, 1.0, 1.0))
COUNTS = np.array([[0, 8, 9], [4, 0, 6], [3, 5, 0]])
TALLY = evidence.Tally(COUNTS, COUNTS * 0, COUNTS * 0, np.zeros(3, dtype=np.bool_), 35)
SITUATION = samplers.Situation.of(TALLY, DESIGN)
FITTED = linear.fit_structure(COUNTS[None], ONE_HOT)
EVEN = (np.ones((3, 3)) - np.eye(3)) / 3
STANDING = succession.GenerationStanding(TALLY, (None, None, None), 3)
STORED = certificate.certificate(
    stopping.Verdict("inconclusive", None, None, None), TALLY, DESIGN, (None, None, None)
)
OTHER = evidence.Tally.empty(4)

Case = tuple[Callable[..., Any], dict[str, Any], dict[str, list[Any]]]
"""A function, arguments it accepts, and for some of them what it must refuse."""
