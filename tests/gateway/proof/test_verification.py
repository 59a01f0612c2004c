"""With the log, a true certificate can be told from a false one."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from gateway.proof.recorded import UnreadableLogError, read_log
from gateway.proof.verification import UndecidedError, Verification, verify

Rows = list[dict[str, Any]]
Tampering = Callable[[Rows], None]


def checked(rows: Rows) -> Verification:
    """What verifying says of these lines."""
    return verify(read_log(json.dumps(row) for row in rows))


def of_type(rows: Rows, kind: str) -> Rows:
    """The lines of one type."""
    return [row for row in rows if row["type"] == kind]


async def test_true_winner_certificate_is_confirmed(decide: Callable[..., Any]) -> None:
    """Epsilon = 0: all others are eliminated."""
    found = checked(await decide(epsilon=0.0, policies=("a", "b", "c")))

    assert found.differences == ()
    assert (found.outcome, found.champion) == ("winner", "c")
    assert found.comparisons > 10


async def test_true_no_worse_certificate_is_confirmed(decide: Callable[..., Any]) -> None:
    """The certificate says that no policy beats the champion by more than epsilon, and it is confirmed."""
    found = checked(await decide())
    assert found.differences == ()
    assert (found.outcome, found.champion) == ("no_worse", "warm")


async def test_true_certificate_of_no_worse_than_the_best_is_confirmed(decide: Callable[..., Any]) -> None:
    """The evidence at one half is replayed with the forecasts in the log, like the other."""
    rows = await decide(policies=("a", "b", "c"), promise="no_worse_than_best")
    found = checked(rows)

    assert found.differences == ()
    assert (found.outcome, found.champion) == ("no_worse", "c")
    assert found.claim is not None
    assert found.claim.startswith("if some policy is preferred to every other, it is not preferred to c")
    assert rows[0]["experiment"]["promise"] == "no_worse_than_best"


def _promise_unsaid(rows: Rows) -> None:
    del rows[0]["certificate"]["promise"]


def _another_promise_asked_for(rows: Rows) -> None:
    del rows[0]["experiment"]["promise"]


def _more_evidence_at_half(rows: Rows) -> None:
    rows[0]["certificate"]["evidence_at_half_nano_nats"][0][1] += 1


def _unknown_promise(rows: Rows) -> None:
    for part in ("certificate", "experiment"):
        rows[0][part]["promise"] = "the best of all worlds"


def _ill_shaped_promise(rows: Rows) -> None:
    for part in ("certificate", "experiment"):
        rows[0][part]["promise"] = ["no_worse_than_best"]


@pytest.mark.parametrize(
    "tamper",
    [
        _promise_unsaid,
        _another_promise_asked_for,
        _more_evidence_at_half,
        _unknown_promise,
        _ill_shaped_promise,
    ],
    ids=lambda tamper: tamper.__name__.removeprefix("_"),
)
async def test_tampering_with_the_promise_is_found(decide: Callable[..., Any], tamper: Tampering) -> None:
    """A change of the promise or of its evidence is noticed."""
    rows = deepcopy(await decide(policies=("a", "b", "c"), promise="no_worse_than_best"))
    tamper(rows)
    assert not checked(rows).is_confirmed


async def test_inconclusive_end_is_confirmed(decide: Callable[..., Any]) -> None:
    """A spent budget claims nothing, and the log agrees."""
    found = checked(await decide(every=3, max_comparisons=3, promotion={"min_comparisons": 0}))
    assert found.differences == ()
    assert (found.outcome, found.champion) == ("inconclusive", None)


async def test_comparisons_after_the_decision_do_not_matter(decide: Callable[..., Any]) -> None:
    """The certificate is about what was counted when it was made."""
    rows = await decide()
    last = of_type(rows, "comparison")[-1]
    plan = of_type(rows, "plan")[-1]
    _, _, forecast, second, *_ = plan["forecasts"][0]
    rows.append(
        {
            **last,
            "number": last["number"] + 1,
            "plan_version": plan["version"],
            "probability_millionths": forecast,
            "second_millionths": second,
        }
    )
    assert checked(rows).is_confirmed


def _turned_outcome(rows: Rows) -> None:
    row = of_type(rows, "comparison")[0]
    row["result"] = "win" if row["result"] == "loss" else "loss"


def _removed_comparison(rows: Rows) -> None:
    rows.remove(of_type(rows, "comparison")[1])


def _removed_and_renumbered(rows: Rows) -> None:
    rows.remove(of_type(rows, "comparison")[0])
    for number, row in enumerate(of_type(rows, "comparison"), start=1):
        row["number"] = number


def _flattering_forecast(rows: Rows) -> None:
    of_type(rows, "comparison")[-1]["probability_millionths"] -= 50_000


def _flattering_forecast_in_plan_too(rows: Rows) -> None:
    comparison = of_type(rows, "comparison")[-1]
    comparison["probability_millionths"] -= 50_000
    for plan in of_type(rows, "plan"):
        if plan["version"] == comparison["plan_version"]:
            plan["forecasts"][0][2] -= 50_000


def _flattering_forecast_of_the_other_side(rows: Rows) -> None:
    comparison = of_type(rows, "comparison")[-1]
    for plan in of_type(rows, "plan"):
        if plan["version"] == comparison["plan_version"]:
            plan["forecasts"][0][3] -= 50_000


def _under_its_plan(rows: Rows) -> tuple[Rows, dict[str, Any]]:
    """The comparisons of the latest plan with several, and the plan."""
    for plan in reversed(of_type(rows, "plan")):
        under = [row for row in of_type(rows, "comparison") if row["plan_version"] == plan["version"]]
        if len(under) > 2:
            return under, plan
    raise AssertionError


def _forecast_that_did_not_go_on(rows: Rows) -> None:
    under, plan = _under_its_plan(rows)
    under[-1]["probability_millionths"], under[-1]["second_millionths"] = plan["forecasts"][0][2:4]


def _line_of_an_earlier_version(rows: Rows) -> None:
    under, plan = _under_its_plan(rows)
    del under[-1]["second_millionths"]
    under[-1]["probability_millionths"] = plan["forecasts"][0][2]


def _moved_further_than_the_weight_says(rows: Rows) -> None:
    under, _ = _under_its_plan(rows)
    under[-1]["second_millionths"] -= 1


def _other_weight(rows: Rows) -> None:
    _, plan = _under_its_plan(rows)
    plan["forecasts"][0][5] += 1


def _third_forecast_of_a_pair(rows: Rows) -> None:
    of_type(rows, "plan")[0]["forecasts"][0].append(400_000)


def _plan_after_its_comparisons(rows: Rows) -> None:
    plan = of_type(rows, "plan")[0]
    rows.remove(plan)
    rows.append(plan)


def _another_champion(rows: Rows) -> None:
    rows[0]["certificate"].update(champion=0, champion_name="plain")
    rows[0]["incumbent"] = "plain"


def _more_voters(rows: Rows) -> None:
    rows[0]["certificate"]["voting"]["voters"] += 1


def _one_voter_for_many(rows: Rows) -> None:
    for row in of_type(rows, "comparison"):
        row["voters"] = ["ann"] * len(row["voters"])


def _more_evidence(rows: Rows) -> None:
    rows[0]["certificate"]["evidence_nano_nats"][0][1] += 1


def _lower_threshold(rows: Rows) -> None:
    rows[0]["certificate"]["delta"] = 0.2


def _fewer_comparisons(rows: Rows) -> None:
    rows[0]["certificate"]["comparisons"] -= 1


def _incumbent_not_swapped(rows: Rows) -> None:
    rows[0]["incumbent"] = "plain"


def _promoted_twice(rows: Rows) -> None:
    rows.append(of_type(rows, "event")[-1])


def _another_promoted(rows: Rows) -> None:
    of_type(rows, "event")[-1]["detail"]["champion"] = 0


def _still_running(rows: Rows) -> None:
    rows[0]["state"] = "running"


def _more_gain(rows: Rows) -> None:
    rows[0]["certificate"]["gain"]["low"] += 0.01


def _gain_over_another(rows: Rows) -> None:
    rows[0]["certificate"]["gain"]["incumbent"] = "warm"


def _another_prompt(rows: Rows) -> None:
    rows[0]["certificate"]["policies"][1]["content"]["system"] = "Be kind."


def _another_policy_shown(rows: Rows) -> None:
    rows[0]["certificate"]["policies"].reverse()


def _descriptions_in_pieces(rows: Rows) -> None:
    rows[0]["certificate"]["policies"] = [7, None]


def _certificate_in_pieces(rows: Rows) -> None:
    del rows[0]["certificate"]["costs"]


@pytest.mark.parametrize(
    "tamper",
    [
        _turned_outcome,
        _removed_comparison,
        _removed_and_renumbered,
        _flattering_forecast,
        _flattering_forecast_in_plan_too,
        _flattering_forecast_of_the_other_side,
        _forecast_that_did_not_go_on,
        _line_of_an_earlier_version,
        _moved_further_than_the_weight_says,
        _other_weight,
        _plan_after_its_comparisons,
        _another_champion,
        _more_voters,
        _one_voter_for_many,
        _more_evidence,
        _lower_threshold,
        _fewer_comparisons,
        _incumbent_not_swapped,
        _promoted_twice,
        _another_promoted,
        _still_running,
        _more_gain,
        _gain_over_another,
        _another_prompt,
        _another_policy_shown,
        _descriptions_in_pieces,
        _certificate_in_pieces,
    ],
    ids=lambda tamper: tamper.__name__.removeprefix("_"),
)
async def test_tampering_is_found(decide: Callable[..., Any], tamper: Tampering) -> None:
    """Whatever is changed afterwards, the numbers no longer fit together."""
    rows = deepcopy(await decide())
    tamper(rows)
    found = checked(rows)
    assert not found.is_confirmed
    assert found.differences


async def test_undecided_experiment_has_nothing_to_verify(decide: Callable[..., Any]) -> None:
    """An experiment without a certificate is not a failed verification."""
    rows = await decide()
    rows[0]["certificate"] = None
    with pytest.raises(UndecidedError, match="support"):
        checked(rows)


@pytest.mark.parametrize(
    "line", ["", "{", "[]", '{"type": "comparison"}', '{"type": "experiment", "schema": 99}', "null"]
)
def test_what_is_no_log_is_refused(line: str) -> None:
    """The error names the line and where to get a real log."""
    with pytest.raises(UnreadableLogError, match="/log"):
        read_log([line])


async def test_broken_line_is_named(decide: Callable[..., Any]) -> None:
    """A torn download is not mistaken for a false certificate."""
    lines = [json.dumps(row) for row in await decide()]
    lines[4] = lines[4][: len(lines[4]) // 2]
    with pytest.raises(UnreadableLogError, match="Line 5"):
        read_log(lines)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("plan", "version", None),
        ("plan", "comparisons", "7"),
        ("comparison", "number", 1.5),
        ("comparison", "plan_version", True),
        ("comparison", "at", {}),
        ("event", "detail", 0),
        ("event", "kind", [[]]),
    ],
)
async def test_a_line_with_another_kind_of_value_is_named(
    decide: Callable[..., Any], kind: str, field: str, value: object
) -> None:
    """What no gateway writes is refused as a whole, not calculated with."""
    rows = await decide()
    of_type(rows, kind)[-1][field] = value
    with pytest.raises(UnreadableLogError, match=f"Line {1 + rows.index(of_type(rows, kind)[-1])} "):
        read_log(json.dumps(row) for row in rows)


@pytest.mark.parametrize("champion", [2**63, -1, True, 99], ids=str)
async def test_a_champion_that_is_no_policy_is_a_difference(
    decide: Callable[..., Any], champion: object
) -> None:
    """No policy is found under such a number, also not by counting from the end."""
    rows = await decide()
    rows[0]["certificate"]["champion"] = champion
    assert not checked(rows).is_confirmed


def test_empty_log_is_refused() -> None:
    """An empty log is not taken for an undecided experiment."""
    with pytest.raises(UnreadableLogError, match="empty"):
        read_log([])
