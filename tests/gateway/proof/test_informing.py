"""What only informed forecasts is in the exported log, and no evidence for anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.proof.experiment_log import ExperimentLog
from gateway.proof.recorded import UnreadableLogError, read_log
from gateway.proof.verification import UndecidedError, Verification, verify
from policy_store.log_records import Result
from policy_store.report_records import Report
from policy_store.roles import Role
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, definition

Rows = list[dict[str, Any]]


def _checked(rows: Rows) -> Verification:
    return verify(read_log(json.dumps(row) for row in rows))


def _verdicts(count: int) -> Rows:
    """Comparisons of a judge as exported."""
    about = {"first": 0, "second": 1, "result": "win", "source": "judge", "at": 5.0, "voters": [""]}
    fields = {"type": "comparison", "probability_millionths": 500_000, "plan_version": 0, **about}
    return [{"type": "informing", "role": "judge"}, *({**fields, "number": 1 + n} for n in range(count))]


async def test_what_informed_is_exported_behind_the_log(embedded_store: PolicyStore) -> None:
    """Each role has a section of its own, and a log without any has none."""
    about = definition()
    await embedded_store.register(about.experiment, about.elimination_nano_nats)
    plain = [json.loads(line) async for line in ExperimentLog(embedded_store).lines(NAME)]
    for role in (Role.JUDGE, Role.IMPLICIT):
        said = Report(NAME, 1, "u1", 0, 1, f"from {role}", "win", 60, informs=role)
        await embedded_store.record_preference(said, Result.WIN)
    rows = [json.loads(line) async for line in ExperimentLog(embedded_store).lines(NAME)]

    assert rows[: len(plain)] == plain
    added = rows[len(plain) :]
    assert [row["type"] for row in added] == ["informing", "comparison"] * 2
    assert [row["role"] for row in added[::2]] == ["implicit", "judge"]
    with pytest.raises(UndecidedError):
        _checked(rows)


async def test_certificate_is_confirmed_beside_what_informed(decide: Callable[..., Any]) -> None:
    """Comparisons that only informed change nothing about the decision."""
    rows = await decide()
    assert _checked([*rows, *_verdicts(5)]) == _checked(rows)


def _with_forecast(rows: Rows) -> None:
    rows[-1] |= {"plan_version": 1}


def _left_out(rows: Rows) -> None:
    del rows[-2]


def _unknown_policy(rows: Rows) -> None:
    rows[-1] |= {"second": 9}


def _no_comparison(rows: Rows) -> None:
    rows[-1] = {"type": "event", "at": 5.0, "kind": "started", "detail": {"generation": 1}}


@pytest.mark.parametrize("tamper", [_with_forecast, _left_out, _unknown_policy, _no_comparison])
async def test_what_cannot_have_informed_is_found(
    decide: Callable[..., Any], tamper: Callable[[Rows], None]
) -> None:
    """Sections of what informed hold numbered comparisons that no plan forecast."""
    rows = [*await decide(), *_verdicts(5)]
    tamper(rows)
    assert len(_checked(rows).differences) == 1


async def _changed_twice(store: PolicyStore) -> Rows:
    """An experiment whose judge was asked about three sets of policies, with a verdict that came too late."""

    async def judged(generation: int, first: int, second: int, results: list[Result]) -> None:
        for number, result in enumerate(results):
            unit = f"{generation}-{first}-{second}-{number}-{len(results)}"
            said = Report(NAME, generation, unit, first, second, "judge", result, 60, informs=Role.JUDGE)
            await store.record_preference(said, result)

    async def change(*policies: str) -> None:
        about = definition(policies=policies, incumbent="b")
        await store.register(about.experiment, about.elimination_nano_nats)

    await change("a", "b", "c")
    await judged(1, 0, 1, [Result.WIN, Result.TIE, Result.LOSS, Result.WIN])
    await judged(1, 1, 2, [Result.LOSS, Result.LOSS])
    await change("b", "c", "d")
    await judged(1, 1, 2, [Result.WIN])
    await judged(2, 0, 1, [Result.WIN, Result.TIE])
    await change("b", "c")
    await judged(3, 0, 1, [Result.LOSS])
    return [json.loads(line) async for line in ExperimentLog(store).lines(NAME)]


def _of_the_judge(rows: Rows) -> Rows:
    return rows[next(at for at, row in enumerate(rows) if row["type"] == "informing") :]


async def test_what_went_on_informing_is_exported(embedded_store: PolicyStore) -> None:
    """The logs of earlier generations follow, each up to the comparison at which it was left."""
    rows = _of_the_judge(await _changed_twice(embedded_store))
    heads = [row for row in rows if row["type"] == "informing"]
    numbers = [row["number"] for row in rows if row["type"] == "comparison"]
    began = [row for row in rows if row["type"] == "inherited"]

    assert [row.get("generation") for row in heads] == [None, 2, 1]
    assert [row["experiment"]["policies"] for row in heads[1:]] == [["b", "c", "d"], ["a", "b", "c"]]
    assert numbers == [5, 3, 4, 1, 2, 3, 4, 5, 6]
    assert [(row["comparisons"], row["wins"][0][1], row["wins"][1][0]) for row in began] == [
        (4, 1, 2),
        (2, 0, 2),
    ]


async def test_what_went_on_informing_is_retraced(embedded_store: PolicyStore) -> None:
    """An honest log has no differences."""
    with pytest.raises(UndecidedError):
        _checked(await _changed_twice(embedded_store))


def _more_wins(rows: Rows) -> None:
    next(row for row in rows if row["type"] == "inherited")["wins"][0][1] += 1


def _evidence(rows: Rows) -> None:
    next(row for row in rows if row["type"] == "inherited")["evidence_nano_nats"][0][1] = 1


def _no_matrix(rows: Rows) -> None:
    next(row for row in rows if row["type"] == "inherited")["wins"] = [["many"]]


def _left_earlier(rows: Rows) -> None:
    next(row for row in rows if row["type"] == "inherited")["after"] = 99


def _sources_swapped(rows: Rows) -> None:
    [row for row in rows if row["type"] == "inherited"][-1]["sources"] = [None, 2, 1]


def _verdict_turned(rows: Rows) -> None:
    rows[-1]["result"] = "win"


def _other_policies(rows: Rows) -> None:
    rows[_last_head(rows)]["experiment"]["policy_fingerprints"][1] = "another"


def _oldest_missing(rows: Rows) -> None:
    del rows[_last_head(rows) :]


def _middle_missing(rows: Rows) -> None:
    heads = [at for at, row in enumerate(rows) if row["type"] == "informing"]
    del rows[heads[-2] : heads[-1]]


def _last_head(rows: Rows) -> int:
    return max(at for at, row in enumerate(rows) if row["type"] == "informing")


@pytest.mark.parametrize(
    "tamper",
    [
        *(_more_wins, _evidence, _no_matrix, _left_earlier, _sources_swapped, _verdict_turned),
        *(_other_policies, _oldest_missing, _middle_missing),
    ],
    ids=lambda tamper: tamper.__name__.removeprefix("_"),
)
async def test_tampering_with_what_went_on_informing_is_found(
    embedded_store: PolicyStore, tamper: Callable[[Rows], None]
) -> None:
    """Whatever is changed afterwards, the logs no longer fit together."""
    rows = await _changed_twice(embedded_store)
    evidence, judge = [row for row in rows if row not in _of_the_judge(rows)], _of_the_judge(rows)
    tamper(judge)
    assert not _checked([*evidence, *judge]).is_confirmed


@pytest.mark.parametrize("field", ["generation", "after", "comparisons"])
async def test_beginning_in_another_form_is_named_by_its_line(
    embedded_store: PolicyStore, field: str
) -> None:
    """A record that cannot be read is a fault of the input, and not of the verifier."""
    rows = await _changed_twice(embedded_store)
    next(row for row in rows if row["type"] == "inherited")[field] = "many"
    with pytest.raises(UnreadableLogError, match=r"Line \d+ does not belong"):
        _checked(rows)


async def test_beginning_that_only_an_archive_has_is_asked_for(embedded_store: PolicyStore) -> None:
    """As for evidence: what the store removed is in the archive."""
    rows = await _changed_twice(embedded_store)
    rows.remove(next(row for row in rows if row["type"] == "comparison" and row["number"] == 1))
    with pytest.raises(UnreadableLogError, match="what informed generation 1 as judge"):
        _checked(rows)
