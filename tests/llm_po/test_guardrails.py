"""The evidence that a candidate is worse: against an independent computation, and what it rests on."""

from __future__ import annotations

import math
import random
from collections import Counter
from decimal import Decimal, getcontext
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.llm_po.errors import DesignError, TallyError
from gateway.llm_po.guardrails import (
    GRAIN,
    SHARES,
    Contrast,
    in_steps,
    mean_numbers,
    tripping_nats,
)

ABSOLUTE = Contrast(1.0, -1.0, -0.01)
RELATIVE = Contrast(1.0, -1.25, 0.0)
HIGHER_IS_BETTER = Contrast(-1.0, 0.75, 0.0)
CONTRASTS = [ABSOLUTE, RELATIVE, HIGHER_IS_BETTER]

steps = st.integers(0, GRAIN)
contrasts = st.sampled_from(CONTRASTS)


def capital_by_hand(contrast: Contrast, sequence: list[tuple[int, int]], sign: int) -> Decimal:
    """The mean capital after pairs one by one, in exact fractions."""
    a, b, o = (Fraction(each) for each in (contrast.candidate, contrast.incumbent, contrast.offset))
    corners = [sign * (a * c + b * i + o) for c in (0, 1) for i in (0, 1)]
    capitals = [Fraction(1) for _ in SHARES]
    for candidate, incumbent in sequence:
        h = sign * (a * Fraction(candidate, GRAIN) + b * Fraction(incumbent, GRAIN) + o)
        for index, share in enumerate(SHARES):
            capitals[index] *= 1 + Fraction(share) * h / -min(corners)
    mean = sum(capitals, Fraction(0)) / len(capitals)
    getcontext().prec = 50
    return Decimal(mean.numerator) / Decimal(mean.denominator)


@given(contrasts, st.lists(st.tuples(steps, steps), max_size=25), st.sampled_from([1, -1]))
@settings(max_examples=60, deadline=None)
def test_evidence_is_the_logarithm_of_the_mean_capital(
    contrast: Contrast, sequence: list[tuple[int, int]], sign: int
) -> None:
    """Counts give the same evidence as betting pair by pair in exact arithmetic."""
    counted = Counter(sequence)
    found = contrast.nats(counted) if sign == 1 else contrast.nats_not_worse(counted)
    assert found == pytest.approx(float(capital_by_hand(contrast, sequence, sign).ln()), abs=1e-9)


@given(contrasts, st.floats(0, 1), st.floats(0, 1), st.booleans(), st.lists(st.tuples(steps, steps)))
@settings(max_examples=200, deadline=None)
def test_a_candidate_no_worse_gains_nothing_on_average(
    contrast: Contrast, first: float, second: float, is_worse_side: bool, before: list[tuple[int, int]]
) -> None:
    """Whatever was counted before, the next pair multiplies the capital by at most 1 in expectation."""
    a, b, o = contrast.candidate, contrast.incumbent, contrast.offset
    sign = 1 if is_worse_side else -1
    if sign * (a * first + b * second + o) > 0:
        return  # not under the hypothesis
    evidence = contrast.nats if is_worse_side else contrast.nats_not_worse
    counted = Counter(before)
    expected = sum(
        (first if c else 1 - first)
        * (second if i else 1 - second)
        * math.exp(evidence(counted + Counter({(c * GRAIN, i * GRAIN): 1})) - evidence(counted))
        for c in (0, 1)
        for i in (0, 1)
    )
    assert expected <= 1 + 1e-9


@given(st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_rounding_keeps_the_expectation(number: float) -> None:
    """Over evenly spread points the mean of the steps is the number."""
    points = 4_000
    total = sum(in_steps(number, (point + 0.5) / points) for point in range(points))
    assert total / points / GRAIN == pytest.approx(number, abs=1e-4)


def test_the_order_of_pairs_does_not_matter() -> None:
    """Replicas add up counts, and the evidence is that of all pairs in any order."""
    rng = random.Random(3)
    sequence = [(rng.randint(0, GRAIN), rng.randint(0, GRAIN)) for _ in range(200)]
    one, other = Counter(sequence[:90]), Counter(sequence[90:])
    assert RELATIVE.nats(one + other) == pytest.approx(RELATIVE.nats(Counter(reversed(sequence))), abs=1e-9)


def test_clear_cases_are_found_within_few_pairs() -> None:
    """One answer in five failing instead of one in a hundred is found in a hundred pairs or so."""
    worse = Counter({(GRAIN, 0): 20, (0, GRAIN): 1, (0, 0): 79})
    as_good = Counter({(GRAIN, 0): 10, (0, GRAIN): 10, (0, 0): 2_980})
    assert ABSOLUTE.nats(worse) > tripping_nats(0.01)
    assert ABSOLUTE.nats(as_good) < 0
    assert ABSOLUTE.nats_not_worse(as_good) > tripping_nats(0.01)
    assert mean_numbers(worse) == (0.2, 0.01)
    assert mean_numbers({}) is None
    assert ABSOLUTE.nats({}) == pytest.approx(0.0, abs=1e-12)


def test_all_lines_together_keep_the_level() -> None:
    """The probabilities that the lines allow, over all pairs and hour by hour, add up to the level."""
    spent = math.exp(-tripping_nats(0.01)) + sum(
        math.exp(-tripping_nats(0.01, hour)) for hour in range(1, 20_000)
    )
    assert spent <= 0.01
    assert spent == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize(
    "bad",
    [(1.0, -1.0, -1.0), (1.0, -1.0, -2.0), (math.nan, -1.0, 0.0), (1.0, -1.0, math.inf), (0.0, 0.0, 0.0)],
)
def test_a_contrast_that_can_find_nothing_is_refused(bad: tuple[float, float, float]) -> None:
    """A tolerance of the whole range, and numbers that are none, are faults of the design."""
    with pytest.raises(DesignError):
        Contrast(*bad)


@pytest.mark.parametrize(
    "pairs", [{(0, GRAIN + 1): 1}, {(-1, 0): 1}, {(0, 0): -1}, {(0.5, 0): 1}, {(0, 0): 1.5}]
)
def test_counts_that_cannot_be_are_refused(pairs: dict[tuple[int, int], int]) -> None:
    """Numbers outside the steps and counts below zero have no evidence."""
    with pytest.raises(TallyError):
        ABSOLUTE.nats(pairs)


def test_there_is_no_line_for_an_impossible_level_or_hour() -> None:
    """Levels lie between 0 and 1, and hours are numbered from 1."""
    for level, hour in ((0.0, None), (1.0, None), (0.01, 0)):
        with pytest.raises(DesignError):
            tripping_nats(level, hour)
