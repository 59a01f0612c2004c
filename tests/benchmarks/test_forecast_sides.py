"""The comparison of forecasts with the former ones still runs."""

from __future__ import annotations

import pytest

from benchmarks.forecast_sides import KINDS, cases, taken
from gateway.llm_po import samplers
from gateway.llm_po.lab import simulate


def test_former_forecasts_run_beside_those_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds bring the same runs to a decision, though not after the same number of comparisons."""
    for module, name in ((simulate, "bets"), (simulate, "fit"), (samplers, "fit")):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back afterwards
    earlier, today = (taken(cases()[0], 5, kind)[0] for kind in KINDS)

    assert earlier.shape == today.shape == (5,)
    assert min(earlier.min(), today.min()) > 0
    assert (earlier != today).any()
