"""In which segments of requests comparisons were made: what the log says of each, and what is counted."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from policy_store.counts import Results
from policy_store.errors import UnknownExperimentError
from policy_store.log_records import Result
from policy_store.names import Names
from policy_store.report_records import Precedence, Report
from policy_store.roles import Role
from policy_store.store import PolicyStore
from tests.policy_store.building import KEEP_SECONDS, NAME, logged_comparisons, planned, report, started

PLAN: Final = "metadata.plan"
MOST_VALUES: Final = 20
_OWN = Names().experiment(NAME).generation(1)


def at(*values: str) -> tuple[tuple[str, str], ...]:
    """Segments by plan, and by country if there is a second value."""
    return tuple(zip((PLAN, "metadata.country"), values, strict=False))


async def _prefer(store: PolicyStore, unit: str, result: Result = Result.WIN, **about: Any) -> None:
    said = Report(NAME, 1, unit, 0, 1, "side_by_side", result.value, KEEP_SECONDS, **about)
    await store.record_preference(said, result)


async def _counted(store: PolicyStore, informs: Role | None = None) -> dict[str, int]:
    """How many comparisons each plan has."""
    segments = await store.segments(NAME, 1, informs)
    return {value: sum(map(sum, pairs.values())) for (path, value), pairs in segments.items() if path == PLAN}


async def test_a_preference_counts_in_each_of_its_segments(store: PolicyStore) -> None:
    """By path, value, pair and result; the log says the same of each comparison."""
    await planned(store)
    await _prefer(store, "u1", segments=at("pro", "de"))
    await _prefer(store, "u2", Result.LOSS, segments=at("pro", "größe"))
    await _prefer(store, "u3", Result.TIE, segments=at("(none)", "de"))
    await _prefer(store, "u4")

    assert await store.segments(NAME, 1) == {
        (PLAN, "pro"): {(0, 1): Results(1, 1, 0)},
        (PLAN, "(none)"): {(0, 1): Results(0, 0, 1)},
        ("metadata.country", "de"): {(0, 1): Results(1, 0, 1)},
        ("metadata.country", "größe"): {(0, 1): Results(0, 1, 0)},
    }
    logged = [each.segments for each in await logged_comparisons(store)]
    assert logged == [dict(at("pro", "de")), dict(at("pro", "größe")), dict(at("(none)", "de")), {}]


async def test_a_report_without_segments_is_stored_as_before(store: PolicyStore) -> None:
    """No key, field or entry of an experiment without segments names any, also while it waits or is held."""
    await planned(store)
    await _prefer(store, "u1")
    await report(store, "u2", 0, 1.0)
    await report(store, "u3", 0, 1.0, due_at=2e9)

    kept = [
        await store._redis.hgetall(_OWN.counts),
        await store._redis.xrange(_OWN.log),
        await store._redis.lrange(_OWN.queues(0, 1)[0], 0, -1),
        await store._redis.zrange(_OWN.held, 0, -1),
    ]
    assert "segment" not in str(kept)
    assert not await store._redis.exists(_OWN.segments)
    assert "value" in str(kept[2])


async def test_two_answers_of_different_segments_are_mixed(store: PolicyStore) -> None:
    """Matched units keep their order of arrival; a path that is known of one alone is left out."""
    await planned(store)
    await report(store, "u1", 0, 1.0, segments=at("pro", "de"))
    await report(store, "u2", 1, 0.0, segments=at("pro", "fr"))
    await report(store, "u3", 1, 1.0, segments=at("pro", "de"))
    await report(store, "u4", 0, 0.0, segments=at("pro"))
    await report(store, "u5", 0, 1.0)
    await report(store, "u6", 1, 0.0, segments=at("pro", "de"))

    logged = [each.segments for each in await logged_comparisons(store)]
    assert logged == [dict(at("pro", "(mixed)")), dict(at("pro")), {}]
    assert await store.segments(NAME, 1) == {
        (PLAN, "pro"): {(0, 1): Results(1, 1, 0)},
        ("metadata.country", "(mixed)"): {(0, 1): Results(1, 0, 0)},
    }


async def test_values_beyond_the_first_are_counted_together(store: PolicyStore) -> None:
    """However many values callers make up, the store keeps a few, and the log says what was counted."""
    await planned(store)
    for number in range(MOST_VALUES + 5):
        await _prefer(store, f"u{number}", segments=at(f"plan{number}"))
    await _prefer(store, "known", segments=at("plan0"))
    await _prefer(store, "none", segments=at("(none)"))

    counted = await _counted(store)
    assert len(counted) == MOST_VALUES + 2
    assert (counted["plan0"], counted["(other)"], counted["(none)"]) == (2, 5, 1)
    logged = [each.segments[PLAN] for each in await logged_comparisons(store)]
    assert {value: logged.count(value) for value in logged} == counted
    assert sum(counted.values()) == (await store.counts(NAME, 1)).comparisons


async def test_many_writers_keep_no_more_values(store: PolicyStore) -> None:
    """Which values come first is decided in the step that counts."""
    await planned(store)
    await asyncio.gather(
        *(_prefer(store, f"u{number}", segments=at(f"plan{number % 40}")) for number in range(120))
    )

    counted = await _counted(store)
    named = {value: number for value, number in counted.items() if value != "(other)"}
    assert len(named) == MOST_VALUES
    assert set(named.values()) == {3}
    assert sum(counted.values()) == 120


async def test_a_repetition_counts_no_segment_twice(store: PolicyStore) -> None:
    """Nor does one that names another segment."""
    await planned(store)
    for plan in ("pro", "pro", "free"):
        await _prefer(store, "u1", segments=at(plan))
    assert await _counted(store) == {"pro": 1}


async def test_a_later_word_brings_its_segment(store: PolicyStore) -> None:
    """It may be about another answer of the session; nothing is made of the earlier one."""
    await planned(store)
    replace = {"standing": Precedence.REPLACE}
    await report(store, "u1", 0, 1.0, segments=at("free"), **replace)
    await report(store, "u1", 0, 0.0, segments=at("pro"), **replace)
    await report(store, "u2", 1, 1.0, segments=at("pro"))
    assert await _counted(store) == {"pro": 1}


async def test_a_held_report_keeps_its_segment(store: PolicyStore) -> None:
    """As it keeps everything that is said of it; a correction brings its own."""
    await planned(store)
    due = (await store.counts(NAME, 1)).now + 3600
    replace = {"standing": Precedence.REPLACE, "due_at": due, "fingerprint": "one"}
    said = Report(NAME, 1, "u1", 0, 1, "side_by_side", "win", KEEP_SECONDS, due_at=due, segments=at("pro"))
    await store.record_preference(said, Result.WIN)
    await report(store, "u2", 0, 1.0, segments=at("free"), **replace)
    await report(store, "u2", 0, 0.0, segments=at("pro"), **{**replace, "fingerprint": "two"})
    await report(store, "u3", 1, 0.5, segments=at("pro"), **replace)
    await store._redis.zunionstore(_OWN.held, {_OWN.held: 0.5})

    assert await store.count_due(NAME, 1, 10) == {"counted": 2, "pending": 1}
    assert await _counted(store) == {"pro": 2}


async def test_what_only_informs_has_segments_of_its_own(store: PolicyStore) -> None:
    """As it has counts of its own."""
    await planned(store)
    await _prefer(store, "u1", segments=at("pro"), informs=Role.JUDGE)
    assert await _counted(store) == {}
    assert await _counted(store, Role.JUDGE) == {"pro": 1}


async def test_segments_begin_anew_with_each_generation(store: PolicyStore) -> None:
    """As the counts by source do: what was inherited is told apart by neither."""
    await planned(store)
    await _prefer(store, "u1", segments=at("pro"))
    await started(store, min_comparisons=7)

    after = await store.counts(NAME, 2)
    assert (after.comparisons, after.by_source) == (1, {})
    assert await store.segments(NAME, 2) == {}


async def test_segments_do_not_hide_the_definition(store: PolicyStore) -> None:
    """They stand in one field of a report; the definition is checked as before."""
    await planned(store)
    definition = (await store.experiment(NAME, 1)).fingerprint()
    await _prefer(store, "u1", segments=at("pro"), definition=definition)
    with pytest.raises(UnknownExperimentError):
        await _prefer(store, "u2", segments=at("pro"), definition="f" * 64)
    assert await _counted(store) == {"pro": 1}
