"""With `feedback.hold` a report counts at a fixed age of the answer, whatever it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.experiments.response_ids import Assignment, ResponseIds
from gateway.experiments.sealing_key import SealingKeyHolder, SealingKeys
from gateway.experiments.snapshot import Snapshot, SnapshotHolder
from gateway.experiments.store_history import StoreHistory
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import FeedbackDiscarded, GatewayEvent
from gateway.learning.acknowledging import NotCounted
from gateway.learning.feedback import FeedbackService
from gateway.learning.given_feedback import Feedback
from gateway.learning.refreshing import live_experiment
from policy_store.log_records import Result
from policy_store.names import Names
from policy_store.report_records import Receipt, Report
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, definition, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.learning.test_planning import Bench
from tests.gateway.whole import Whole, quick_settings, whole_gateway

_HOUR = 3600
_HELD = Names().experiment(NAME).generation(1).held


async def end_holds(store: PolicyStore) -> None:
    """All that is held is due now; the server's clock cannot be moved."""
    await store._redis.zunionstore(_HELD, {_HELD: 0.5})


@pytest.mark.parametrize("collect", ["matched", "side_by_side"])
async def test_feedback_is_held_and_then_counted_by_the_planner(
    upstream: FakeUpstream, embedded_url: str, embedded_store: PolicyStore, collect: str
) -> None:
    """In every way of collecting, reports count once their answers are old enough, and not before."""
    config = gateway_config(
        api_base=upstream.api_base,
        traffic={"share": 1.0, "collect": collect},
        feedback={"hold": "1h"},
        promotion={"min_comparisons": 10_000},
    )
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        replies = [await _report(gateway, collect) for _ in range(12)]
        before = await gateway.experiment()
        await end_holds(embedded_store)
        await gateway.eventually(lambda: _nothing_is_held(gateway), "held feedback counted")
        after = await gateway.experiment()
        counted = await gateway.metric("llmpo_feedback_total", status="held")

    assert {reply["status"] for reply in replies} == {"held"}
    assert "feedback.hold" in replies[0]["detail"]
    assert (before["reports_held"], before["comparisons"], counted) == (12, 0, 12)
    assert after["comparisons"] == 12 if collect == "side_by_side" else 1 <= after["comparisons"] <= 6


async def _report(gateway: Whole, collect: str) -> dict[str, Any]:
    if collect == "side_by_side":
        reply = await gateway.feed(id=(await gateway.compare()).json["id"], preferred=0)
    else:
        reply = await gateway.feed(id=(await gateway.ask()).json["id"], signal="thumb", value=True)
    found: dict[str, Any] = reply.json
    return found


async def _nothing_is_held(gateway: Whole) -> bool:
    return (await gateway.experiment())["reports_held"] == 0


class Desk:
    """The feedback service of one experiment by session, with a hold of an hour and a clock by hand."""

    def __init__(self, store: PolicyStore, now: float) -> None:
        about = definition(traffic={"share": 1.0, "unit": "session"}, feedback={"hold": "1h"})
        self.live = live_experiment(about, None)
        self.ids = ResponseIds(SealingKeyHolder(SealingKeys(bytes(32))), lambda: [NAME])
        self.events: list[GatewayEvent] = []
        self.now = now
        self.about = about
        self.service = FeedbackService(
            store,
            self.ids,
            SnapshotHolder(Snapshot({NAME: replace(self.live, generation=1)}, {})),
            Hooks(self.events.append),
            history=StoreHistory(),
            clock=lambda: self.now,
        )

    async def rate(self, *, unit: int, assigned_at: float, answered_at: float, value: bool) -> object:
        """A thumb on an answer of a session."""
        assignment = Assignment(
            experiment=NAME,
            generation=1,
            first=0,
            second=1,
            collect="matched",
            side=unit % 2,
            plan_version=1,
            unit=unit.to_bytes(16),
            expires_at=int(answered_at + self.live.window_seconds),
            assigned_at=int(assigned_at),
        )
        said = Feedback(self.ids.seal(assignment), signal="thumb", value=value)
        return (await self.service.receive(said)).became


@pytest.fixture
async def desk(embedded_store: PolicyStore) -> Desk:
    """At the present time by the store's clock."""
    seconds, _ = await embedded_store._redis.time()
    desk = Desk(embedded_store, float(seconds))
    await embedded_store.register(desk.about.experiment, desk.about.elimination_nano_nats)
    return desk


async def test_report_after_the_hold_is_not_counted_and_said_so(desk: Desk) -> None:
    """A report within the hold is kept, and a later report gets a reason of its own, which is counted."""
    late = await desk.rate(unit=1, assigned_at=desk.now - _HOUR, answered_at=desk.now - _HOUR, value=True)
    in_time = await desk.rate(
        unit=2, assigned_at=desk.now - _HOUR + 60, answered_at=desk.now - _HOUR + 60, value=True
    )

    assert (late, in_time) == (NotCounted.AFTER_HOLD, Receipt.HELD)
    assert FeedbackDiscarded("after_hold") in desk.events


async def test_age_of_a_session_counts_from_its_first_answer(desk: Desk) -> None:
    """The length of a session may depend on the outcome, so it must not decide when the session counts."""
    answered_just_now = await desk.rate(
        unit=1, assigned_at=desk.now - _HOUR, answered_at=desk.now, value=True
    )
    assert answered_just_now is NotCounted.AFTER_HOLD


async def test_ids_that_do_not_say_when_they_were_assigned_count_by_their_end(desk: Desk) -> None:
    """Those sealed by earlier versions say when they end, which is a window after the answer."""
    young = await desk.rate(unit=1, assigned_at=0, answered_at=desk.now - 60, value=True)
    old = await desk.rate(unit=2, assigned_at=0, answered_at=desk.now - _HOUR - 60, value=True)

    assert (young, old) == (Receipt.HELD, NotCounted.AFTER_HOLD)


async def test_planner_counts_all_that_is_due_in_order_before_it_plans(embedded_store: PolicyStore) -> None:
    """This holds for any number of reports; votes beyond a user's share are discarded by name."""
    bench = Bench(embedded_store, definition())
    await bench.register()
    seconds, _ = await embedded_store._redis.time()
    for number in range(250):
        report = Report(NAME, 1, f"u{number}", 0, 1, "side_by_side", "x", _HOUR, voter="ann", voter_cap=248)
        await embedded_store.record_preference(report._replace(due_at=seconds + _HOUR + number), Result.WIN)
    planner = bench.planner()
    await planner.plan_all()
    await end_holds(embedded_store)

    await planner.plan_all()

    assert [job.counts.comparisons for job in bench.jobs] == [0, 248]
    assert bench.events.count(FeedbackDiscarded("voter_cap")) == 2
    assert (await embedded_store.counts(NAME, 1)).reports_held == 0
