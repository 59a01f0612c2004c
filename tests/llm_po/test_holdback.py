"""What a watch counts: bets that a champion no worse can rarely lose to, and a log that anyone can replay."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.llm_po.errors import DesignError, LlmPoError, ReplayError
from gateway.llm_po.holdback import Holdback, replay_watch
from gateway.llm_po.lines import NANO

WATCH = Holdback(champion=2, previous=1, level=0.05, margin=0.1)


@dataclass(frozen=True)
class Line:
    """A line of a watch's log."""

    number: int
    result: str
    probability_millionths: int = 750_000
    plan_version: int = 1
    first: int = 1
    second: int = 2


def lines(results: str) -> list[Line]:
    """A log, from letters: w and l for the pair's first policy, t for a tie."""
    words = {"w": "win", "l": "loss", "t": "tie"}
    return [Line(number, words[letter]) for number, letter in enumerate(results, start=1)]


@given(
    st.lists(st.booleans(), max_size=40),
    st.sampled_from([0.0, 0.02, 0.1, 0.3]),
    st.floats(0.0, 1.0),
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_a_champion_no_worse_loses_nothing_on_average(
    seen: list[bool], margin: float, above: float, comes_first: bool
) -> None:
    """The expected factor of the next outcome is at most one, whatever was seen before."""
    champion, previous = (0, 1) if comes_first else (1, 0)
    watch = Holdback(champion, previous, 0.05, margin)
    chance = 0.5 - margin + above * (0.5 + margin)
    increments = watch.increments(watch.forecast(seen))
    if_preferred, if_not = increments[:2] if comes_first else (increments[3], increments[2])

    assert chance * math.exp(if_preferred / NANO) + (1 - chance) * math.exp(if_not / NANO) <= 1 + 1e-12


def test_recent_outcomes_weigh_more() -> None:
    """The same outcomes, the losses last: the forecast is against the champion."""
    losses, wins = [False] * 60, [True] * 60
    watch = Holdback(champion=0, previous=1, level=0.05, margin=0.0)
    assert watch.forecast(losses + wins) < 400_000
    assert watch.forecast(wins + losses) > 600_000
    assert watch.forecast([]) == 500_000
    assert replace(watch, champion=1, previous=0).forecast(losses + wins) > 600_000


def test_a_log_replays_to_what_was_counted() -> None:
    """The replay gives wins, losses, ties and the first comparison that reached the line."""
    bet = WATCH.increments(750_000)
    found = replay_watch(lines("wwtl" + "w" * 20), WATCH)

    assert (found.comparisons, found.wins, found.losses) == (24, 1, 22)
    assert found.nano_nats == 22 * bet[2] + bet[3]
    assert found.turned_at is not None
    before = replay_watch(lines("wwtl" + "w" * 20)[: found.turned_at - 1], WATCH)
    assert before.turned_at is None
    assert before.nano_nats < WATCH.line_nano_nats <= found.nano_nats


def test_outcomes_from_before_the_first_forecast_are_no_evidence() -> None:
    """Outcomes from before the first forecast are counted, but add no evidence."""
    found = replay_watch([replace(line, plan_version=0) for line in lines("ww")], WATCH)
    assert (found.losses, found.nano_nats) == (2, 0)


@pytest.mark.parametrize(
    "changed",
    [{"number": 3}, {"first": 0}, {"second": 3}, {"result": "draw"}, {"probability_millionths": 5}],
    ids=str,
)
def test_what_is_no_log_of_the_watch_is_refused(changed: dict[str, Any]) -> None:
    """Gaps, other policies, unknown results and forecasts that may not be published."""
    with pytest.raises(LlmPoError):
        replay_watch([lines("w")[0], replace(lines("ww")[1], **changed)], WATCH)


def test_an_error_names_the_line() -> None:
    """The message has the number of the line."""
    with pytest.raises(ReplayError, match="Comparison 2 of 1 and 2 is no line 1"):
        replay_watch([Line(2, "win")], WATCH)


@pytest.mark.parametrize(
    "changed", [{"champion": 1}, {"level": 0.0}, {"margin": 0.5}, {"previous": -1}], ids=str
)
def test_what_cannot_be_watched_is_refused(changed: dict[str, Any]) -> None:
    """A policy against itself is refused, and so are levels and margins out of range."""
    with pytest.raises(DesignError):
        replace(WATCH, **changed)
