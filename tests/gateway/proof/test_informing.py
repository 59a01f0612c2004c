"""What only informed forecasts is in the exported log, and no evidence for anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.proof.experiment_log import ExperimentLog
from gateway.proof.recorded import read_log
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
