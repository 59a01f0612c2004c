"""What a generation inherited follows from the logs of those before it, and cannot be changed unnoticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from gateway.proof.recorded import read_log
from gateway.proof.verification import Verification, verify

Rows = list[dict[str, Any]]
BEFORE = 12
BEST = {"promise": "no_worse_than_best"}


def checked(rows: Rows) -> Verification:
    """What verifying says of these lines."""
    return verify(read_log(json.dumps(row) for row in rows))


async def changed_twice(decide: Callable[..., Any], **changes: Any) -> Rows:
    """A decided experiment that lost one policy on its way and then got another."""
    await decide(policies=("a", "b", "c"), most=BEFORE, **changes)
    await decide(policies=("a", "c"), incumbent="a", most=4, first_unit=3_000, **changes)
    return await decide(policies=("a", "c", "d"), incumbent="a", first_unit=6_000, **changes)


@pytest.mark.parametrize("changes", [{"epsilon": 0.0}, {"epsilon": 0.02}, BEST], ids=str)
async def test_certificate_after_changes_is_confirmed(
    decide: Callable[..., Any], changes: dict[str, Any]
) -> None:
    """Two changes, debts and all: every step is retraced from the first comparison on."""
    rows = await changed_twice(decide, **changes)
    found = checked(rows)

    assert found.differences == ()
    assert (found.generation, found.champion) == (3, "d")
    assert 0 < found.inherited < found.comparisons
    assert rows[0]["certificate"]["policies_ever"] == 4
    assert [row["generation"] for row in rows if row["type"] == "ancestor"] == [2, 1]


async def test_inherited_evidence_at_one_half_is_retraced(decide: Callable[..., Any]) -> None:
    """This evidence is in the log only if the promise uses it, and it follows from the earlier logs."""
    rows = await changed_twice(decide, **BEST)
    inherited = _inherited(rows)[0]
    assert any(map(any, inherited["evidence_at_half_nano_nats"]))
    inherited["evidence_at_half_nano_nats"][0][1] += 1

    assert any("evidence_at_half_nano_nats" in each for each in checked(rows).differences)


async def test_log_without_evidence_at_one_half_says_nothing_of_it(decide: Callable[..., Any]) -> None:
    """Logs of the other promise stay as earlier versions read them."""
    rows = await changed_twice(decide)
    assert all("evidence_at_half_nano_nats" not in row for row in _inherited(rows))


async def test_log_of_an_ancestor_ends_where_it_was_left(decide: Callable[..., Any]) -> None:
    """What it counted later, for replicas with the old file, is not part of the proof."""
    rows = await changed_twice(decide)
    numbers = [row["number"] for row in rows if row["type"] == "comparison"]
    assert numbers[-1] == BEFORE


Tampering = Callable[[Rows], None]


def _inherited(rows: Rows) -> Rows:
    return [row for row in rows if row["type"] == "inherited"]


def _more_evidence(rows: Rows) -> None:
    _inherited(rows)[0]["evidence_nano_nats"][0][1] += 1


def _debt_forgiven(rows: Rows) -> None:
    debts = _inherited(rows)[-1]["debts_nano_nats"]
    debts[next(index for index, debt in enumerate(debts) if debt < 0)] = 0


def _fewer_policies_ever(rows: Rows) -> None:
    _inherited(rows)[-1]["policies_ever"] -= 1


def _left_earlier(rows: Rows) -> None:
    _inherited(rows)[-1]["after"] -= BEFORE // 2


def _policies_swapped(rows: Rows) -> None:
    _inherited(rows)[-1]["sources"].reverse()


def _ancestor_of_other_policies(rows: Rows) -> None:
    ancestor = [row for row in rows if row["type"] == "ancestor"][-1]
    ancestor["experiment"]["policy_fingerprints"][0] = "another"


def _ancestor_with_another_delta(rows: Rows) -> None:
    ancestor = [row for row in rows if row["type"] == "ancestor"][-1]
    ancestor["experiment"]["delta"] = 0.5


def _ancestors_outcome_turned(rows: Rows) -> None:
    row = next(row for row in reversed(rows) if (row.get("first"), row.get("second")) == (0, 2))  # both kept
    row["result"] = "win" if row["result"] == "loss" else "loss"


def _ancestors_forecast_flattered(rows: Rows) -> None:
    row = next(row for row in reversed(rows) if row["type"] == "comparison")
    row["probability_millionths"] -= 10_000


def _oldest_log_missing(rows: Rows) -> None:
    del rows[max(index for index, row in enumerate(rows) if row["type"] == "ancestor") :]


def _inherited_again(rows: Rows) -> None:
    index = rows.index(_inherited(rows)[0])
    rows.insert(index + 2, rows[index])


@pytest.mark.parametrize(
    "tamper",
    [
        _more_evidence,
        _debt_forgiven,
        _fewer_policies_ever,
        _left_earlier,
        _policies_swapped,
        _ancestor_of_other_policies,
        _ancestor_with_another_delta,
        _ancestors_outcome_turned,
        _ancestors_forecast_flattered,
        _oldest_log_missing,
        _inherited_again,
    ],
    ids=lambda tamper: tamper.__name__.removeprefix("_"),
)
async def test_tampering_with_what_came_before_is_found(
    decide: Callable[..., Any], tamper: Tampering
) -> None:
    """Whatever is changed afterwards, the logs no longer fit together."""
    rows = deepcopy(await changed_twice(decide))
    tamper(rows)
    assert not checked(rows).is_confirmed
