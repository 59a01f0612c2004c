"""Events name policies, in the words of the generation they belong to."""

from __future__ import annotations

from dataclasses import replace

from gateway.experiments.happenings import Generations, told
from gateway.experiments.store_history import StoreHistory
from policy_store.events import LoggedEvent
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, definition

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


async def test_a_number_given_again_after_an_accepted_loss_means_what_the_store_has_now(
    embedded_store: PolicyStore,
) -> None:
    """The store began anew, so generation 1 is another definition; within an epoch it is read once."""
    history, old, new = StoreHistory(), definition(epsilon=0.0), definition(epsilon=0.1)
    generations = Generations(embedded_store, history)

    async def epsilon() -> float | None:
        found = await generations.one(NAME, 1)
        return None if found is None else found.epsilon

    await embedded_store.register(old.experiment, old.elimination_nano_nats)
    assert await epsilon() == 0.0
    await embedded_store._redis.flushall()
    await embedded_store.register(new.experiment, new.elimination_nano_nats)
    assert await epsilon() == 0.0

    history.take_up("store", 1, 0.0)
    assert await epsilon() == 0.1
