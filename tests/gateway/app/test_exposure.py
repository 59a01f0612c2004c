"""Exposure caps hold in a whole gateway: real HTTP, a real store, a planner in a process of its own."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from gateway.config.gateway_file import GatewayConfig
from tests.gateway.building import NAME, config_fields
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, eventually, quick_settings, whole_gateway

UNITS = 300
LIKED = {"I am plain.": 0.5, "I am warm.": 0.95, "I am sharp.": 0.4}
MAX_SHARE, MIN_SHARE = 0.06, 0.45


def _config(
    upstream: FakeUpstream, max_share: float | None = MAX_SHARE, min_share: float = MIN_SHARE, **traffic: Any
) -> GatewayConfig:
    """`plain` serves, `warm` is liked most and may answer little; nothing is decided within the test."""
    fields = config_fields(
        api_base=upstream.api_base,
        policies=("plain", "warm", "sharp"),
        traffic={"share": 1.0, "collect": "matched", "min_share": min_share, **traffic},
        promotion={"min_comparisons": 10_000},
    )
    fields["experiments"][NAME]["policies"]["warm"]["max_share"] = max_share
    return GatewayConfig.model_validate(fields)


async def _asked(gateway: Whole, units: int, rng: random.Random, answers: int = 1) -> Counter[str]:
    """How often each answer was shown, with feedback on every one."""
    shown = Counter[str]()
    for _ in range(units):
        answer = (await gateway.ask(n=answers)).json
        texts = [choice["message"]["content"] for choice in answer["choices"]]
        shown.update(texts)
        if len(texts) == 1:
            reply = await gateway.feed(id=answer["id"], signal="thumb", value=rng.random() < LIKED[texts[0]])
        else:
            likes_first = LIKED[texts[0]] > LIKED[texts[1]]
            reply = await gateway.feed(id=answer["id"], preferred=0 if likes_first else 1)
        assert reply.status == 200, reply.body
    return shown


@pytest.mark.parametrize(("collect", "answers"), [("matched", 1), ("side_by_side", 2)])
async def test_realised_shares_keep_the_caps(
    upstream: FakeUpstream, store_url: str, collect: str, answers: int
) -> None:
    """Shares keep the caps from the first request on, within four standard errors, while plans change."""
    config = _config(upstream, collect=collect, share=0.9)
    async with whole_gateway(config, quick_settings(store_url), own_process=True) as gateway:
        first = await _asked(gateway, 50, random.Random(1), answers)
        await gateway.planned()
        version = (await gateway.experiment())["plan"]["version"]

        shown = first + await _asked(gateway, UNITS - 50, random.Random(2), answers)

        async def is_planned_anew() -> bool:
            return bool((await gateway.experiment())["plan"]["version"] > version)

        await eventually(is_planned_anew, "a plan after what was counted")
        found = await gateway.experiment()
    spread = (MAX_SHARE * (1 - MAX_SHARE) / UNITS) ** 0.5
    assert 0 < shown["I am warm."] / UNITS <= MAX_SHARE + 4 * spread
    assert shown["I am plain."] / UNITS >= MIN_SHARE - 4 * (MIN_SHARE * (1 - MIN_SHARE) / UNITS) ** 0.5
    assert found["state"] == "running"
    assert found["comparisons"] > 0


async def test_changed_caps_hold_at_once_and_the_experiment_goes_on(
    upstream: FakeUpstream, store_url: str
) -> None:
    """A restart with a lower cap keeps generation and evidence, and no older plan exposes more than it."""
    settings = quick_settings(store_url)
    loose, tight = _config(upstream, None, 0.0), _config(upstream, 0.001, 0.0)
    async with whole_gateway(loose, settings) as gateway:
        await gateway.planned()
        await _asked(gateway, 60, random.Random(3))
        before = await gateway.experiment()
    async with whole_gateway(tight, settings, seed=8) as gateway:  # or it would draw the same units again
        await gateway.planned()
        shown = await _asked(gateway, 200, random.Random(4))
        after = await gateway.experiment()

    assert (after["generation"], after["state"]) == (before["generation"], "running")
    assert after["comparisons"] >= before["comparisons"] > 0
    assert shown["I am warm."] <= 3
