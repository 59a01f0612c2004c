"""What an answer costs: as the file declares, else as measured."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.gateway_file import GatewayConfig
from gateway.experiments.catalogue import catalogue_of
from gateway.experiments.costs import AnswerCosts, answer_costs
from gateway.experiments.definitions import Definition
from gateway.settings import Settings
from gateway.upstream.prices import TokenPrices
from policy_store.usage import Usage
from tests.gateway.building import NAME, config_fields

PRICES = {"plain": TokenPrices(1e-6, 2e-6), "warm": TokenPrices(1e-5, 2e-5)}
MEASURED = Usage(answers=4, prompt_tokens=400, completion_tokens=200)


def _defined(**costs: float) -> Definition:
    fields: dict[str, Any] = config_fields()
    for policy, cost in costs.items():
        fields["experiments"][NAME]["policies"][policy]["cost"] = cost
    return catalogue_of(GatewayConfig.model_validate(fields), Settings(), {}).definitions[NAME]


def _costs(defined: Definition, *used: Usage, prices: dict[str, TokenPrices] = PRICES) -> AnswerCosts:
    usage = dict(zip(defined.experiment.policy_fingerprints, used, strict=False))
    return answer_costs(defined.experiment, defined, prices, usage)


def test_measured_tokens_times_prices_are_the_default() -> None:
    """The mean over answers whose providers reported tokens."""
    costs = _costs(_defined(), MEASURED, Usage(2, 200, 100))
    assert costs.source == "measured"
    assert costs.per_answer == pytest.approx((2e-4, 2e-3))
    assert costs.answers == (4, 2)
    assert costs.ratio(1, 0) == pytest.approx(10.0)
    assert costs.deciding == pytest.approx((2e-4, 2e-3))


@pytest.mark.parametrize("declared", [{"warm": 3.0}, {"plain": 0.0}])
def test_declared_costs_override(declared: dict[str, float]) -> None:
    """One is enough, and also where it says that nothing costs anything: units must not be mixed."""
    costs = _costs(_defined(**declared), MEASURED, MEASURED)
    assert costs.source == "declared"
    assert costs.per_answer == (declared.get("plain", 0.0), declared.get("warm", 0.0))
    assert costs.deciding == costs.per_answer


@pytest.mark.parametrize(
    ("used", "prices", "known"),
    [
        ((MEASURED,), PRICES, (True, False)),
        ((MEASURED, MEASURED), {"warm": PRICES["warm"]}, (False, True)),
        ((), {}, (False, False)),
    ],
    ids=["nothing measured", "no price", "neither"],
)
def test_what_is_not_known_decides_nothing(
    used: tuple[Usage, ...], prices: dict[str, TokenPrices], known: tuple[bool, bool]
) -> None:
    """Half-known costs would make the unknown policy the cheapest."""
    costs = _costs(_defined(), *used, prices=prices)
    assert tuple(cost is not None for cost in costs.per_answer) == known
    assert costs.deciding == (0.0, 0.0)
    assert costs.ratio(1, 0) is None


def test_measured_costs_that_hardly_differ_are_equal_to_a_decision() -> None:
    """Small differences of measured costs must not decide between equal policies by chance."""
    costs = AnswerCosts("measured", (0.001234, 0.001229), (900, 800))
    assert costs.deciding == (0.0012, 0.0012)
