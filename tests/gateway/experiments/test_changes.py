"""What another configuration does to the evidence of an experiment whose budget ends with a last look."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.experiments.changes import Change, changes_between
from gateway.experiments.description import describe
from gateway.experiments.standing import ExperimentStanding
from policy_store.states import ExperimentState
from tests.gateway.building import NAME, catalogue, gateway_config


def change(standing: ExperimentStanding, **changes: Any) -> Change:
    """What becomes of the experiment if its file is changed like this."""
    looks: dict[str, Any] = {"last_look": True, "max_comparisons": 200}
    old, new = (
        describe(gateway_config(**each), catalogue(**each).definitions)
        for each in (looks, {**looks, **changes})
    )
    (found,) = changes_between(old, new, {NAME: standing})
    return found


@pytest.mark.parametrize(("took_last_look", "evidence"), [(False, "inherited"), (True, "anew")])
def test_a_larger_budget_goes_on_only_before_the_look(took_last_look: bool, evidence: str) -> None:
    """The same rule as in the store; a description of the standing keeps it."""
    standing = ExperimentStanding(ExperimentState.INCONCLUSIVE, 1, "a", 200, {}, took_last_look)
    sent = ExperimentStanding.from_json(standing.to_json())
    found = change(sent, max_comparisons=500)

    assert sent == standing
    assert found.evidence == evidence
    if took_last_look:
        assert "generation 1 took its last look, so nothing goes on from it" in found.what


def test_the_look_itself_may_come_or_go() -> None:
    """It changes no comparison."""
    standing = ExperimentStanding(ExperimentState.RUNNING, 1, "a", 20, {})

    assert change(standing, last_look=False).evidence == "inherited"
