"""Events name policies, in the words of the generation they belong to."""

from __future__ import annotations

from dataclasses import replace

from gateway.experiments.happenings import told
from policy_store.events import LoggedEvent
from tests.gateway.building import definition

NOW = definition(epsilon=0.0).experiment  # plain, warm
BEFORE = replace(NOW, policies=("old", "older"), epsilon=0.1)


def test_positions_become_the_names_they_had_in_their_generation() -> None:
    """Position 1 is another policy in each; what is not a position stays as it is."""
    events = [
        LoggedEvent(1.0, "promoted", {"champion": 1, "fence": 3, "generation": 1}),
        LoggedEvent(2.0, "incumbent_changed", {"policy": 1, "generation": 2}),
        LoggedEvent(3.0, "settled", {"champion": 1, "generation": 3}),
        LoggedEvent(4.0, "inconclusive", {"champion": None, "generation": 2}),
        LoggedEvent(5.0, "from_the_future", {"policy": 1}),
    ]
    assert [event.detail for event in told(events, {1: BEFORE, 2: NOW})] == [
        {"champion": "older", "fence": 3, "generation": 1},
        {"policy": "warm", "generation": 2},
        {"champion": 1, "generation": 3},
        {"champion": None, "generation": 2},
        {"policy": 1},
    ]


def test_with_a_margin_nothing_is_eliminated() -> None:
    """Events of elimination in logs of earlier versions are left out."""
    events = [
        LoggedEvent(1.0, "eliminated", {"policy": 0, "comparison": 9, "generation": 1}),
        LoggedEvent(2.0, "eliminated", {"policy": 0, "comparison": 9, "generation": 2}),
    ]
    assert [event.detail["policy"] for event in told(events, {1: BEFORE, 2: NOW})] == ["plain"]
