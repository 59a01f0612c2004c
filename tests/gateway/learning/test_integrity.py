"""How far votes can be trusted: one-sided reports hold decisions, and certificates say what they rest on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.proof.recorded import RecordedExperiment, read_log
from gateway.proof.verification import verify
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Reply, Whole, quick_settings, whole_gateway


@asynccontextmanager
async def served(
    upstream: FakeUpstream, url: str, promotion: dict[str, Any] | None = None, **sections: Any
) -> AsyncIterator[Whole]:
    """A gateway with one experiment."""
    config = gateway_config(api_base=upstream.api_base, promotion=promotion or {}, **sections)
    async with whole_gateway(config, quick_settings(url)) as gateway:
        await gateway.planned()
        yield gateway


async def ask(gateway: Whole, user: str | None = None) -> Reply:
    """An answer, for a user or for nobody."""
    return await gateway.ask(**({} if user is None else {"user": user}))


@pytest.mark.parametrize("on_imbalance", ["hold", "warn"])
async def test_an_application_that_reports_one_policy_only_is_noticed(
    upstream: FakeUpstream, embedded_url: str, on_imbalance: str
) -> None:
    """Nothing is decided meanwhile, unless the file says that it may; people and metrics are told."""
    promotion = {"on_imbalance": on_imbalance, "min_comparisons": 0}
    async with served(upstream, embedded_url, promotion) as gateway:
        reported = 0
        while reported < 25:
            reply = await ask(gateway)
            if reply.text == "I am warm.":
                await gateway.feed(id=reply.json["id"], signal="thumb", value=True)
                reported += 1

        async def is_noticed() -> bool:
            return any("do not come alike" in each for each in (await gateway.experiment())["warnings"])

        await gateway.eventually(is_noticed, "a warning")
        found = await gateway.experiment()
        nats = await gateway.metric("llmpo_experiment_imbalance_nats", experiment=NAME)
        needed = await gateway.metric("llmpo_experiment_imbalance_needed_nats", experiment=NAME)

    assert nats >= needed > 6
    assert any("25 units of warm were reported" in each for each in found["warnings"])
    assert any("do not come alike" in each for each in found["held"]) is (on_imbalance == "hold")


async def test_reports_on_both_policies_hold_nothing(
    upstream: FakeUpstream, embedded_url: str, embedded_store: PolicyStore
) -> None:
    """Coins that were weighted towards the policy with fewer waiting outcomes are known for what they are."""
    async with served(upstream, embedded_url, {"min_comparisons": 10_000}) as gateway:
        for number in range(60):
            reply = await ask(gateway)
            # silence is alike for both
            if number % 2:
                await gateway.feed(id=reply.json["id"], signal="thumb", value=number % 3 == 0)
        found = await gateway.experiment()
        sides = (await embedded_store.counts(NAME, 1)).sides
    assert sum(sides.values()) == 30
    assert {(first, second) for first, second, _, _ in sides} == {(0, 1)}
    assert not any("alike" in each for each in found["held"])


async def test_policy_whose_users_say_less_is_seen_before_anything_is_held(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """Every second answer of one policy is reported: people and metrics see how often, with an interval."""
    async with served(upstream, embedded_url, {"min_comparisons": 10_000}) as gateway:
        before = await gateway.experiment()
        answers = {"I am plain.": 0, "I am warm.": 0}
        for _ in range(120):
            reply = await ask(gateway)
            answers[reply.text] += 1
            if reply.text == "I am plain." or answers[reply.text] % 2:
                await gateway.feed(id=reply.json["id"], signal="thumb", value=True)
        found = await gateway.experiment()
        labels = {"experiment": NAME, "policy": "warm"}
        units = await gateway.metric("llmpo_experiment_reported_units", **labels)
        high = await gateway.metric("llmpo_experiment_reporting_ratio", **labels, bound="high")

    assert before["reporting"] == []
    plain, warm = found["reporting"]
    assert (plain["policy"], warm["policy"]) == ("plain", "warm")
    assert warm["reported"] == units == (answers["I am warm."] + 1) // 2
    assert plain["reported"] == answers["I am plain."]
    assert plain["expected"] + warm["expected"] == pytest.approx(plain["reported"] + warm["reported"])
    assert warm["low"] < warm["times"] < warm["high"] == pytest.approx(high)
    assert warm["times"] == pytest.approx(1 / plain["times"], rel=1e-2)
    assert not any("alike" in each for each in [*found["warnings"], *found["held"]])


async def test_two_answers_shown_together_are_reported_together(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """A vote says something of both answers, so there is nothing to compare."""
    side_by_side = {"share": 1.0, "collect": "side_by_side"}
    async with served(upstream, embedded_url, traffic=side_by_side) as gateway:
        reply = await gateway.ask(n=2)
        await gateway.feed(id=reply.json["id"], preferred=0)
        assert (await gateway.experiment())["reporting"] == []


async def decided(gateway: Whole, *, is_named: bool) -> RecordedExperiment:
    """The log of an experiment in which users prefer `warm`."""
    for number in range(500):
        reply = await ask(gateway, f"user-{number}" if is_named else None)
        await gateway.feed(id=reply.json["id"], signal="thumb", value=reply.text == "I am warm.")
        if (await gateway.experiment())["state"] == "promoted":
            break
    log = await gateway.call("GET", f"/v1/experiments/{NAME}/log")
    return read_log(log.body.splitlines())


def differing(recorded: RecordedExperiment, **changes: Any) -> list[str]:
    """What verifying finds if the certificate's statement on its votes says something else."""
    certificate = json.loads(json.dumps(recorded.certificate))
    certificate["integrity"].update(changes)
    forged = RecordedExperiment(
        **{
            name: certificate if name == "certificate" else getattr(recorded, name)
            for name in recorded.__dataclass_fields__
        }
    )
    return [each for each in verify(forged).differences if each.startswith("integrity")]


async def test_a_certificate_says_what_it_rests_on_and_can_be_checked(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """How many voters the lead rests on, how many votes were anonymous, how reports fell: all recomputed."""
    feedback = {"voter_cap": 3}
    promotion = {"min_duration": "0s", "min_comparisons": 10, "min_voters": 0}
    async with served(upstream, embedded_url, promotion, feedback=feedback) as gateway:
        recorded = await decided(gateway, is_named=True)

    assert verify(recorded).is_confirmed, verify(recorded).differences
    said = (recorded.certificate or {})["integrity"]
    assert (said["voter_cap"], said["anonymous_votes"]) == (3, 0)
    assert "not independent" in said["assumption"]
    least = said["would_have_to_go"]
    comparisons = (recorded.certificate or {})["comparisons"]
    assert 1 <= least["even"]["voters"] <= least["even"]["comparisons"] <= comparisons
    assert least["undecided"]["comparisons"] >= 1
    assert said["imbalance"]["nats"] < said["imbalance"]["needed"]
    assert differing(recorded) == []
    for changes in (
        {"voter_cap": 1},
        {"anonymous_votes": 1},
        {"would_have_to_go": {**least, "even": {"comparisons": 1_000, "voters": 1_000}}},
        {"imbalance": {"nats": -5.0, "needed": 6.907755}},
        {"reported": [[0, 1, [[0.5, 1, 90]]]]},
        {"reported": "none"},
        {"reported": [[0, 1, [[2.0, 1, 90]]]]},
    ):
        assert differing(recorded, **changes), changes


async def test_votes_of_nobody_are_counted_apart(upstream: FakeUpstream, embedded_url: str) -> None:
    """Nobody can cap them, so the certificate says how many there are."""
    promotion = {"min_duration": "0s", "min_comparisons": 10, "min_voters": 0}
    async with served(upstream, embedded_url, promotion) as gateway:
        recorded = await decided(gateway, is_named=False)
    certificate = recorded.certificate or {}
    assert certificate["integrity"]["anonymous_votes"] == 2 * certificate["comparisons"]
    assert certificate["integrity"]["voter_cap"] == 1
    assert "assumption" not in certificate["integrity"]


async def test_a_log_with_corrections_is_confirmed(upstream: FakeUpstream, embedded_url: str) -> None:
    """Users who change their minds leave both words in the log; comparisons use the later one."""
    promotion = {"min_duration": "0s", "min_comparisons": 10, "min_voters": 0}
    feedback = {"changed_mind": "replace"}
    became = set()
    async with served(upstream, embedded_url, promotion, feedback=feedback) as gateway:
        for number in range(500):
            reply = await ask(gateway, f"user-{number}")
            is_good = reply.text == "I am warm."
            for word in (not is_good, is_good) if number % 3 == 0 else (is_good,):
                said = await gateway.feed(id=reply.json["id"], signal="thumb", value=word)
                became.add(said.json["status"])
            if (await gateway.experiment())["state"] == "promoted":
                break
        log = await gateway.call("GET", f"/v1/experiments/{NAME}/log")

    found = verify(read_log(log.body.splitlines()))
    assert "replaced" in became
    assert b'"corrected"' in log.body
    assert found.champion == "warm"
    assert found.is_confirmed, found.differences
