"""From the first request to a promotion that anyone can recompute, on real HTTP and a real store."""

from __future__ import annotations

import random
import re

import pytest

from gateway.proof.recorded import read_log
from gateway.proof.verification import verify
from tests.gateway.building import NAME, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, eventually, quick_settings, whole_gateway
from tests.pace import impatient


class Users:
    """They like `warm` more often than `plain`, and say so. They compare two answers, or rate one."""

    def __init__(self, gateway: Whole, *, compare: bool = True) -> None:
        self._gateway = gateway
        self._ask = gateway.compare if compare else gateway.ask
        self._rng = random.Random(1)

    async def react(self) -> None:
        answer = (await self._ask()).json
        texts = [choice["message"]["content"] for choice in answer["choices"]]
        chance = {"I am plain.": 0.2, "I am warm.": 0.9, "I am cold.": 0.1}
        if len(texts) == 1:
            good = self._rng.random() < chance[texts[0]]
            reply = await self._gateway.feed(id=answer["id"], signal="thumb", value=good)
        else:
            likes_first = self._rng.random() < (0.9 if chance[texts[0]] > chance[texts[1]] else 0.1)
            reply = await self._gateway.feed(id=answer["id"], preferred=0 if likes_first else 1)
        assert reply.status == 200, reply.body

    async def until_decided(self) -> None:
        for _ in range(2_000):
            await self.react()
            if (await self._gateway.experiment())["certificate"] is not None:
                return
        raise AssertionError("2,000 users were not enough")


@pytest.mark.parametrize("collect", ["matched", "side_by_side"])
async def test_better_policy_is_promoted_serves_everyone_and_the_proof_holds(
    upstream: FakeUpstream, store_url: str, collect: str
) -> None:
    """The whole gateway keeps its promise with both ways of comparing."""
    config = gateway_config(api_base=upstream.api_base, traffic={"share": 1.0, "collect": collect})
    async with whole_gateway(config, quick_settings(store_url), own_process=True) as gateway:
        await gateway.planned()
        await Users(gateway, compare=collect == "side_by_side").until_decided()

        found = await gateway.experiment()
        assert found["state"] == "promoted"
        assert found["incumbent"] == found["certificate"]["champion_name"] == "warm"

        async def warm_serves() -> bool:
            choices = (await gateway.ask()).json["choices"]
            return [choice["message"]["content"] for choice in choices] == ["I am warm."]

        await eventually(warm_serves, "the promoted policy serving")
        assert await gateway.metric("llmpo_experiment_promotions_total", experiment=NAME) == 1
        assert await gateway.metric("llmpo_experiment_incumbent", experiment=NAME, policy="warm") == 1

        log = await gateway.get(f"/v1/experiments/{NAME}/log")
        verification = verify(read_log(log.body.splitlines()))
        assert verification.differences == ()
        assert verification.champion == "warm"


async def test_promotion_that_promises_no_worse_than_the_best_can_be_recomputed(
    upstream: FakeUpstream, store_url: str
) -> None:
    """What is promised is shown and measured, stands in the certificate, and follows from the log alone."""
    config = gateway_config(
        api_base=upstream.api_base,
        policies=("plain", "warm", "cold"),
        promise="no_worse_than_best",
        traffic={"share": 1.0, "collect": "side_by_side"},
    )
    async with whole_gateway(config, quick_settings(store_url), own_process=True) as gateway:
        await gateway.planned()
        await Users(gateway).until_decided()

        found = await gateway.experiment()
        log = await gateway.get(f"/v1/experiments/{NAME}/log")
        promise = {"experiment": NAME, "promise": "no_worse_than_best"}
        assert await gateway.metric("llmpo_experiment_promise", **promise) == 1

    assert (found["state"], found["certificate"]["champion_name"]) == ("promoted", "warm")
    assert found["promise"] == found["certificate"]["promise"] == "no_worse_than_best"
    assert found["claim"].startswith("if some policy is preferred to every other, it is not preferred to")
    verification = verify(read_log(log.body.splitlines()))
    assert verification.differences == ()
    assert verification.claim == found["claim"].replace("{policy}", "warm")
    assert max(map(max, found["certificate"]["evidence_at_half_nano_nats"])) > 0

    turned = re.sub(rb'"result":"(win|loss)"', b'"result":"tie"', log.body, count=1)
    stronger = log.body.replace(b"no_worse_than_best", b"no_worse_than_any")
    for tampered in (turned, stronger):
        assert not verify(read_log(tampered.splitlines())).is_confirmed


async def test_promotion_happens_once_and_reaches_every_replica(
    upstream: FakeUpstream, store_url: str
) -> None:
    """Three replicas plan and serve on one store: one decision, and all of them follow it."""
    config = gateway_config(api_base=upstream.api_base, traffic={"share": 1.0, "collect": "side_by_side"})
    settings = quick_settings(store_url)
    async with (
        whole_gateway(config, settings, seed=1) as first,
        whole_gateway(config, settings, seed=2) as second,
        whole_gateway(config, settings, seed=3) as third,
    ):
        for replica in (first, second, third):
            await replica.planned()
        crowds = [Users(replica) for replica in (first, second, third)]
        for _ in range(300):
            for crowd in crowds:
                await crowd.react()
            if (await first.experiment())["certificate"] is not None:
                break

        for replica in (first, second, third):

            async def warm_serves(replica: Whole = replica) -> bool:
                choices = (await replica.ask()).json["choices"]
                return [choice["message"]["content"] for choice in choices] == ["I am warm."]

            await eventually(warm_serves, "every replica serving the promoted policy", seconds=impatient(1.0))
        events = (await second.experiment())["events"]
        assert [event["kind"] for event in events].count("promoted") == 1


async def test_feedback_given_at_one_replica_counts_for_an_answer_of_another(
    upstream: FakeUpstream, store_url: str
) -> None:
    """Replicas are interchangeable: they share the key that seals response ids."""
    config = gateway_config(api_base=upstream.api_base, traffic={"share": 1.0, "collect": "side_by_side"})
    settings = quick_settings(store_url)
    async with whole_gateway(config, settings) as first, whole_gateway(config, settings) as second:
        await first.planned()
        answer = (await first.compare()).json

        reply = await second.feed(id=answer["id"], preferred="tie")

        assert reply.json["status"] == "counted"
