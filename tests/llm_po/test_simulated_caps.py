"""Exposure caps in simulated trials: each run plans as a gateway does, and counts the units the caps cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gateway.llm_po.errors import DesignError
from gateway.llm_po.exposure import Caps
from gateway.llm_po.lab.simulate import Summary, Trial, batches, simulate
from gateway.llm_po.lab.trial import RunEnding
from gateway.llm_po.lab.worlds import bradley_terry

WORLD = bradley_terry("three", [0.0, 0.9, 0.3])
CAPS = Caps(incumbent=0, most=(1.0, 0.1, 1.0), least=0.6)


def _capped(caps: Caps | None, **more: Any) -> Trial:
    sizes: dict[str, Any] = {"max_comparisons": 60, "refresh_every": 20, **more}
    return Trial(WORLD, caps=caps, **{"delta": 0.3, "epsilon": 0.02, **sizes})


def test_simulated_runs_keep_the_caps_and_tell_what_they_cost() -> None:
    """The best policy answers a tenth; the incumbent more than any pair gives it, so units are left to it."""
    within, free = simulate(_capped(CAPS), seeds=2), simulate(_capped(None), seeds=2)

    chance = 3 * np.sqrt(0.1 / (2 * within.mean_units))
    assert within.answered[1] <= 0.1 + chance
    assert within.answered[0] >= 0.6 - chance
    assert sum(within.answered) == pytest.approx(1.0)
    assert within.mean_units >= 2 * within.mean / 0.8
    assert within.to_json()["mean_units"] == within.mean_units
    assert free.answered == ()
    assert free.mean_units == 2 * free.mean


def test_policies_keep_their_caps_in_the_order_of_each_run() -> None:
    """Runs number policies in an order of their own; the cap and the incumbent move with their policies."""
    order = np.array([2, 0, 1])
    caps = _capped(CAPS).relabelled_caps(order)

    assert caps is not None
    assert caps.most == (1.0, 1.0, 0.1)
    assert caps.incumbent == 1


def test_decision_waits_for_the_units_of_the_fewest_opportunities() -> None:
    """What a minimum duration asks for is time, in which caps leave fewer comparisons."""
    design = {"delta": 0.9, "max_comparisons": None}
    early = simulate(_capped(CAPS, **design), seeds=1).endings[0]
    late = simulate(_capped(CAPS, **design, min_opportunities=300.0), seeds=1).endings[0]

    assert early.opportunities is not None
    assert late.opportunities is not None
    assert early.opportunities < 300 <= late.opportunities


def test_answers_of_units_left_to_the_incumbent_are_its_own() -> None:
    """200 of 600 units were compared: the incumbent answered 50 of these and the other 400."""
    ending = RunEnding("winner", is_wrong=False, comparisons=100, opportunities=300.0, requests=(50, 30, 120))
    summary = Summary(_capped(CAPS), (ending,))

    assert summary.mean_units == 600
    assert summary.answered == pytest.approx((450 / 600, 30 / 600, 120 / 600))


def test_each_capped_run_is_a_batch_of_its_own() -> None:
    """The shares of a capped run are projected separately, so runs have nothing to share."""
    assert [batch.runs for batch in batches(_capped(CAPS), 3)] == [1, 1, 1]


def test_caps_of_another_world_or_incumbent_are_refused() -> None:
    """Such caps would apply to policies that were not meant."""
    with pytest.raises(DesignError, match="caps for 2 policies"):
        _capped(Caps(0, (1.0, 0.1)))
    with pytest.raises(DesignError, match="incumbent"):
        _capped(Caps(1, (1.0, 1.0, 0.1)))
    with pytest.raises(DesignError, match="allow no comparisons"):
        simulate(_capped(Caps(0, (1.0, 1.0, 1.0), least=1.0)), seeds=1)
