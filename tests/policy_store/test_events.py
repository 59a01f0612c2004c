"""Events are a closed set with typed details; what a newer version writes is kept and moves nothing."""

from __future__ import annotations

import json

import pytest

from policy_store.connect import connect
from policy_store.events import (
    DETAILS,
    Begun,
    Decided,
    Eliminated,
    EventKind,
    LoggedEvent,
    Resumed,
    WentOn,
    decoded,
    encoded,
)
from policy_store.log_records import Result
from policy_store.moves import Move
from policy_store.names import Names
from policy_store.report_records import Report
from policy_store.store import PolicyStore
from tests.policy_store.building import NAME, THRESHOLD, forecasts, plan, planned, prefer, started

# What each detail looks like as JSON, written by released versions: these words stay.
WRITTEN = [
    (Begun(generation=2), {"generation": 2}),
    (Begun(), {}),
    (WentOn(6, from_generation=1, generation=2), {"comparisons": 6, "from_generation": 1, "generation": 2}),
    (Resumed(17), {"comparisons": 17}),
    (Eliminated(15, generation=3, policy=0), {"comparison": 15, "generation": 3, "policy": 0}),
    (Decided(2, fence=1, generation=3), {"champion": 2, "fence": 1, "generation": 3}),
    (Decided(None, fence=1, generation=3), {"champion": None, "fence": 1, "generation": 3}),
    (Decided("good"), {"champion": "good"}),
]


@pytest.mark.parametrize(("detail", "written"), WRITTEN)
def test_details_keep_their_written_form(detail: object, written: dict[str, object]) -> None:
    """What is written is what released versions wrote, and reads back as what was written."""
    assert encoded(detail) == written
    kinds = [kind for kind, form in DETAILS.items() if isinstance(detail, form)]
    assert kinds
    assert all(decoded(kind, written) == detail for kind in kinds)


def test_every_kind_has_a_detail() -> None:
    """No kind is left without its typed form."""
    assert set(DETAILS) == set(EventKind)


def test_detail_of_another_kind_is_refused() -> None:
    """A writer cannot mix kinds up."""
    with pytest.raises(TypeError, match="eliminated"):
        LoggedEvent.of(1.0, EventKind.ELIMINATED, Begun())


async def test_everything_the_store_writes_is_told(store: PolicyStore) -> None:
    """The scripts write every kind of their own in the form of its record."""
    await started(store, policies=2, epsilon=0.0)
    await prefer(store, "early")
    await started(store, policies=3, epsilon=0.0)
    await started(store, policies=2, epsilon=0.0)
    back = await started(store, policies=3, epsilon=0.0)
    fence = await store.acquire_lease(NAME, "planner", 60)
    assert fence is not None
    await store.publish_plan(NAME, back.generation, plan(), forecasts(step=THRESHOLD), fence)
    report = Report(NAME, back.generation, "late", 0, 1, "side_by_side", "x", 60)
    await store.record_preference(report, Result.LOSS)
    await store.decide(NAME, back.generation, fence, move=Move.PROMOTE, champion=1, certificate={})

    events = list(reversed(await store.events(NAME)))

    assert [event.kind for event in events] == [
        "started",
        "started",
        "inherited",
        "reactivated",
        "reactivated",
        "eliminated",
        "promoted",
    ]
    assert [event.told for event in events] == [
        Begun(1),
        Begun(2),
        WentOn(1, from_generation=1, generation=2),
        Begun(1),
        Begun(2),
        Eliminated(2, generation=2, policy=0),
        Decided(1, fence=fence, generation=2),
    ]


async def test_large_numbers_stay_whole(store: PolicyStore, store_url: str) -> None:
    """JSON made in a script prints a long number in full, not as a power of ten."""
    await started(store, epsilon=0.0)
    fence = await store.acquire_lease(NAME, "planner", 60)
    assert fence is not None
    await store.publish_plan(NAME, 1, plan(), forecasts(step=THRESHOLD), fence)
    redis = connect(store_url)
    await redis.hset(Names().experiment(NAME).generation(1).counts, "comparisons", 12_345_678_901_233)

    await prefer(store, "u1")

    (latest, *_) = await store.events(NAME, 1)
    assert latest.told == Eliminated(12_345_678_901_234, generation=1, policy=1)
    raw = await redis.xrevrange(Names().experiment(NAME).events, count=1)
    await redis.aclose()
    assert "12345678901234" in raw[0][1]["detail"]


async def test_event_of_a_newer_version_is_kept_as_it_is(store: PolicyStore, store_url: str) -> None:
    """An older replica shows and exports what it does not understand, and nothing follows from it."""
    await planned(store)
    keys, detail = Names().experiment(NAME), {"speed": 9, "generation": 1}
    redis = connect(store_url)
    entry = {"type": "event", "kind": "levitated", "detail": json.dumps(detail), "at": "1750000000000000"}
    for stream in (keys.events, keys.generation(1).log):
        await redis.xadd(stream, entry)
    await redis.aclose()

    records, _ = await store.log(NAME, 1)

    assert records[-1] == LoggedEvent(1_750_000_000.0, "levitated", detail)
    assert (await store.events(NAME, 1))[0].told is None


def test_known_event_with_more_or_less_than_its_record() -> None:
    """A field more is ignored in the typed form; a field less leaves no typed form at all."""
    whole = {"comparison": 15, "generation": 3, "policy": 0}
    assert decoded("eliminated", {**whole, "why": "new"}) == Eliminated(15, generation=3, policy=0)
    assert decoded("eliminated", {"policy": 0}) is None
