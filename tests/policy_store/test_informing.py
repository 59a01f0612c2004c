"""Comparisons that only inform forecasts: counted once, apart from the evidence, by the same rules."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from policy_store.errors import ContradictingOutcomeError, ExperimentFinishedError
from policy_store.log_records import Comparison, Result
from policy_store.moves import Move
from policy_store.report_records import Receipt, Recorded, Report
from policy_store.roles import Role
from policy_store.store import PolicyStore
from tests.pace import PATIENCE_SECONDS
from tests.policy_store.building import KEEP_SECONDS, NAME, planned, prefer, report


async def _judge(store: PolicyStore, unit: str, result: Result = Result.WIN, **said: object) -> Recorded:
    verdict = Report(NAME, 1, unit, 0, 1, "judge", result.value, KEEP_SECONDS, informs=Role.JUDGE)
    return await store.record_preference(verdict._replace(**said), result)


async def test_what_only_informs_adds_nothing_to_the_evidence(store: PolicyStore) -> None:
    """Verdicts of a judge are counted in a ledger of their own; that of the evidence stays as it was."""
    await planned(store)
    await prefer(store, "u1", Result.LOSS)
    before = await store.counts(NAME, 1)

    await _judge(store, "u2")
    await _judge(store, "u3", Result.TIE)

    after, informing = await store.counts(NAME, 1), await store.counts(NAME, 1, Role.JUDGE)
    assert replace(after, now=before.now) == before
    assert (informing.comparisons, informing.wins[0][1], informing.ties[0][1]) == (2, 1, 1)
    assert informing.by_source == {"judge": 2}
    assert not any(map(any, informing.evidence_nano_nats))
    assert (await store.counts(NAME, 1, Role.IMPLICIT)).comparisons == 0


async def test_its_log_is_apart(store: PolicyStore) -> None:
    """What only informed is in a log of its own, without a forecast."""
    await planned(store)
    await _judge(store, "u2")

    (record,), _ = await store.log(NAME, 1, informs=Role.JUDGE)
    own, _ = await store.log(NAME, 1)
    assert isinstance(record, Comparison)
    assert (record.number, record.plan_version, record.source) == (1, 0, "judge")
    assert not any(isinstance(each, Comparison) for each in own)


async def test_a_unit_informs_once(store: PolicyStore) -> None:
    """The same verdict again changes nothing, however many replicas send it; another one is refused."""
    await planned(store)
    became = await asyncio.gather(*(_judge(store, "u2") for _ in range(8)))

    receipts = sorted(each.receipt for each in became)
    assert receipts == [Receipt.COUNTED, *[Receipt.DUPLICATE] * 7]
    with pytest.raises(ContradictingOutcomeError):
        await _judge(store, "u2", Result.LOSS)
    assert (await store.counts(NAME, 1, Role.JUDGE)).comparisons == 1


async def test_informing_does_not_use_up_the_units_own_vote(store: PolicyStore) -> None:
    """A unit that informs may still count, and what waits of one kind is never matched with the other."""
    await planned(store)
    implicit = {"source": "matched:copied", "informs": Role.IMPLICIT}
    assert (await report(store, "u1", 0, 1.0, **implicit)).receipt is Receipt.PENDING
    assert (await report(store, "u2", 1, 0.0)).receipt is Receipt.PENDING
    assert (await report(store, "u1", 0, 1.0)).receipt is Receipt.COUNTED
    assert (await report(store, "u3", 1, 0.0, **implicit)).receipt is Receipt.COUNTED

    evidence, informing = await store.counts(NAME, 1), await store.counts(NAME, 1, Role.IMPLICIT)
    assert (evidence.by_source, informing.by_source) == ({"matched:thumb": 1}, {"matched:copied": 1})


async def test_it_informs_when_it_is_due(store: PolicyStore) -> None:
    """A report that is due later informs only then, apart from held reports that are evidence."""
    await planned(store)
    now = (await store.counts(NAME, 1)).now
    assert (await _judge(store, "u2", due_at=now + 0.2)).receipt is Receipt.HELD
    assert (await store.counts(NAME, 1, Role.JUDGE)).reports_held == 1

    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await store.count_due(NAME, 1, 100, Role.JUDGE):
            assert not await store.count_due(NAME, 1, 100)

    assert (await store.counts(NAME, 1, Role.JUDGE)).comparisons == 1


async def test_nothing_informs_after_the_end(store: PolicyStore) -> None:
    """A decided experiment takes no more of it."""
    fence = await planned(store)
    await store.decide(NAME, 1, fence, move=Move.PROMOTE, champion=1, certificate={})

    with pytest.raises(ExperimentFinishedError):
        await _judge(store, "u2")
