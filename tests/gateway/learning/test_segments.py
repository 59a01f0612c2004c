"""Segments from a request to what people see of them, for each way of comparing, over real HTTP."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from gateway.config.gateway_file import GatewayConfig
from gateway.proof.recorded import read_log
from policy_store.names import Names
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, gateway_config
from tests.gateway.fake_upstream import FakeUpstream, status
from tests.gateway.judging.judges import judged_fields, likes
from tests.gateway.serving.regenerating.talks import Talk
from tests.gateway.whole import Whole, quick_settings, whole_gateway

PLAN: Final = "metadata.plan"
PRO: Final = {"metadata": {"plan": "pro"}}
HELD: Final = Names().experiment(NAME).generation(1).held


@asynccontextmanager
async def served(
    upstream: FakeUpstream, url: str, collect: str = "matched", **experiment: Any
) -> AsyncIterator[Whole]:
    """A gateway whose experiment tells plans apart."""
    config = gateway_config(
        **{
            "api_base": upstream.api_base,
            "segments": [PLAN],
            "traffic": {"share": 1.0, "collect": collect},
            "promotion": {"min_comparisons": 10_000},
            **experiment,
        }
    )
    async with whole_gateway(config, quick_settings(url)) as gateway:
        await gateway.planned()
        yield gateway


async def logged(gateway: Whole) -> Counter[str]:
    """How many comparisons in the exported log are of each plan; those that name none are left out."""
    log = await gateway.call("GET", f"/v1/experiments/{NAME}/log")
    assert read_log(log.body.splitlines()).name == NAME
    lines = [json.loads(line) for line in log.body.splitlines()]
    return Counter(line["segments"][PLAN] for line in lines if "segments" in line)


async def shown(gateway: Whole, comparisons: int) -> dict[str, dict[str, Any]]:
    """What the API says of each plan, once it shows so many comparisons."""
    said: list[dict[str, Any]] = []

    async def are_shown() -> bool:
        found = await gateway.experiment()
        said[:] = found["segments"]
        return found["comparisons"] >= comparisons

    await gateway.eventually(are_shown, f"{comparisons} comparisons")
    return {each["value"]: each for each in said if each["path"] == PLAN}


async def test_each_plan_shows_whom_it_prefers(upstream: FakeUpstream, embedded_url: str) -> None:
    """Where two plans prefer different policies, each says which; a request without the key says none."""
    async with served(upstream, embedded_url, "side_by_side") as gateway:
        for likes_warm, fields in ((True, PRO), (False, {"metadata": {"plan": "free"}}), (True, {})):
            for _ in range(8):
                reply = await gateway.compare(**fields)
                preferred = int(("warm" in reply.text) is not likes_warm)
                await gateway.feed(id=reply.json["id"], preferred=preferred)
        said = await shown(gateway, 24)
        in_log = await logged(gateway)

    assert in_log == {"pro": 8, "free": 8, "(none)": 8}
    assert {value: each["comparisons"] for value, each in said.items()} == in_log
    assert {value: each["pairs"][0]["prefers"] for value, each in said.items()} == {
        "pro": "warm",
        "free": "plain",
        "(none)": "warm",
    }
    (pair,) = said["free"]["pairs"]
    won = {"plain": (8, 0, 1.0), "warm": (0, 8, 0.0)}[pair["policy"]]
    assert (pair["wins"], pair["losses"], pair["win_rate"]) == won
    assert pair["high"] - pair["low"] == pytest.approx(0.32, abs=0.01)


async def test_matched_answers_of_two_plans_are_mixed(upstream: FakeUpstream, embedded_url: str) -> None:
    """The order of arrival still decides what is compared with what."""
    async with served(upstream, embedded_url) as gateway:
        for number in range(24):
            reply = await gateway.ask(metadata={"plan": "pro" if number < 16 else "free"})
            await gateway.feed(id=reply.json["id"], signal="thumb", value=True)
        found = await gateway.experiment()
        said = await shown(gateway, found["comparisons"])
        in_log = await logged(gateway)

    assert {value: each["comparisons"] for value, each in said.items()} == in_log
    assert in_log["pro"] >= 4
    assert set(in_log) <= {"pro", "free", "(mixed)"}
    assert sum(in_log.values()) == found["comparisons"]


async def test_a_regenerated_answer_is_of_the_first_askings_plan(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """A turn is one unit; what its second request says of the plan changes nothing."""
    async with served(upstream, embedded_url, "regenerate") as gateway:
        talk = Talk(gateway, fields=PRO)
        first = await talk.ask("Which way is north?")
        talk.fields = {"metadata": {"plan": "free"}}
        await talk.again()
        await talk.keep(first)
        assert list(await shown(gateway, 1)) == ["pro"]
        assert await logged(gateway) == {"pro": 1}


async def test_a_judges_comparison_has_the_plan_of_the_request(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """The caller that was served is the one whose plan counts."""
    upstream.on("judge", likes("warm"))
    fields = judged_fields(
        api_base=upstream.api_base, promotion={"min_comparisons": 100_000}, segments=[PLAN]
    )
    settings = quick_settings(embedded_url, judge_drain_seconds=0.1)
    async with whole_gateway(GatewayConfig.model_validate(fields), settings) as gateway:
        await gateway.ask(**PRO)
        assert list(await shown(gateway, 1)) == ["pro"]
        assert await logged(gateway) == {"pro": 1}


async def test_a_missing_outcome_has_the_plan_of_its_request(
    upstream: FakeUpstream, embedded_url: str, embedded_store: PolicyStore
) -> None:
    """A candidate that fails loses in the segment whose request it failed."""
    feedback = {"hold": "1h", "missing": {"failure": "loss", "no_feedback": "tie"}}
    upstream.on("warm", status(500))
    async with served(upstream, embedded_url, feedback=feedback) as gateway:
        for _ in range(6):
            await gateway.ask(**PRO)

        async def all_counted() -> bool:
            await embedded_store._redis.zunionstore(HELD, {HELD: 0.5})
            found = await gateway.experiment()
            return bool(found["comparisons"]) and not found["reports_held"]

        await gateway.eventually(all_counted, "all counted")
        assert set(await logged(gateway)) == {"pro"}


async def test_a_found_signal_has_the_plan_of_the_answer(
    upstream: FakeUpstream, embedded_url: str, embedded_store: PolicyStore
) -> None:
    """Not that of the request that shows it."""
    signals = {"thumb": 1, "reasked": {"weight": -0.5, "found": True}}
    signals["continued"] = {"weight": 0.5, "found": True}
    async with served(upstream, embedded_url, feedback={"hold": "1h", "signals": signals}) as gateway:
        for number in range(8):
            talk = Talk(gateway, fields=PRO)
            answer = await talk.ask(f"How do I descale my Luna {number}?")
            talk.fields = {"metadata": {"plan": "free"}}
            await talk.keep(answer)

        async def some_counted() -> bool:
            await embedded_store._redis.zunionstore(HELD, {HELD: 0.5})
            return bool((await gateway.experiment())["comparisons"])

        await gateway.eventually(some_counted, "a comparison")
        assert set(await logged(gateway)) == {"pro"}


async def test_another_replica_counts_the_plan_of_an_answer(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """The answer's id carries it, so no replica needs to know of the request."""
    async with (
        served(upstream, embedded_url, "side_by_side") as one,
        served(upstream, embedded_url, "side_by_side") as other,
    ):
        reply = await one.compare(**PRO)
        fed = await other.feed(id=reply.json["id"], preferred=0)
        assert fed.json["status"] == "counted"
        assert list(await shown(one, 1)) == ["pro"]


HOSTILE: Final[tuple[Any, ...]] = (
    *("a=b;c=d|e,f", "<img src=x onerror=alert(1)>", "(mixed)", "x" * 100_000, "pro\r\n\x00", "🎉"),
    *(["pro"], {"plan": "pro"}, None, 2**60),
)


async def test_whatever_a_caller_sends_is_counted_in_some_segment(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """Every answer comes, its id is short enough for feedback, and the log still verifies."""
    async with served(upstream, embedded_url, "side_by_side") as gateway:
        for said in HOSTILE:
            reply = await gateway.compare(metadata={"plan": said})
            fed = await gateway.feed(id=reply.json["id"], preferred=0)
            assert (reply.status, fed.json["status"]) == (200, "counted"), said
        in_log = await logged(gateway)
    assert in_log == {"(other)": 6, "(none)": 3, str(2**60): 1}


async def test_the_longest_segments_fit_into_an_id(upstream: FakeUpstream, embedded_url: str) -> None:
    """Feedback takes ids of 512 characters, by the answer's id and by the request's."""
    names = [letter * 32 for letter in "abc"]
    segments = [f"metadata.{name}" for name in names]
    async with served(upstream, embedded_url, "side_by_side", segments=segments) as gateway:
        for header in (None, "x-request-id"):
            reply = await gateway.compare(metadata=dict.fromkeys(names, "v" * 32))
            named = reply.headers[header] if header else reply.json["id"]
            assert (await gateway.feed(id=named, preferred=0)).json["status"] == "counted"
        found = (await gateway.experiment())["segments"]
    assert {(each["path"], each["value"]) for each in found} == {(path, "v" * 32) for path in segments}


async def test_no_metric_names_a_segment(upstream: FakeUpstream, embedded_url: str) -> None:
    """Callers choose the values, and labels come from the file alone."""
    async with served(upstream, embedded_url, "side_by_side") as gateway:
        reply = await gateway.compare(metadata={"plan": "platinum"})
        await gateway.feed(id=reply.json["id"], preferred=0)
        await shown(gateway, 1)
        assert b"platinum" not in (await gateway.get("/metrics")).body


@pytest.mark.parametrize("takes_part", [True, False])
async def test_an_id_does_not_tell_whether_its_answer_takes_part(
    upstream: FakeUpstream, embedded_url: str, takes_part: bool
) -> None:
    """Of one request's segments, all ids have the same length."""
    share = 1.0 if takes_part else 0.0
    async with served(upstream, embedded_url, traffic={"share": share, "collect": "matched"}) as gateway:
        reply = await gateway.ask(**PRO)
    assert len(reply.json["id"]) == len("chatcmpl-") + 166
