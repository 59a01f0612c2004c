"""Guardrails, simulated under continuous looking: false findings, and how fast a worse candidate is found."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable

import pytest

from gateway.llm_po.guardrails import Contrast, in_steps, tripping_nats

LEVEL, RUNS, PAIRS, HOUR = 0.1, 150, 400, 100
TOLERANCE = 0.05
ABSOLUTE, RELATIVE = Contrast(1.0, -1.0, -TOLERANCE), Contrast(1.0, -1.2, 0.0)
Draw = Callable[[random.Random, int], tuple[float, float]]


def tripped_at(contrast: Contrast, draw: Draw, seed: int, look: int = 10) -> int | None:
    """The pair at which a run finds the candidate worse, if it ever does; it looks after every so many."""
    rng = random.Random(seed)
    every: Counter[tuple[int, int]] = Counter()
    hour: Counter[tuple[int, int]] = Counter()
    for number in range(PAIRS):
        if number % HOUR == 0:
            hour = Counter()
        candidate, incumbent = draw(rng, number)
        pair = in_steps(candidate, rng.random()), in_steps(incumbent, rng.random())
        every[pair] += 1
        hour[pair] += 1
        if number % look == look - 1 and (
            contrast.nats(every) >= tripping_nats(LEVEL)
            or contrast.nats(hour) >= tripping_nats(LEVEL, 1 + number // HOUR)
        ):
            return number + 1
    return None


def chance(rng: random.Random, probability: float) -> float:
    """1 with a probability, otherwise 0."""
    return float(rng.random() < probability)


def outages(rng: random.Random, number: int) -> tuple[float, float]:
    """Both fail in the same outages, the candidate more often by just the tolerance."""
    at = 0.6 if number % 60 < 20 else 0.01
    return chance(rng, at + TOLERANCE), chance(rng, at)


@pytest.mark.parametrize(
    ("contrast", "draw", "look"),
    [
        (ABSOLUTE, lambda rng, _: (chance(rng, 0.02 + TOLERANCE), chance(rng, 0.02)), 10),
        (ABSOLUTE, outages, 10),
        (RELATIVE, lambda rng, _: (1.2 * 0.8 * rng.betavariate(2, 5), 0.8 * rng.betavariate(2, 5)), 40),
    ],
    ids=["worse by just the tolerance", "in outages of both", "a fifth more of a real number"],
)
def test_candidates_no_worse_are_rarely_found_worse(contrast: Contrast, draw: Draw, look: int) -> None:
    """The rate is at most the level, allowing for chance, although every few pairs are looked at."""
    found = sum(tripped_at(contrast, draw, seed, look) is not None for seed in range(RUNS))
    assert found / RUNS <= LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / RUNS)


def test_a_worse_candidate_is_found() -> None:
    """One answer in four failing instead of one in fifty is found in every run."""
    ends = [
        tripped_at(ABSOLUTE, lambda rng, _: (chance(rng, 0.25), chance(rng, 0.02)), seed)
        for seed in range(40)
    ]
    assert all(end is not None and end <= 300 for end in ends)


def test_a_late_regression_is_found() -> None:
    """A candidate without fault for 300 pairs is found soon after it begins to fail."""

    def draw(rng: random.Random, number: int) -> tuple[float, float]:
        return chance(rng, 0.02 if number < 300 else 0.5), chance(rng, 0.02)

    ends = [tripped_at(ABSOLUTE, draw, seed) for seed in range(40)]
    assert all(end is not None and 300 < end <= 400 for end in ends)
