"""Watches over promotions, simulated: who is taken back at which level."""

from __future__ import annotations

import math
import random

import pytest

from gateway.llm_po.holdback import Holdback

LEVEL, MARGIN, COMPARISONS = 0.1, 0.02, 300
WATCHES = 400


def share_rolled_back(world: list[float], seed: int) -> float:
    """Of so many watches of a promoted policy with these chances of being preferred, how many turn."""
    holdback, rng, turned = (
        Holdback(champion=1, previous=0, level=LEVEL, margin=MARGIN),
        random.Random(seed),
        0,
    )
    for _ in range(WATCHES):
        latest: list[bool] = []
        nano_nats, increments = 0, (0, 0, 0, 0)
        for number, chance in enumerate(world):
            if number % 15 == 0:
                increments = holdback.increments(holdback.forecast(reversed(latest)))
            latest.append(rng.random() < chance)
            nano_nats += increments[3 if latest[-1] else 2]
            if nano_nats >= holdback.line_nano_nats:
                turned += 1
                break
    return turned / WATCHES


@pytest.mark.parametrize(
    "world",
    [
        [0.5 - MARGIN] * COMPARISONS,
        [0.5 - MARGIN + 0.2 * (number % 40 < 20) for number in range(COMPARISONS)],
    ],
    ids=["worse by just the margin", "changing, never worse than that"],
)
def test_policies_no_worse_are_rarely_taken_back(world: list[float]) -> None:
    """The rate is at most the level, allowing for chance, whatever the forecasts learn."""
    allowed = LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / WATCHES)
    assert share_rolled_back(world, seed=11) <= allowed


def test_an_effect_that_fades_is_found_and_a_steady_one_stays() -> None:
    """A fading effect is found although the promoted policy won the first half of the comparisons."""
    fading = [0.65] * (COMPARISONS // 2) + [0.3] * (COMPARISONS // 2)
    assert share_rolled_back(fading, seed=12) > 0.9
    assert share_rolled_back([0.65] * COMPARISONS, seed=13) < 0.01
