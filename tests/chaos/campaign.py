"""Runs rounds of a chaos test, some on each set of processes, and adds up what they came to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import fields
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from gateway.proof.experiment_log import ExperimentLog
from tests.chaos.checker import Findings, StoreReading, check, pairs_expected
from tests.chaos.crowd import Crowd
from tests.chaos.record import Outage, RoundRecord
from tests.chaos.rounds import Event, Fault, Round, round_of
from tests.chaos.stage import Stage
from tests.gateway.whole import eventually

ROUNDS_OF_A_STAGE: Final = 10
_PLANNERS: Final = (Fault.PLANNER_FROZEN, Fault.PLANNER_KILLED)
_OF_ONE_GATEWAY: Final = (
    *_PLANNERS,
    Fault.GATEWAY_KILLED,
    Fault.LINK_SLOW,
    Fault.LINK_SILENT,
    Fault.LINK_DEAF,
    Fault.LINK_CUT,
)
_SILENCES_GATEWAY: Final = (*_PLANNERS, Fault.GATEWAY_KILLED)

Tell = Callable[[Round, Findings], None]


async def run_rounds(store: str, seeds: Sequence[int], tell: Tell) -> list[Findings]:
    """Run the rounds of these seeds on one kind of store; `tell` hears of each."""
    found: list[Findings] = []
    left = iter(seeds)
    while batch := list(islice(left, ROUNDS_OF_A_STAGE)):
        with TemporaryDirectory() as folder:
            async with Stage(Path(folder), store, [_name(seed) for seed in batch]) as stage:
                for seed in batch:
                    planned = round_of(seed, store)
                    found.append(await run_round(stage, planned))
                    tell(planned, found[-1])
    return found


def total(found: Iterable[Findings]) -> Findings:
    """All rounds together: sums, the longest times, and every fault."""
    whole = Findings()
    for each in found:
        for part in fields(Findings):
            mine, other = getattr(whole, part.name), getattr(each, part.name)
            setattr(whole, part.name, max(mine, other) if isinstance(mine, float) else mine + other)
    return whole


def _name(seed: int) -> str:
    return f"round-{seed}"


async def run_round(stage: Stage, planned: Round) -> Findings:
    """One round: harm under load, then everything healed and compared."""
    record = RoundRecord(_name(planned.seed))
    harmed: set[int] = set()
    crowd = Crowd(stage, planned, record, harmed)
    for gateway in stage.gateways.values():
        await gateway.planned(record.name)
    began = time.monotonic()
    await asyncio.gather(
        crowd.work(), *(_harm(stage, event, began, record, harmed) for event in planned.events)
    )
    record.recovery_seconds, record.holds = await stage.recovered()
    return await _compare(stage, crowd, record)


async def _harm(
    stage: Stage, event: Event, round_began: float, record: RoundRecord, harmed: set[int]
) -> None:
    await asyncio.sleep(max(0.0, round_began + event.begins - time.monotonic()))
    gateway = event.gateway
    if event.fault in _PLANNERS:
        with suppress(Exception):  # the store may be away; then any gateway will do
            gateway = await stage.planner_of(record.name, otherwise=gateway)
    if event.fault in _SILENCES_GATEWAY:
        if gateway in harmed:
            return  # it is away already
        harmed.add(gateway)
    began = time.time()
    await stage.begin(event.fault, gateway)
    await asyncio.sleep(event.lasts)
    await stage.end(event.fault, gateway)
    if event.fault in _SILENCES_GATEWAY:
        harmed.discard(gateway)
    concerned = gateway if event.fault in _OF_ONE_GATEWAY else None
    record.outages.append(Outage(event.fault, concerned, began, time.time()))


async def _compare(stage: Stage, crowd: Crowd, record: RoundRecord) -> Findings:
    name, store = record.name, stage.store
    counted = (await store.counts(name, 1)).comparisons
    await crowd.send_again()
    await _settled(stage, name)
    lines = await ExperimentLog(store).whole(name)
    log, (records, position) = [], await store.log(name, 1)
    while records:
        log += records
        records, position = await store.log(name, 1, after=position)
    counted_later = (await store.counts(name, 1)).comparisons
    pairs = await _pairs(stage, record)
    reading = StoreReading(counted, counted_later, log, lines, await _standing(stage, name), pairs)
    return check(record, reading)


async def _pairs(stage: Stage, record: RoundRecord) -> int:
    """How many pairs the guardrail has counted, once all replicas have sent theirs."""
    least, _ = pairs_expected(record)

    async def counted() -> int:
        found = await stage.store.counted_pairs(record.name, 1)
        return sum(sum(counts.pairs.values()) for counts in found.values())

    async def is_complete() -> bool:
        return await counted() >= least

    with suppress(AssertionError):
        await eventually(is_complete, "the guardrail's counts", seconds=5)
    return await counted()


async def _settled(stage: Stage, name: str) -> None:
    """Wait until all replicas say the same: a decision may have become due meanwhile."""

    async def is_settled() -> bool:
        return len(set((await _standing(stage, name)).values())) == 1

    with suppress(AssertionError):
        await eventually(is_settled, "all replicas alike", seconds=10)


async def _standing(stage: Stage, name: str) -> dict[str, tuple[str, str]]:
    view = await stage.store.view(name)
    said = {"store": (view.state.value, view.experiment.policies[view.incumbent])}
    for number, gateway in stage.gateways.items():
        listed = (await gateway.get("/v1/experiments")).json["data"]
        mine = next(each for each in listed if each["name"] == name)
        said[f"gateway {number}"] = (mine["state"], mine["incumbent"])
    return said
