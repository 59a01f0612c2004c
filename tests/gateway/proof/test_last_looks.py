"""A decision by the last look: made through the planner, verified from the log, and not to be forged."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.proof.recorded import read_log
from gateway.proof.verification import Verification, verify
from policy_store import store as store_module
from policy_store.last_looks import uniform_number
from tests.gateway.building import definition

Rows = list[dict[str, Any]]
LOOK = {"last_look": True, "max_comparisons": 6, "promotion": {"min_comparisons": 5}}


def checked(rows: Rows) -> Verification:
    """What verifying says of these lines."""
    return verify(read_log(json.dumps(row) for row in rows))


def events(rows: Rows, kind: str) -> Rows:
    """The events of a kind."""
    return [row for row in rows if row.get("kind") == kind]


@pytest.fixture
def decided(decide: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """An experiment that ends with its budget, with a number that is low enough or too high."""

    async def run(*, is_low: bool = True, **changes: Any) -> Rows:
        print_ = definition(**LOOK | changes).experiment.fingerprint()
        made = (f"{number:064x}" for number in range(10_000))
        fits = (lambda u: u < 0.06) if is_low else (lambda u: u > 0.9)
        secret = next(each for each in made if fits(uniform_number(each, print_)))
        monkeypatch.setattr(store_module.secrets, "token_hex", lambda _: secret)
        rows: Rows = await decide(**LOOK | changes, every=1)
        return rows

    return run


@pytest.mark.parametrize("changes", [{"epsilon": 0.0}, {}, {"promise": "no_worse_than_best"}], ids=str)
async def test_low_number_decides_and_the_decision_is_confirmed(
    decided: Callable[..., Any], changes: dict[str, Any]
) -> None:
    """Under each promise: six comparisons are not enough for the usual line."""
    rows = await decided(policies=("a", "b"), **changes)
    certificate = rows[0]["certificate"]

    assert certificate["last_look"]["decided"]
    assert (certificate["champion_name"], certificate["comparisons"]) == ("b", 6)
    assert checked(rows).differences == ()


async def test_high_number_leaves_it_undecided(decided: Callable[..., Any]) -> None:
    """The certificate says that there was a look, and which number it had."""
    rows = await decided(is_low=False, policies=("a", "b"))
    certificate = rows[0]["certificate"]

    assert certificate["outcome"] == "inconclusive"
    assert certificate["last_look"] == {"uniform": certificate["last_look"]["uniform"], "decided": False}
    assert checked(rows).differences == ()


async def test_secret_is_in_no_line_before_the_end(decided: Callable[..., Any]) -> None:
    """An export of the running experiment has the commitment only."""
    rows = await decided(policies=("a", "b"))
    secret = events(rows, "look_revealed")[0]["detail"]["secret"]
    before = rows[1 : rows.index(events(rows, "look_revealed")[0])]

    assert secret not in json.dumps(before)
    assert events(before, "look_committed")


def _another_secret(rows: Rows) -> None:
    events(rows, "look_revealed")[0]["detail"]["secret"] = "00" * 32


def _another_number(rows: Rows) -> None:
    rows[0]["certificate"]["last_look"]["uniform"] = 0.001


def _no_secret(rows: Rows) -> None:
    events(rows, "look_revealed")[0]["detail"]["secret"] = "no hex"


def _no_commitment(rows: Rows) -> None:
    rows.remove(events(rows, "look_committed")[0])


def _late_commitment(rows: Rows) -> None:
    committed = events(rows, "look_committed")[0]
    rows.remove(committed)
    rows.insert(rows.index(events(rows, "look_revealed")[0]), committed)


def _early_reveal(rows: Rows) -> None:
    revealed = events(rows, "look_revealed")[0]
    rows.remove(revealed)
    rows.insert(1 + next(at for at, row in enumerate(rows) if row["type"] == "comparison"), revealed)


def _no_look(rows: Rows) -> None:
    del rows[0]["experiment"]["last_look"]


def _unsaid(rows: Rows) -> None:
    del rows[0]["certificate"]["last_look"]


@pytest.mark.parametrize(
    "tamper",
    [
        *(_another_secret, _another_number, _no_secret, _no_commitment, _late_commitment),
        *(_early_reveal, _no_look, _unsaid),
    ],
)
async def test_changed_look_is_found(decided: Callable[..., Any], tamper: Callable[[Rows], None]) -> None:
    """Commitment, secret, number and their places belong together."""
    rows = await decided(policies=("a", "b"))
    tamper(rows)

    assert checked(rows).differences


async def test_generation_that_goes_on_after_a_look_is_found(decide: Callable[..., Any]) -> None:
    """The store does not allow it; a log that shows it is not confirmed."""
    await decide(policies=("a", "b"), **LOOK, most=4)
    rows = await decide(policies=("a", "b", "c"), first_unit=100, **LOOK | {"max_comparisons": 400})
    assert checked(rows).differences == ()
    inherited = next(row for row in rows if row["type"] == "inherited")
    revealed = {"comparisons": 6, "secret": "00", "fence": 1, "generation": 1}
    rows.append({"type": "event", "kind": "look_revealed", "detail": revealed, "at": inherited["at"] - 1})

    assert any("after its last look" in each for each in checked(rows).differences)
