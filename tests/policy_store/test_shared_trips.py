"""Reports that arrive together share a round trip, and each is answered as if it had travelled alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from policy_store.connect import connect
from policy_store.errors import (
    ContradictingOutcomeError,
    OverCapError,
    StoreUnavailableError,
    UnconfirmedError,
    UnknownExperimentError,
)
from policy_store.log_records import Result
from policy_store.report_records import Report
from policy_store.scripting import Call
from policy_store.shared_trips import (
    MOST_TOGETHER,
    PATIENCE_SECONDS,
    PATIENCE_SHARE,
    SharedTrips,
)
from policy_store.store import PolicyStore
from tests.pace import impatient
from tests.policy_store.building import KEEP_SECONDS, NAME, planned
from tests.servers import RedisServer


class Road:
    """What scripts travel on, as slow as a test says; each is answered with its own name."""

    def __init__(self) -> None:
        self.trips: list[list[str]] = []
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.fault: Exception | None = None

    async def run_together(self, calls: Sequence[Call]) -> list[Any]:
        """Take them there and back."""
        self.trips.append([name for name, _, _ in calls])
        await self.is_open.wait()
        if self.fault is not None:
            raise self.fault
        return [["ok", name] for name, _, _ in calls]


def report(unit: str, fingerprint: str = "said", **fields: Any) -> Report:
    """What a user says who saw both answers."""
    return Report(NAME, 1, unit, 0, 1, "side_by_side", fingerprint, KEEP_SECONDS, **fields)


async def _answers(*calls: asyncio.Future[list[Any]]) -> list[Any]:
    return [answer[1] for answer in await asyncio.gather(*calls)]


def _calls(trips: SharedTrips, *names: str) -> list[asyncio.Future[list[Any]]]:
    return [trips.run(name, ()) for name in names]


async def test_what_arrives_during_a_trip_goes_with_the_next_in_its_order() -> None:
    """One under way, the others together after it; a call alone waits for nobody."""
    road = Road()
    road.is_open.clear()
    trips = SharedTrips(road)  # type: ignore[arg-type]
    first = _calls(trips, "a")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = _calls(trips, "b", "c", "d")
    await asyncio.sleep(0)
    assert road.trips == [["a"]]
    road.is_open.set()
    assert await _answers(*first, *others) == ["a", "b", "c", "d"]
    assert road.trips == [["a"], ["b", "c", "d"]]
    assert await trips.run("e", ()) == ["ok", "e"]


async def test_a_trip_is_not_too_long() -> None:
    """The server runs its calls in a row, and other clients wait for it."""
    road = Road()
    trips = SharedTrips(road)  # type: ignore[arg-type]
    names = [str(number) for number in range(2 * MOST_TOGETHER + 1)]
    assert await _answers(*_calls(trips, *names)) == names
    assert [len(trip) for trip in road.trips] == [MOST_TOGETHER, MOST_TOGETHER, 1]


async def test_a_trip_that_hangs_holds_up_no_other() -> None:
    """After a short time those that wait set out beside it."""
    road = Road()
    road.is_open.clear()
    trips = SharedTrips(road)  # type: ignore[arg-type]
    (stuck,) = _calls(trips, "stuck")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    hanging, road.is_open = road.is_open, asyncio.Event()
    road.is_open.set()
    assert await asyncio.wait_for(trips.run("later", ()), 5) == ["ok", "later"]
    assert not stuck.done()
    hanging.set()
    assert await stuck == ["ok", "stuck"]


async def test_patience_that_runs_out_as_a_trip_returns_begins_no_empty_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an empty one the next call would set out beside the one under way."""
    loop, timers = asyncio.get_running_loop(), list[Any]()

    class _Timer(asyncio.Handle):
        def run_out(self) -> None:
            if not self.cancelled():
                self._run()

    def call_later(_: float, call: Callable[[], None]) -> asyncio.Handle:
        timers.append(timer := _Timer(call, (), loop))
        return timer

    monkeypatch.setattr(loop, "call_later", call_later)
    road = Road()
    road.is_open.clear()
    trips = SharedTrips(road)  # type: ignore[arg-type]
    first = trips.run("first", ())
    await asyncio.sleep(0)
    others = _calls(trips, "b", "c")
    (timer,) = timers
    first.add_done_callback(lambda _: loop.call_soon(timer.run_out))  # before the next trip sets out
    road.is_open.set()
    assert await _answers(first, *others) == ["first", "b", "c"]
    await asyncio.sleep(0)
    assert road.trips == [["first"], ["b", "c"]]


@pytest.mark.parametrize(
    ("last_took", "fails", "seconds"),
    [
        (0.001, False, PATIENCE_SECONDS),
        (0.5, False, 0.5 * PATIENCE_SHARE),
        (0.5, True, PATIENCE_SECONDS),
    ],
)
async def test_calls_are_as_patient_as_trips_are_long(
    monkeypatch: pytest.MonkeyPatch, last_took: float, fails: bool, seconds: float
) -> None:
    """A server that is only slow answers nobody earlier because more trips go beside each other."""
    loop, now, waits = asyncio.get_running_loop(), [0.0], list[float]()

    class _SlowRoad(Road):
        async def run_together(self, calls: Sequence[Call]) -> list[Any]:
            now[0] += last_took
            return await super().run_together(calls)

    def call_later(delay: float, *_: object) -> asyncio.Handle:
        waits.append(delay)
        return loop.call_soon(lambda: None)

    road = _SlowRoad()
    trips = SharedTrips(road)  # type: ignore[arg-type]
    with monkeypatch.context() as patched:
        patched.setattr(loop, "time", lambda: now[0])
        patched.setattr(loop, "call_later", call_later)
        road.fault = StoreUnavailableError("away") if fails else None
        await asyncio.gather(trips.run("a", ()), return_exceptions=True)
        road.fault = None
        await asyncio.gather(trips.run("b", ()), trips.run("c", ()))
    assert waits == [seconds]


async def test_what_replicas_did_not_confirm_leaves_calls_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server answered, only late: more trips beside each other would wait for the same replica."""
    loop, now, waits = asyncio.get_running_loop(), [0.0], list[float]()

    class _UnconfirmedRoad(Road):
        async def run_together(self, calls: Sequence[Call]) -> list[Any]:
            now[0] += 0.5
            return [UnconfirmedError("late") for _ in await super().run_together(calls)]

    def call_later(delay: float, *_: object) -> asyncio.Handle:
        waits.append(delay)
        return loop.call_soon(lambda: None)

    trips = SharedTrips(_UnconfirmedRoad())  # type: ignore[arg-type]
    with monkeypatch.context() as patched:
        patched.setattr(loop, "time", lambda: now[0])
        patched.setattr(loop, "call_later", call_later)
        await asyncio.gather(trips.run("a", ()), return_exceptions=True)
        await asyncio.gather(trips.run("b", ()), trips.run("c", ()), return_exceptions=True)
    assert waits == [0.5 * PATIENCE_SHARE]


async def test_a_trip_that_was_left_behind_begins_no_other_when_it_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The latest one does, so a server that is slow for a while has no more under way for ever after."""
    loop, over = asyncio.get_running_loop(), list[Callable[[], None]]()

    def call_later(_: float, call: Callable[[], None]) -> asyncio.Handle:
        over.append(call)
        return loop.call_soon(lambda: None)

    monkeypatch.setattr(loop, "call_later", call_later)
    road = Road()
    road.is_open.clear()
    trips = SharedTrips(road)  # type: ignore[arg-type]
    slow = trips.run("slow", ())
    await asyncio.sleep(0)
    slow_is_open, road.is_open = road.is_open, asyncio.Event()
    latest = trips.run("latest", ())
    over.pop()()
    await asyncio.sleep(0)
    waits = trips.run("waits", ())
    slow_is_open.set()
    await slow
    await asyncio.sleep(0)
    assert road.trips == [["slow"], ["latest"]]
    road.is_open.set()
    assert await _answers(latest, waits) == ["latest", "waits"]
    assert road.trips == [["slow"], ["latest"], ["waits"]]


async def test_a_caller_that_leaves_takes_no_other_along() -> None:
    """Whether it left before its trip or during it."""
    road = Road()
    road.is_open.clear()
    trips = SharedTrips(road)  # type: ignore[arg-type]
    gone, stays = _calls(trips, "gone", "stays")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    left, late = _calls(trips, "left", "late")
    await asyncio.sleep(0)
    gone.cancel()
    left.cancel()
    road.is_open.set()
    assert await _answers(stays, late) == ["stays", "late"]
    assert road.trips == [["gone", "stays"], ["late"]]


@pytest.mark.parametrize("fault", [StoreUnavailableError("away"), RuntimeError("a fault of the program")])
async def test_a_fault_of_a_trip_reaches_each_caller_and_ends_with_it(fault: Exception) -> None:
    """The next trip sets out as if there had been none."""
    road = Road()
    road.fault = fault
    trips = SharedTrips(road)  # type: ignore[arg-type]
    found = await asyncio.gather(*_calls(trips, "a", "b"), return_exceptions=True)
    assert found == [fault, fault]
    road.fault = None
    assert await trips.run("c", ()) == ["ok", "c"]


async def test_each_report_of_a_trip_is_answered_for_itself(store: PolicyStore) -> None:
    """Counted, repeated, contradicting, over the cap, of no experiment: the errors they get alone."""
    await planned(store)
    capped: dict[str, Any] = {"voter": "ada", "voter_cap": 1}
    said = [
        (report("u1", fingerprint="a"), Result.WIN),
        (report("u1", fingerprint="a"), Result.WIN),
        (report("u1", fingerprint="b"), Result.LOSS),
        (report("u2", **capped), Result.LOSS),
        (report("u3", **capped), Result.LOSS),
        (report("u4")._replace(experiment="none"), Result.WIN),
        (report("u5"), Result.TIE),
    ]
    found = await asyncio.gather(
        *(store.record_preference(each, result) for each, result in said), return_exceptions=True
    )
    kinds = [type(each) if isinstance(each, Exception) else each.receipt.value for each in found]
    if not store._redis.shares_trips:  # the order is that of the calls only where they travel together
        assert Counter(kinds)["counted"] == 3
        return
    assert kinds == [
        *("counted", "duplicate", ContradictingOutcomeError),
        *("counted", OverCapError, UnknownExperimentError, "counted"),
    ]


async def test_many_reports_at_once_are_counted_once_each(store: PolicyStore) -> None:
    """Every unit reports three times at the same time, on a server that forgets the scripts meanwhile."""
    await planned(store)
    await store._redis.script_flush()
    said = [report(f"u{number % 200}") for number in range(600)]
    found = await asyncio.gather(*(store.record_preference(each, Result.WIN) for each in said))
    assert Counter(each.receipt.value for each in found) == {"counted": 200, "duplicate": 400}
    counts = await store.counts(NAME, 1)
    assert (counts.comparisons, counts.wins[0][1]) == (200, 200)


async def test_a_server_that_dies_leaves_nobody_waiting_and_nothing_counted_twice(tmp_path: Path) -> None:
    """Every call raises; after the restart a repetition of all counts what was not counted."""
    server = RedisServer(tmp_path)
    server.start()
    store = PolicyStore(connect(server.url), timeout_seconds=impatient(1.0))
    try:
        await planned(store)
        said = [report(f"u{number}") for number in range(100)]
        await asyncio.gather(*(store.record_preference(each, Result.WIN) for each in said[:40]))
        server.kill()
        found = await asyncio.gather(
            *(store.record_preference(each, Result.WIN) for each in said), return_exceptions=True
        )
        assert {type(each) for each in found} == {StoreUnavailableError}
        server.start()
        again = await asyncio.gather(*(store.record_preference(each, Result.WIN) for each in said))
        kept = Counter(each.receipt.value for each in again)["duplicate"]
        counts = await store.counts(NAME, 1)
        assert (kept <= 40, counts.comparisons) == (True, 100)
    finally:
        await store.aclose()
        server.stop()
