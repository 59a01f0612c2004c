"""What answers took reaches the store, also when the store was away for a while."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.instrumentation.records import AttemptEnded
from gateway.learning.usage import UsageKeeper
from policy_store.errors import StoreUnavailableError
from policy_store.store import PolicyStore
from policy_store.usage import Usage
from tests.gateway.building import NAME, catalogue_holder

ANSWERED = AttemptEnded(
    "r", "warm", NAME, "warm", "candidate", 1.0, 1.5, 2.0, "answered", "", (10, 3), "app", False
)


@dataclass
class Unreliable:
    """The store, while it is there; answers go on arriving while it works."""

    store: PolicyStore
    keeper: Any = None
    is_away: bool = False
    arriving: list[AttemptEnded] = field(default_factory=list)

    async def add_usage(self, name: str, used: Mapping[str, Usage]) -> None:
        for event in self.arriving:
            self.keeper(event)
        self.arriving = []
        if self.is_away:
            raise StoreUnavailableError("away")
        await self.store.add_usage(name, used)


@pytest.fixture
def unreliable(embedded_store: PolicyStore) -> Unreliable:
    """With a keeper that brings its counts here."""
    found = Unreliable(embedded_store)
    found.keeper = UsageKeeper(found, catalogue_holder(), interval_seconds=1.0)  # type: ignore[arg-type]
    return found


async def _kept(store: PolicyStore) -> list[Usage]:
    return list((await store.usage(NAME)).values())


async def test_only_whole_answers_with_reported_tokens_count(
    unreliable: Unreliable, embedded_store: PolicyStore
) -> None:
    """A cost is of an answer: what broke off, and plain models, are no answers of a policy."""
    for event in (
        ANSWERED,
        ANSWERED._replace(tokens=(20, 5)),
        ANSWERED._replace(tokens=None),
        ANSWERED._replace(ending="failed"),
        ANSWERED._replace(experiment="", policy=""),
        ANSWERED._replace(policy="gone"),
    ):
        unreliable.keeper(event)
    await unreliable.keeper.bring()
    await unreliable.keeper.bring()
    assert await _kept(embedded_store) == [Usage(2, 30, 8)]


async def test_nothing_is_lost_while_the_store_is_away_or_answers_arrive(
    unreliable: Unreliable, embedded_store: PolicyStore
) -> None:
    """What was not taken is brought again, together with what came meanwhile."""
    unreliable.keeper(ANSWERED)
    unreliable.is_away, unreliable.arriving = True, [ANSWERED]
    with pytest.raises(StoreUnavailableError):
        await unreliable.keeper.bring()
    unreliable.is_away, unreliable.arriving = False, [ANSWERED]
    await unreliable.keeper.bring()
    assert await _kept(embedded_store) == [Usage(2, 20, 6)]
    await unreliable.keeper.bring()
    assert await _kept(embedded_store) == [Usage(3, 30, 9)]
