"""Which signals are found, what they mean, and whether users' ratings agree with them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.found_signals import FoundSignal
from gateway.errors import ConfigError
from gateway.experiments.found_signals import FoundRules, signal_agreements
from policy_store.found_signals import UNKNOWN, Ratings
from policy_store.roles import Role
from tests.gateway.building import definition

SIGNALS = {
    "thumb": 1,
    "continued": {"weight": 0.5, "found": True},
    "reasked": {"weight": -0.5, "found": True},
}
WEIGHTS = {"thumb": 1.0, "continued": 0.5, "reasked": -0.5}
RULES = FoundRules(frozenset({FoundSignal.REASKED, FoundSignal.CONTINUED}), frozenset({"thumb"}), 0.6, 0.5)


def _defined(**feedback: Any) -> Any:
    return definition(feedback={"hold": "1h", "signals": SIGNALS, **feedback})


def test_a_signal_agrees_as_often_as_ratings_have_the_sign_of_its_weight() -> None:
    """Chance is the share of such ratings among all answers of which something is known."""
    counted = {
        "continued": Ratings(good=80, bad=20),
        "reasked": Ratings(good=5, bad=15),
        "abandoned": Ratings(good=15, bad=65),
        UNKNOWN: Ratings(good=1000, bad=0),
    }
    continued, reasked = signal_agreements(RULES, WEIGHTS, counted)
    assert (continued.rated, continued.agreed, continued.chance) == (100, 80, 0.5)
    assert (reasked.rated, reasked.agreed, reasked.chance) == (20, 15, 0.5)
    assert continued.low == pytest.approx(0.711, abs=0.001)
    assert continued.high == pytest.approx(0.867, abs=0.001)
    assert not continued.is_below_chance
    assert not reasked.is_below_chance


def test_a_signal_below_chance_is_called_so_once_chance_cannot_explain_it() -> None:
    """A few ratings that say otherwise are no reason; many are."""
    few = signal_agreements(RULES, WEIGHTS, {"continued": Ratings(10, 10), "reasked": Ratings(2, 1)})
    many = signal_agreements(RULES, WEIGHTS, {"continued": Ratings(100, 100), "reasked": Ratings(80, 20)})
    assert [each.is_below_chance for each in few] == [False, False]
    assert [each.is_below_chance for each in many] == [True, True]
    assert "rated 20 of 100 such answers bad, and 40% of all answers" in many[1].sentence()


def test_without_ratings_nothing_is_said() -> None:
    """No chance, and the widest interval."""
    (continued, _) = signal_agreements(RULES, WEIGHTS, {})
    assert (continued.rated, continued.low, continued.high, continued.chance) == (0, 0.0, 1.0, None)
    assert not continued.is_below_chance


def test_found_signals_are_implicit_and_part_of_what_evidence_means() -> None:
    """A changed threshold changes the experiment where found signals are evidence, and only there."""
    one, other = _defined(), _defined(found={"question_similarity": 0.7})
    assert one.spec.feedback.role_of("reasked") is Role.IMPLICIT
    assert '"reasked":{"found":true,"weight":-0.5}' in one.experiment.outcome_rules
    assert not one.is_same_as(other.experiment)

    voted = [
        definition(
            feedback={"hold": "1h", "signals": SIGNALS, "found": {"question_similarity": each}},
            promote_on=["explicit"],
        )
        for each in (0.6, 0.7)
    ]
    assert voted[0].is_same_as(voted[1].experiment)
    assert "found" not in voted[0].experiment.outcome_rules
    assert voted[0].informing == {"continued": Role.IMPLICIT, "reasked": Role.IMPLICIT}


def test_without_found_signals_nothing_is_found_and_the_definition_is_as_it_was() -> None:
    """A signal that merely has such a name is reported by the application, and explicit."""
    plain = definition(feedback={"signals": {"thumb": 1, "reasked": -0.5}})
    assert plain.found is None
    assert plain.experiment.outcome_rules == (
        '{"signals":{"reasked":-0.5,"thumb":1.0},"tie_margin":0.0,"unit":"request"}'
    )


def test_signals_are_found_where_answers_have_outcomes() -> None:
    """Elsewhere the fault names the way of collecting."""
    with pytest.raises(ConfigError, match="no answer has an outcome of its own, and 'continued'"):
        definition(
            feedback={"hold": "1h", "signals": SIGNALS}, traffic={"share": 1.0, "collect": "side_by_side"}
        )
