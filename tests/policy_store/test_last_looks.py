"""The number of a last look: fixed at the start, known to nobody until the budget is spent, revealed once."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import Any

import pytest

from policy_store.errors import DecisionConflictError, ExperimentFinishedError, StaleFenceError
from policy_store.events import EventKind, LookCommitted, LookRevealed
from policy_store.last_looks import commitment_to, uniform_number
from policy_store.log_records import Result
from policy_store.report_records import Receipt, Report
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView
from tests.policy_store.building import KEEP_SECONDS, NAME, THRESHOLD, experiment, planned, prefer, started

BUDGET = 3
LOOK = {"last_look": True, "max_comparisons": BUDGET}


async def told(store: PolicyStore, kind: EventKind) -> list[Any]:
    """The events of a kind."""
    return [event.told for event in await store.events(NAME, 100) if event.kind == kind]


async def spent(store: PolicyStore) -> tuple[ExperimentView, int]:
    """An experiment with its budget spent, and the planner's fence."""
    fence = await planned(store, **LOOK)
    for number in range(BUDGET):
        await prefer(store, f"u{number}")
    return await store.view(NAME), fence


def test_number_is_in_range_exact_and_follows_from_secret_and_definition() -> None:
    """Worked by hand from the hash: its first 53 bits, plus 1, over 2^53."""
    digest = hashlib.sha256(bytes.fromhex("00ff") + b"print").digest()
    bits = int(digest.hex()[:16], 16) >> 11

    assert uniform_number("00ff", "print") == (bits + 1) / 2**53
    assert uniform_number("00ff", "another") != uniform_number("00ff", "print")
    assert all(0 < uniform_number(f"{number:04x}", "p") <= 1 for number in range(200))


async def test_commitment_is_logged_at_the_start_and_the_secret_shown_nowhere(store: PolicyStore) -> None:
    """Before the end the log has the hash only; neither view nor counts nor log hold the secret."""
    await planned(store, **LOOK)
    (committed,) = await told(store, EventKind.LOOK_COMMITTED)
    assert isinstance(committed, LookCommitted)

    secret = await store._redis.get(store._names.experiment(NAME).generation(1).look)
    assert commitment_to(secret) == committed.commitment
    read = (await store.view(NAME), await store.counts(NAME, 1), await store.log(NAME, 1))
    assert secret not in repr(read)
    assert read[0].look is None


async def test_experiment_without_a_look_stores_nothing_of_it(store: PolicyStore) -> None:
    """Its record, control fields and events are those of versions before."""
    view = await started(store, max_comparisons=BUDGET)
    control = await store._redis.hgetall(store._names.experiment(NAME).control)

    assert "last_look" not in view.experiment.to_json()
    assert "1:budget" not in control
    assert await told(store, EventKind.LOOK_COMMITTED) == []


async def test_replicas_that_register_at_once_commit_once(store: PolicyStore) -> None:
    """Each brings a secret of its own; the first one counts."""
    await asyncio.gather(*(started(store, **LOOK) for _ in range(5)))
    (committed,) = await told(store, EventKind.LOOK_COMMITTED)
    secret = await store._redis.get(store._names.experiment(NAME).generation(1).look)

    assert commitment_to(secret) == committed.commitment


async def test_exactly_the_budget_is_counted(store: PolicyStore) -> None:
    """Comparisons beyond the look are refused; what was reported before is still a duplicate."""
    await spent(store)
    with pytest.raises(ExperimentFinishedError):
        await prefer(store, "too late")

    assert (await store.counts(NAME, 1)).comparisons == BUDGET
    assert (await prefer(store, "u0")).receipt is Receipt.DUPLICATE


async def test_held_reports_do_not_count_beyond_the_budget(store: PolicyStore) -> None:
    """Five were accepted for later; the budget is three."""
    await planned(store, **LOOK)
    now = (await store.counts(NAME, 1)).now
    for number in range(5):
        said = Report(NAME, 1, f"h{number}", 0, 1, "side_by_side", "x", KEEP_SECONDS, due_at=now + 0.05)
        await store.record_preference(said, Result.WIN)
    while (await store.counts(NAME, 1)).now < now + 0.05:
        await asyncio.sleep(0.01)
    await store.count_due(NAME, 1, 100)

    assert (await store.counts(NAME, 1)).comparisons == BUDGET
    assert not await store.count_due(NAME, 1, 100)


async def test_secret_is_revealed_once_and_gives_what_was_committed_to(store: PolicyStore) -> None:
    """Log and view have it; asking again changes nothing; the key is gone."""
    view, fence = await spent(store)
    revealed = await store.reveal_look(NAME, 1, fence)
    again = await store.reveal_look(NAME, 1, fence)

    assert revealed == again
    assert revealed.revision > view.revision
    (committed,) = await told(store, EventKind.LOOK_COMMITTED)
    (event,) = await told(store, EventKind.LOOK_REVEALED)
    assert event == LookRevealed(BUDGET, str(revealed.look), fence, 1)
    assert commitment_to(event.secret) == committed.commitment
    assert not await store._redis.exists(store._names.experiment(NAME).generation(1).look)


async def test_look_is_refused_before_the_end_and_to_other_planners(store: PolicyStore) -> None:
    """Who could look early could choose the end."""
    fence = await planned(store, **LOOK)
    await prefer(store, "u0")
    with pytest.raises(DecisionConflictError):
        await store.reveal_look(NAME, 1, fence)
    with pytest.raises(StaleFenceError):
        await store.reveal_look(NAME, 1, fence + 1)
    assert await told(store, EventKind.LOOK_REVEALED) == []


async def test_store_that_lost_the_secret_reveals_an_empty_one(store: PolicyStore) -> None:
    """The experiment then ends as one without a look."""
    _, fence = await spent(store)
    await store._redis.delete(store._names.experiment(NAME).generation(1).look)

    assert (await store.reveal_look(NAME, 1, fence)).look == ""


async def test_nothing_goes_on_from_a_generation_whose_look_was_taken(store: PolicyStore) -> None:
    """A larger budget goes on from a spent one before the look, and starts anew after it."""
    _, fence = await spent(store)
    larger = replace(experiment(**LOOK), max_comparisons=10)
    before = await store.register(larger, THRESHOLD)
    assert (await store.counts(NAME, before.generation)).comparisons == BUDGET

    await store.register(experiment(**LOOK), THRESHOLD)
    await store.reveal_look(NAME, 1, fence)
    after = await store.register(replace(larger, max_comparisons=11), THRESHOLD)
    assert (await store.counts(NAME, after.generation)).comparisons == 0
    commitments = {event.commitment for event in await told(store, EventKind.LOOK_COMMITTED)}
    assert len(commitments) == 3
