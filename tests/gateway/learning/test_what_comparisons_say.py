"""What the exported log says of comparisons, from requests to feedback over real HTTP and a real store."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.config.gateway_file import GatewayConfig
from gateway.proof.log_lines import record_fields, record_from
from gateway.proof.recorded import read_log
from policy_store.log_records import Comparison, Result
from tests.gateway.building import NAME, gateway_config
from tests.gateway.fake_upstream import FakeUpstream, answer
from tests.gateway.judging.judges import judged_fields, likes
from tests.gateway.whole import Whole, quick_settings, whole_gateway


async def _lines(gateway: Whole) -> list[dict[str, Any]]:
    log = await gateway.call("GET", f"/v1/experiments/{NAME}/log")
    assert read_log(log.body.splitlines()).name == NAME
    return [json.loads(line) for line in log.body.splitlines()]


async def _comparisons(gateway: Whole) -> list[dict[str, Any]]:
    return [line for line in await _lines(gateway) if line["type"] == "comparison"]


def _named(upstream: FakeUpstream) -> None:
    """The provider names another model than was asked for, and the fingerprint of one."""
    upstream.on("plain", answer(model="plain-2026", system_fingerprint="fp_1"))
    upstream.on("warm", answer(model="warm-2026", system_fingerprint=None))


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_matched_comparison_names_units_times_and_builds(
    matched: Whole, upstream: FakeUpstream, is_streamed: bool
) -> None:
    """Whole answers and streams say the same; nobody saw both, so there is no position."""
    _named(upstream)
    for _ in range(8):
        reply = await matched.ask(stream=is_streamed)
        response_id = reply.events[0]["id"] if is_streamed else reply.json["id"]
        await matched.feed(id=response_id, signal="thumb", value=True)

    compared = await _comparisons(matched)
    assert compared
    assert {tuple(map(len, each["units"])) for each in compared} == {(12, 12)}
    assert all(each["at"] - 60 < given <= each["at"] + 1 for each in compared for given in each["given_at"])
    ((plain, warm),) = {tuple(each["served"]) for each in compared}
    assert (len(plain), len(warm)) == (12, 6)
    assert not any("position" in each for each in compared)
    assert b"2026" not in json.dumps(await _lines(matched)).encode()


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_side_by_side_comparison_says_what_was_shown_first(
    side_by_side: Whole, upstream: FakeUpstream, is_streamed: bool
) -> None:
    """The position is that of the policy whose answer was choice 0, and builds have the pair's order."""
    _named(upstream)
    shown = []
    for _ in range(8):
        reply = await side_by_side.ask(n=2, stream=is_streamed)
        shown.append(1 if "warm" in (reply.said(0) if is_streamed else reply.text) else 0)
        response_id = reply.events[0]["id"] if is_streamed else reply.json["id"]
        await side_by_side.feed(id=response_id, preferred=0)

    compared = await _comparisons(side_by_side)
    assert [each["position"] for each in compared] == shown
    assert {len(each["units"]) for each in compared} == {1}
    assert {tuple(map(len, each["served"])) for each in compared} == {(12, 6)}


async def test_a_judges_comparison_names_the_builds_of_both_answers(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """That of the answer which the caller got, and that of the one made for the judge."""
    _named(upstream)
    upstream.on("judge", likes("warm"))
    fields = judged_fields(api_base=upstream.api_base, promotion={"min_comparisons": 100_000})
    settings = quick_settings(embedded_url, judge_drain_seconds=0.1)
    async with whole_gateway(GatewayConfig.model_validate(fields), settings) as gateway:
        await gateway.ask()

        async def is_counted() -> bool:
            return bool((await gateway.experiment())["comparisons"])

        await gateway.eventually(is_counted, "a verdict")
        (compared,) = await _comparisons(gateway)

    assert tuple(map(len, compared["served"])) == (12, 6)
    assert "position" not in compared


async def test_another_build_in_the_middle_is_noticed(upstream: FakeUpstream, embedded_url: str) -> None:
    """An event, a warning and a metric say so."""
    config = gateway_config(
        api_base=upstream.api_base,
        traffic={"share": 1.0, "collect": "side_by_side"},
        promotion={"min_comparisons": 10_000},
    )
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        for number in range(24):
            if number == 21:
                upstream.on("warm", answer(system_fingerprint="fp_other"))
            reply = await gateway.ask(n=2)
            await gateway.feed(id=reply.json["id"], preferred="tie")

        async def is_told() -> bool:
            return any("serves warm since comparison 22" in each for each in await _warnings(gateway))

        await gateway.eventually(is_told, "a warning")
        found = await gateway.experiment()
        changes = await gateway.metric("llmpo_experiment_served_changes", experiment=NAME, policy="warm")
        unchanged = await gateway.metric("llmpo_experiment_served_changes", experiment=NAME, policy="plain")
        await _lines(gateway)

    (event,) = [each for each in found["events"] if each["kind"] == "served_changed"]
    assert (event["detail"]["policy"], event["detail"]["comparison"]) == ("warm", 22)
    assert (changes, unchanged) == (1, 0)
    (warm,) = [each for each in found["builds"] if each["policy"] == "warm"]
    assert sorted(warm["by_build"].values()) == [3, 21]


async def _warnings(gateway: Whole) -> list[str]:
    warnings: list[str] = (await gateway.experiment())["warnings"]
    return warnings


def test_a_line_of_a_later_version_is_read() -> None:
    """Fields that this version does not know are ignored, and what is unknown is not written."""
    comparison = Comparison(1, 0, 1, Result.WIN, 500_000, 1, "side_by_side", 5.0, ("ann",), position=0)
    written = record_fields(comparison)

    assert record_from({**written, "segment": "plan=pro"}) == comparison
    assert written["position"] == 0
    assert not {"units", "given_at", "served"} & set(written)
