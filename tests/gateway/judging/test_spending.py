"""What a comparison is expected to cost, and what it did."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.config.gateway_file import GatewayConfig
from gateway.experiments.catalogue import catalogue_of
from gateway.judging.spending import Bill, expected_usd, nano
from gateway.judging.unseen import UnseenPair
from gateway.learning.refreshing import live_experiment
from gateway.settings import Settings
from gateway.upstream.prices import TokenPrices
from gateway.upstream.surfaces import CHAT
from tests.gateway.building import NAME
from tests.gateway.judging.judges import judged_fields

PRICES = {"plain": TokenPrices(1, 2), "warm": TokenPrices(10, 20), "judge": TokenPrices(0, 100)}


def unseen(body: dict[str, Any], served: dict[int, str], **changes: Any) -> UnseenPair:
    """A request whose pair is `plain` and `warm`."""
    config = GatewayConfig.model_validate(judged_fields(**changes))
    catalogue = catalogue_of(config, Settings(), {})
    live = live_experiment(catalogue.definitions[NAME], None)
    assert live.judge is not None
    pair: Any = type("Pair", (), {"first": 0, "second": 1})()
    return UnseenPair(live, live.judge, catalogue.models, pair, CHAT, {}, json.dumps(body).encode(), served)


@pytest.mark.parametrize(
    ("body", "params", "longest"),
    [({}, {}, 1000), ({"max_tokens": 40}, {}, 40), ({"max_tokens": 40}, {"max_tokens": 7}, 7)],
)
def test_answers_are_expected_to_be_as_long_as_they_may(
    body: dict[str, Any], params: dict[str, Any], longest: int
) -> None:
    """A policy's limit comes before the caller's, and without one a usual length is taken."""
    limits = {"params": {"max_tokens": 5}}
    waiting = unseen(body, {0: "Thither."}, params=params, judge=limits)
    prompt = -(-len(waiting.request) // 3)
    assert expected_usd(waiting, body, PRICES) == prompt * 10 + longest * 20 + 2 * 5 * 100


def test_an_answer_the_caller_got_costs_nothing_more() -> None:
    """Only what is made for the judge is on its account."""
    both = {0: "Thither.", 1: "Gladly: thither."}
    free = {**PRICES, "judge": TokenPrices(0, 0)}
    assert expected_usd(unseen({}, both), {}, free) == 0


def test_what_providers_report_replaces_the_estimate() -> None:
    """Tokens that are reported count as reported; without a report, or an answer, they are estimated."""
    reported, silent, gone = Bill(PRICES), Bill(PRICES), Bill(PRICES)
    reported.add("warm", {}, b'{"usage": {"prompt_tokens": 3, "completion_tokens": 4}}')
    silent.add("warm", {"a": 1}, b"123456")
    gone.add("warm", {"a": 1})
    assert (reported.usd, silent.usd, gone.usd) == (3 * 10 + 4 * 20, 3 * 10 + 2 * 20, 3 * 10)


def test_money_is_rounded_up() -> None:
    """What is set aside is never less than what was computed."""
    assert nano(1.1e-9) == 2
