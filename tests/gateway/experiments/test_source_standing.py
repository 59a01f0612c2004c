"""How a source agrees with people, pair by pair."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway.experiments.plan_values import InformingSource
from gateway.experiments.source_standing import standing
from gateway.llm_po.belief import gained_nats
from gateway.llm_po.bradley_terry import fit
from gateway.llm_po.priors import informed, used

_PEOPLE = ((0, 9, 4), (3, 0, 5), (1, 5, 0))


def test_pairs_with_a_preference_on_both_sides_are_compared() -> None:
    """A pair in which people or the source prefer neither says nothing."""
    found = standing(InformingSource("judge", ((0, 2, 1), (7, 0, 3), (0, 1, 0))), _PEOPLE, {"judge": 0.4})
    assert (found.comparisons, found.used) == (14, 0.4)
    assert (found.pairs, found.agreed) == (2, 1)
    assert found.low == pytest.approx(0.0945, abs=1e-3)
    assert found.high == pytest.approx(0.9055, abs=1e-3)


def test_without_pairs_nothing_is_known() -> None:
    """The interval is then everything."""
    found = standing(InformingSource("run", ((0, 3), (1, 0))), ((0, 0), (0, 0)), {})
    assert (found.pairs, found.agreed, found.low, found.high) == (0, 0, 0.0, 1.0)
    assert found.gained_nats is None


@pytest.mark.parametrize("sources", [1, 2, 3])
def test_a_source_that_says_nothing_new_gains_nothing(sources: int) -> None:
    """It is believed as far as beforehand: alone, or together with all others."""
    grid = informed([np.zeros((1, 3, 3))] * sources)
    beforehand = used(fit(np.zeros((1, 3, 3), dtype=np.int64), grid), sources)
    gained = [gained_nats(probability, sources) for probability in beforehand]

    assert gained == pytest.approx([0.0] * sources, abs=1e-9)


def test_a_source_gains_what_it_predicts_better() -> None:
    """The gain is the logarithm of the odds over those beforehand, and finite for one that is certain."""
    assert gained_nats(0.7, 1) == pytest.approx(0.0)
    assert gained_nats(0.95, 1) == pytest.approx(math.log(19) - math.log(7 / 3))
    assert -30 < gained_nats(0.0, 2) < -20 < 20 < gained_nats(1.0, 1) < 30
