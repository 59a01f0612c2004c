"""What is wrong with a guardrail is said with the value and what to write instead, before anything runs."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from tests.gateway.building import gateway_config


@pytest.mark.parametrize(
    ("name", "spec", "says"),
    [
        ("error_rat", {"worse_by": 0.01, "then": "eject"}, "Did you mean error_rate?"),
        ("toxicity", {"worse_by": 0.01, "then": "eject"}, "A metric of your own needs a `range`"),
        ("error_rate", {"worse_by": 0.01, "then": "explode"}, "'eject', 'pause', 'rollback' or 'ask'"),
        ("error_rate", {"worse_by": "a lot", "then": "eject"}, "'a lot' is no tolerance"),
        ("error_rate", {"worse_by": -0.1, "then": "eject"}, "`worse_by` is -0.1"),
        ("error_rate", {"worse_by": 1, "then": "eject"}, "the whole range of `error_rate`"),
        ("error_rate", {"worse_by": 0.1, "then": "eject", "range": [0, 1]}, "measures `error_rate` itself"),
        ("error_rate", {"worse_by": 0.1, "then": "eject", "up_to": 2}, "`up_to` is for latency, cost"),
        ("cost", {"worse_by": "20%", "then": "ask"}, "Set `up_to` to a number of USD"),
        ("latency_p95", {"worse_by": 0.5, "then": "pause"}, "Write a percentage above 0"),
        ("latency_p95", {"worse_by": "0%", "then": "pause"}, "Write a percentage above 0"),
        ("csat", {"worse_by": "20%", "then": "ask", "range": [1, 5]}, "begins at 1"),
        ("csat", {"worse_by": 1, "then": "ask", "range": [5, 1]}, "Give the smaller number first"),
        (
            "csat",
            {"worse_by": "100%", "then": "ask", "range": [0, 5], "better": "higher"},
            "cannot fall by 100%",
        ),
        ("error_rate", {"worse_by": 0.1, "then": "rollback"}, "no promotion here is staged or watched"),
        ("error_rate", {"worse_by": 0.1, "then": "eject", "level": 0}, "greater than or equal to 0.00000"),
        ("error_rate", {"worse_by": [1], "then": "eject"}, "[1] is no tolerance"),
        ("error_rate", {"worse_by": True, "then": "eject"}, "True is no tolerance"),
        ("error_rate", {"worse_by": float("nan"), "then": "eject"}, "nan is no tolerance"),
        ("csat", {"worse_by": 0.1, "then": "ask", "range": [-1e308, 1]}, "may be from -1e+12 to 1e+12"),
        ("csat", {"worse_by": 0.1, "then": "ask", "range": ["a", 1]}, "['a', 1] is no range"),
        ("csat", {"worse_by": 0.1, "then": "ask", "range": [1]}, "[1] is no range"),
        ("csat", {"worse_by": 0.1, "then": "ask", "range": "bool"}, "'bool' is no range"),
    ],
)
def test_a_guardrail_that_cannot_work_is_refused(name: str, spec: dict[str, Any], says: str) -> None:
    """The message has the value and the remedy."""
    with pytest.raises(ValidationError, match=re.escape(says)):
        gateway_config(guardrails={name: spec})


def test_a_rollback_needs_a_promotion_that_can_be_taken_back() -> None:
    """A watched or staged promotion is one."""
    guardrails = {"error_rate": {"worse_by": 0.1, "then": "rollback"}}
    for promotion in ({"watch": "1h"}, {"mode": "staged"}):
        assert gateway_config(guardrails=guardrails, promotion=promotion).experiments["support"].guardrails
