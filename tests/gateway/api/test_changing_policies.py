"""A gateway restarted with other policies goes on: over HTTP, on one store."""

from __future__ import annotations

import math

import pytest

from gateway.cli.experiments import ShownExperiment
from tests.gateway.building import gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, quick_settings, whole_gateway

SIDE_BY_SIDE = {"share": 1.0, "collect": "side_by_side"}
PREFERENCES = 6


async def _prefer(gateway: Whole, times: int) -> None:
    await gateway.planned()
    for _ in range(times):
        reply = await gateway.feed(id=(await gateway.compare()).json["id"], preferred=0)
        assert reply.json["status"] == "counted"


async def test_evidence_outlives_an_edit_of_the_policies(upstream: FakeUpstream, embedded_url: str) -> None:
    """What was counted between the policies that stay is shown, planned with and said to be inherited."""
    settings = quick_settings(embedded_url)
    before = gateway_config(api_base=upstream.api_base, policies=("a", "b", "c"), traffic=SIDE_BY_SIDE)
    async with whole_gateway(before, settings) as gateway:
        await _prefer(gateway, PREFERENCES)
        left = await gateway.experiment()
    after = gateway_config(
        api_base=upstream.api_base, policies=("a", "b", "d", "e"), incumbent="a", traffic=SIDE_BY_SIDE
    )
    async with whole_gateway(after, settings) as gateway:
        started = await gateway.experiment()
        await _prefer(gateway, 2)
        found = await gateway.experiment()

    kept = left["wins"][0][1] + left["wins"][1][0]
    assert started["wins"][0][:2] == left["wins"][0][:2]
    assert (started["generation"], started["policies_ever"]) == (2, 5)
    assert started["inherited"] == {"generation": 1, "comparisons": kept}
    assert [event["kind"] for event in started["events"]][-2:] == ["started", "inherited"]
    assert found["comparisons"] == kept + 2
    # Five policies ever, one of them removed.
    assert found["evidence"][0]["needed"] == pytest.approx(math.log(5 * 2 / 0.05))
    assert f"{kept + 2} comparisons, {kept} of them from generation 1" in ShownExperiment(found).standing()


async def test_experiment_from_nothing_inherits_nothing(upstream: FakeUpstream, embedded_url: str) -> None:
    """Null, not zero: there was no generation before."""
    config = gateway_config(api_base=upstream.api_base, traffic=SIDE_BY_SIDE)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        found = await gateway.experiment()

    assert (found["inherited"], found["policies_ever"]) == (None, 2)
