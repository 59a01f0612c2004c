"""What the log says of comparisons besides their result: units, times, position and builds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from policy_store.counts import Builds
from policy_store.events import EventKind
from policy_store.log_records import Comparison, Result
from policy_store.names import Names
from policy_store.report_events import ServedChanged
from policy_store.report_records import Report
from policy_store.roles import Role
from policy_store.store import PolicyStore
from tests.policy_store.building import KEEP_SECONDS, NAME, logged_comparisons, planned, report

_OWN = Names().experiment(NAME).generation(1)
_UNIT = "0123456789abcdef" * 2


async def _prefer(store: PolicyStore, unit: str, **about: Any) -> int | None:
    said = Report(NAME, 1, unit, 0, 1, "side_by_side", "win", KEEP_SECONDS, **about)
    return (await store.record_preference(said, Result.WIN)).comparison


async def _served(store: PolicyStore, builds: list[str]) -> None:
    """Comparisons of the first pair, in which these builds served its first policy."""
    before = (await store.counts(NAME, 1)).comparisons
    for number, build in enumerate(builds, start=before):
        await _prefer(store, f"u{number}", served=(build, "other"))


async def _changes(store: PolicyStore) -> list[ServedChanged]:
    told = [event.told for event in await store.events(NAME) if event.kind == EventKind.SERVED_CHANGED]
    return [each for each in reversed(told) if isinstance(each, ServedChanged)]


async def test_a_preference_says_its_unit_time_position_and_builds(store: PolicyStore) -> None:
    """The log says them; the reply says only its number."""
    await planned(store)
    number = await _prefer(store, _UNIT, given_at=1_700_000_000, position=1, served=("aa", ""))

    (logged,) = await logged_comparisons(store)
    assert logged.number == number
    assert (logged.units, logged.given_at) == (("0123456789ab",), (1_700_000_000,))
    assert (logged.position, logged.served) == (1, ("aa", ""))


@pytest.mark.parametrize("is_first_reported_first", [True, False])
async def test_matched_outcomes_say_both_in_the_order_of_the_pair(
    store: PolicyStore, is_first_reported_first: bool
) -> None:
    """Whichever policy's outcome waits, the first value is the first policy's."""
    await planned(store)
    sides = (0, 1) if is_first_reported_first else (1, 0)
    for side in sides:
        await report(store, f"unit-{side}", side, 1.0 - side, given_at=100 + side, served=(f"b{side}",))

    (logged,) = await logged_comparisons(store)
    assert (logged.units, logged.given_at) == (("unit-0", "unit-1"), (100, 101))
    assert (logged.position, logged.served) == (None, ("b0", "b1"))


async def test_what_is_not_known_takes_no_room(store: PolicyStore) -> None:
    """Fields without a value are not in the entry, and read as empty."""
    await planned(store)
    await _prefer(store, "")
    ((_, fields),) = await store._redis.xrevrange(_OWN.log, count=1)

    assert not {"unit", "given", "position", "served"} & set(fields)
    (logged,) = await logged_comparisons(store)
    assert (logged.units, logged.given_at, logged.position, logged.served) == ((), (), None, ())


async def test_an_outcome_that_an_earlier_version_let_wait_is_compared(store: PolicyStore) -> None:
    """Only the half that is known is said."""
    await planned(store)
    waiting = {"unit": "old", "value": "0.0", "source": "matched:thumb", "at": "9" * 16, "voter": ""}
    await store._redis.rpush(_OWN.queues(0, 1)[0], json.dumps(waiting))

    await report(store, "new", 1, 1.0, given_at=101, served=("b1",))

    (logged,) = await logged_comparisons(store)
    assert (logged.units, logged.given_at, logged.served) == (("", "new"), (0, 101), ("", "b1"))


@pytest.mark.parametrize("has_note", [True, False])
async def test_held_reports_of_this_and_earlier_versions_count(store: PolicyStore, has_note: bool) -> None:
    """A held report keeps its form: earlier versions hold and count the same number of fields."""
    await planned(store)
    due_at = (await store.counts(NAME, 1)).now + 60
    said = Report(NAME, 1, "u1", 0, 1, "side_by_side", "win", KEEP_SECONDS, due_at=due_at, served=("a", "b"))
    await store.record_preference(said, Result.WIN)
    ((member, _),) = await store._redis.zrange(_OWN.held, 0, -1, withscores=True)
    unit, _, text = member.partition(" ")
    fields = json.loads(text)
    if not has_note:
        fields[10] = fields[10].partition("|")[0]
    await store._redis.delete(_OWN.held)
    await store._redis.zadd(_OWN.held, {f"{unit} {json.dumps(fields)}": 1})

    await store.count_due(NAME, 1, 10)

    (logged,) = await logged_comparisons(store)
    assert len(fields) == 12
    assert (logged.units, logged.served) == ((("u1",), ("a", "b")) if has_note else ((), ()))


async def test_a_build_that_takes_over_is_told_once(store: PolicyStore) -> None:
    """The event names the first comparison; counts say what each build served."""
    await planned(store)
    await _served(store, ["a"] * 20 + ["b"] * 5)

    assert await _changes(store) == [ServedChanged(build="b", comparison=21, policy=0, generation=1)]
    builds = (await store.counts(NAME, 1)).builds
    assert builds[0] == Builds(25, {"a": 20, "b": 5}, different=2, changes=1, changed_at=21)
    assert builds[1] == Builds(25, {"other": 25}, different=1, changes=0, changed_at=None)


@pytest.mark.parametrize(
    "builds",
    [
        ["a"] * 19 + ["b"] * 5,
        ["a", "b", "c"] * 20,
        [f"build-{number}" for number in range(60)],
        ["a"] * 10 + [""] * 20 + ["b"],
    ],
    ids=["too few before", "in turn from the start", "never the same twice", "not named in between"],
)
async def test_builds_that_serve_in_turn_are_no_change(store: PolicyStore, builds: list[str]) -> None:
    """Each build before has to have served 20 comparisons on average."""
    await planned(store)
    await _served(store, builds)

    assert await _changes(store) == []
    found = (await store.counts(NAME, 1)).builds[0]
    assert (found.changes, found.changed_at) == (0, None)
    assert len(found.by_build) == min(32, len(set(builds) - {""}))
    assert found.different == len(set(builds) - {""})


async def test_a_build_beyond_those_that_are_counted_is_not_told_with_each_comparison(
    store: PolicyStore,
) -> None:
    """A policy may have had many builds over a year; the next one must not fill the events."""
    await planned(store)
    await _served(store, ["a"])
    await store._redis.hset(_OWN.counts, mapping={"served:0": 1000, "builds:0": 31})
    await _served(store, ["counted", "beyond", "beyond", "beyond"])

    assert [each.build for each in await _changes(store)] == ["counted"]
    found = (await store.counts(NAME, 1)).builds[0]
    assert (found.by_build, found.changes) == ({"a": 1, "counted": 1}, 1)


async def test_what_only_informs_changes_no_build(store: PolicyStore) -> None:
    """A judge's answers are logged with their builds, and are not those that users compared."""
    await planned(store)
    said = Report(NAME, 1, "u", 0, 1, "judge", "win", KEEP_SECONDS, served=("a", "b"), informs=Role.JUDGE)
    for number in range(3):
        await store.record_preference(said._replace(unit=f"u{number}"), Result.WIN)

    records, _ = await store.log(NAME, 1, informs=Role.JUDGE)
    assert {each.served for each in records if isinstance(each, Comparison)} == {("a", "b")}
    assert (await store.counts(NAME, 1)).builds == {}
    assert (await store.counts(NAME, 1, Role.JUDGE)).builds == {}
