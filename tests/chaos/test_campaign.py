"""Rounds of chaos: nothing that was promised to users or operators may be broken by what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from policy_store.events import Decided, EventKind, LoggedEvent
from policy_store.log_records import Comparison, LoggedPlan, Result
from tests.chaos.campaign import run_rounds, total
from tests.chaos.checker import Findings, StoreReading, check
from tests.chaos.record import Answer, Outage, RoundRecord, UserReport, Wish
from tests.chaos.rounds import FAULTS, LASTS, Fault, Round, round_of

QUICK: dict[str, tuple[int, ...]] = {"redis": (7, 10)}
"""Seeds for the default suite: answers of the store lost, and the store frozen."""
PLAIN, WARM = frozenset({"I am plain."}), frozenset({"I am warm."})
BOTH = PLAIN | WARM


async def _check_rounds(store: str, seeds: tuple[int, ...]) -> Findings:
    wrong: list[str] = []

    def tell(planned: Round, found: Findings) -> None:
        wrong.extend(f"round {planned.seed}: {sentence}" for sentence in found.wrong)

    whole = total(await run_rounds(store, seeds, tell))
    assert not wrong
    assert (whole.lost, whole.doubled) == (0, 0)
    assert whole.acknowledged > 0
    assert whole.decisions > 0
    return whole


async def test_a_few_rounds_break_no_promise() -> None:
    """Everything acknowledged is there once, decisions are made once, and every replica follows."""
    await _check_rounds("redis", QUICK["redis"])


@pytest.mark.long
@pytest.mark.parametrize(("store", "rounds"), [("redis", 200), ("sentinel", 60)])
async def test_many_rounds_break_no_promise(store: str, rounds: int) -> None:
    """The same with every fault, at many moments, in many combinations."""
    await _check_rounds(store, tuple(range(1, rounds + 1)))


@pytest.mark.parametrize("store", FAULTS)
def test_a_round_follows_from_its_seed(store: str) -> None:
    """What was found can be looked for again; and all faults come up, each as long as it says."""
    rounds = [round_of(seed, store) for seed in range(100)]
    assert rounds == [round_of(seed, store) for seed in range(100)]
    events = [event for each in rounds for event in each.events]
    assert {event.fault for event in events} == set(FAULTS[store])
    assert all(LASTS[event.fault][0] <= event.lasts <= LASTS[event.fault][1] for event in events)


def _comparison(number: int) -> Comparison:
    return Comparison(number, 0, 1, Result.LOSS, 500_000, 1, "side_by_side", 10.0 + number)


def _promoted(at: float, fence: int = 1) -> LoggedEvent:
    return LoggedEvent.of(at, EventKind.PROMOTED, Decided(1, fence, 1))


def _rolled_back(at: float, reason: str) -> LoggedEvent:
    detail = {"actor": "ops", "reason": reason, "before": "promoted", "after": "rolled_back"}
    return LoggedEvent(
        at, EventKind.ROLLED_BACK, {**detail, "incumbent_before": 1, "incumbent": 0, "generation": 1}
    )


def _record() -> RoundRecord:
    """Two reports counted, one refused and not counted, a promotion, and a rollback that an operator made."""
    return RoundRecord(
        "support",
        answers=[Answer(0, 11.0, BOTH), Answer(0, 20.5, WARM), Answer(1, 20.3, BOTH), Answer(1, 31.0, PLAIN)],
        reports=[
            UserReport("a", 0, "counted", 11.0, "duplicate"),
            UserReport("b", 0, "counted", 12.0, "duplicate"),
            UserReport("c", 0, None, 21.0, "not_counted"),
        ],
        wishes=[Wish("rollback", "worse", 200), Wish("rollback", "too late", 409)],
    )


def _reading() -> StoreReading:
    plan = LoggedPlan(1, 1, 0, ((0, 1, 500_000),), 10.0)
    log = [plan, _comparison(1), _comparison(2), _promoted(20.0), _rolled_back(30.0, "worse")]
    return StoreReading(2, 2, log, [], dict.fromkeys(("store", "gateway 0"), ("rolled_back", "plain")), 2)


Spoil = Callable[[RoundRecord, StoreReading], tuple[RoundRecord, StoreReading]]


def _spoilt_log(*more: object) -> Spoil:
    return lambda record, reading: (record, replace(reading, log=[*reading.log, *more]))


def _spoilt_record(**changes: object) -> Spoil:
    return lambda record, reading: (replace(record, **changes), reading)


def _spoilt_reading(**changes: object) -> Spoil:
    return lambda record, reading: (record, replace(reading, **changes))


GONE = UserReport("b", 0, "counted", 12.0, "counted")
SPOILT: dict[str, tuple[Spoil, str]] = {
    "a report is gone": (_spoilt_record(reports=[GONE]), "acknowledged as counted, then counted"),
    "a report is counted twice": (_spoilt_reading(counted=3, counted_later=3), "3 comparisons counted"),
    "a promotion is made twice": (
        _spoilt_log(_promoted(31.0), _promoted(32.0)),
        "promoted from rolled_back; promoted from promoted",
    ),
    "a fenced planner decides": (
        _spoilt_log(LoggedPlan(2, 3, 2, (), 31.0), LoggedPlan(3, 2, 2, (), 32.0)),
        "number 2 wrote after one with 3",
    ),
    "a wish is refused and made": (
        _spoilt_record(wishes=[Wish("rollback", "worse", 409)]),
        "rollback (409) was made 1 times",
    ),
    "a wish is granted and not made": (
        _spoilt_record(wishes=[Wish("pause", "lunch", 200)]),
        "pause (200) was made 0 times",
    ),
    "a replica does not follow": (
        _spoilt_record(answers=[Answer(1, 21.5, BOTH)]),
        "gateway 1 followed a move only after 1.50 s",
    ),
    "a replica says something else": (
        _spoilt_reading(standing={"store": ("promoted", "warm"), "gateway 0": ("running", "plain")}),
        "replicas and store differ",
    ),
    "a pair of answers is not guarded": (_spoilt_reading(pairs=1), "1 pairs counted"),
    "a pair of answers is guarded twice": (_spoilt_reading(pairs=3), "should be 2 to 2"),
    "a request gets no answer": (_spoilt_record(unanswered=["gateway 0: 500"]), "no answer"),
    "the store is not seen again": (_spoilt_record(recovery_seconds=6.0), "recovered only after"),
}


@pytest.fixture
def unproven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records made by hand have no log that could be exported, and no machine that could be slow."""
    monkeypatch.setattr("tests.chaos.checker._faults_of_proof", lambda _exported: ())
    monkeypatch.setattr("tests.chaos.checker.FOLLOWED_WITHIN", 1.0)


@pytest.mark.usefixtures("unproven")
@pytest.mark.parametrize("what", SPOILT)
def test_the_checker_finds(what: str) -> None:
    """Every promise broken on purpose is found, and a round that keeps all of them is not blamed."""
    assert check(_record(), _reading()).wrong == []
    spoil, sentence = SPOILT[what]
    found = "; ".join(check(*spoil(_record(), _reading())).wrong)
    for part in sentence.split("; "):
        assert part in found


@pytest.mark.usefixtures("unproven")
@pytest.mark.parametrize(
    ("outages", "may_be"),
    [
        ([Outage(Fault.GATEWAY_KILLED, 0, 12.0, 12.5)], True),
        ([Outage(Fault.GATEWAY_KILLED, 1, 12.0, 12.5)], False),
        ([Outage(Fault.GATEWAY_KILLED, 0, 17.0, 17.5)], False),
        ([Outage(Fault.GATEWAY_KILLED, 0, 17.0, 17.5), Outage(Fault.STORE_FROZEN, None, 11.5, 17.2)], True),
    ],
    ids=["just before its end", "another gateway's end", "long before its end", "while the store was away"],
)
def test_a_killed_gateway_may_lose_only_pairs_that_it_had_not_sent(
    outages: list[Outage], may_be: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends them once a second, if the store takes them."""
    monkeypatch.setattr("tests.chaos.checker.UNSENT_WITHIN", 2.0)
    found = check(replace(_record(), outages=outages), replace(_reading(), pairs=1))
    assert any("pairs counted" in sentence for sentence in found.wrong) is not may_be
    assert found.unguarded == 1


@pytest.mark.usefixtures("unproven")
@pytest.mark.parametrize("holds", [0, 1])
def test_a_failover_may_lose_nothing_that_was_acknowledged(holds: int) -> None:
    """A replica has confirmed it, so it is no excuse that replicas of the gateway noticed the loss."""
    failover = Outage(Fault.PRIMARY_KILLED, None, 13.0, 17.0)
    lossy = replace(_record(), reports=[GONE], wishes=[], outages=[failover], holds=holds)
    reading = replace(_reading(), counted=0, counted_later=1, log=[_comparison(1)])
    found = check(lossy, reading)
    assert (found.lost, found.held) == (1, holds)
    assert len(found.wrong) == 1
