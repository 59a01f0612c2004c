"""Requests that a judge compares after their callers were served."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from gateway.config.gateway_file import GatewayConfig
from gateway.judging.unkept import unseen_request
from tests.gateway.api.surfaces.answers import good
from tests.gateway.api.surfaces.asking import ASKED
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import Behaviour, FakeUpstream, answer, status
from tests.gateway.judging.judges import ALWAYS_FIRST, judge_by, judged_fields, likes
from tests.gateway.whole import Whole, quick_settings, whole_gateway

Open = Callable[..., AbstractAsyncContextManager[Whole]]
SLOW_TO_DECIDE = {"min_comparisons": 100_000}


@pytest.fixture
def opened(upstream: FakeUpstream, embedded_url: str) -> Open:
    """Opens gateways with a judge, on an embedded store."""

    @asynccontextmanager
    async def opening(settings: Mapping[str, Any] | None = None, **changes: Any) -> AsyncIterator[Whole]:
        fields = judged_fields(api_base=upstream.api_base, **{"promotion": SLOW_TO_DECIDE, **changes})
        run = quick_settings(embedded_url, judge_drain_seconds=0.1, **(settings or {}))
        async with whole_gateway(GatewayConfig.model_validate(fields), run) as gateway:
            yield gateway

    return opening


async def _judge_of(gateway: Whole, settled: int) -> dict[str, Any]:
    async def is_settled() -> bool:
        judge = (await gateway.experiment())["judge"]
        return bool(judge["compared"] + judge["dropped"] == settled)

    await gateway.eventually(is_settled, f"{settled} requests judged or dropped")
    judge: dict[str, Any] = (await gateway.experiment())["judge"]
    return judge


async def test_callers_see_the_incumbent_and_the_judge_counts(opened: Open, upstream: FakeUpstream) -> None:
    """Each verdict is a comparison; users' metrics, and their ids, know nothing of it."""
    upstream.on("judge", likes("warm"))
    async with opened() as gateway:
        replies = [await gateway.ask() for _ in range(5)]
        judge = await _judge_of(gateway, settled=5)
        found = await gateway.experiment()
        told = (await gateway.feed(id=replies[0].json["id"], signal="thumb", value=True)).json

    assert {reply.text for reply in replies} == {"I am plain."}
    assert found["wins"] == [[0, 0], [5, 0]]
    assert (judge["asked"], judge["decisive_share"], judge["position_bias"]) == (5, 1.0, 0.0)
    assert told["status"] == "not_counted"
    assert upstream.calls_of("warm") == 5
    assert upstream.calls_of("judge") == 10


async def test_a_streamed_answer_is_judged_by_its_text(opened: Open, upstream: FakeUpstream) -> None:
    """The judge reads what the caller read, beside a whole answer of the other policy."""
    seen: list[set[str]] = []

    def note(a: str, b: str) -> str:
        seen.append({a, b})
        return "TIE"

    upstream.on("judge", judge_by(note))
    async with opened() as gateway:
        reply = await gateway.ask(stream=True)
        assert reply.is_done
        judge = await _judge_of(gateway, settled=1)

    assert judge["agreed_ties"] == 1
    assert seen == [{"I am plain.", "I am warm."}] * 2


@pytest.mark.parametrize("why", ["length", "content_filter"])
async def test_a_verdict_that_was_cut_off_is_unreadable(
    opened: Open, upstream: FakeUpstream, why: str
) -> None:
    """Words that a limit or a filter cut off are no verdict, and the metric says what became of the call."""
    upstream.on("judge", judge_by(lambda a, _b: "A" if "warm" in a else "B", finish_reason=why))
    async with opened() as gateway:
        await gateway.ask()
        judge = await _judge_of(gateway, settled=1)
        found = await gateway.experiment()
        unfinished = await gateway.metric("llmpo_judge_calls_total", role="judge", outcome="unfinished")
        answered = await gateway.metric("llmpo_judge_calls_total", role="judge", outcome="answered")

    assert (judge["asked"], judge["unreadable"]) == (1, 1)
    assert (found["wins"], found["ties"]) == ([[0, 0], [0, 0]], [[0, 1], [1, 0]])
    assert (unfinished, answered) == (2, 0)


async def test_a_judge_that_prefers_a_position_only_ties(opened: Open, upstream: FakeUpstream) -> None:
    """Insisting on the answer shown first is no evidence, and is reported."""
    upstream.on("judge", ALWAYS_FIRST)
    async with opened() as gateway:
        for _ in range(4):
            await gateway.ask()
        judge = await _judge_of(gateway, settled=4)
        found = await gateway.experiment()
        counted = await gateway.metric("llmpo_judge_verdicts_total", result="tie", kind="first_shown")

    assert (found["wins"], found["ties"]) == ([[0, 0], [0, 0]], [[0, 4], [4, 0]])
    assert (judge["first_shown"], judge["position_bias"], judge["decisive_share"]) == (4, 1.0, 0.0)
    assert counted == 4


@pytest.mark.parametrize(
    ("behaviours", "reason"),
    [
        ({"warm": status(500)}, "answer_failed"),
        ({"warm": answer(" \n")}, "answer_not_text"),
        ({"judge": status(500)}, "judge_failed"),
        ({"judge": answer("A", pause_seconds=8)}, "judge_timeout"),
    ],
)
async def test_what_fails_is_no_verdict(
    opened: Open, upstream: FakeUpstream, behaviours: dict[str, Any], reason: str
) -> None:
    """Nothing is guessed of what did not answer, no caller notices, and nothing is ejected."""
    for model, behaviour in behaviours.items():
        upstream.on(model, behaviour)
    async with opened(judge={"timeout": "2s" if reason == "judge_timeout" else "60s"}) as gateway:
        for _ in range(4):
            assert (await gateway.ask()).status == 200
        judge = await _judge_of(gateway, settled=4)
        assert await gateway.metric("llmpo_judge_dropped_total", reason=reason) == 4
        assert await gateway.metric("llmpo_ejections_total") == 0
        assert (await gateway.experiment())["comparisons"] == judge["compared"] == 0
        assert await gateway.metric("llmpo_model_failures_total") == 0


async def test_a_limit_that_pays_for_no_comparison_is_said(opened: Open) -> None:
    """An experiment that stands still for want of money says so, with what a comparison might cost."""
    prices = {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6}
    async with opened(prices=prices, judge={"spend_per_day": 1e-9}) as gateway:
        for _ in range(3):
            assert (await gateway.ask()).status == 200
        judge = await _judge_of(gateway, settled=3)
        assert (judge["dropped"], judge["compared"]) == (3, 0)
        (warning,) = (await gateway.experiment())["warnings"]
        assert "0 of 1e-09 USD" in warning
        assert "Raise judge.spend_per_day" in warning


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
    ],
)
async def test_more_than_text_is_not_judged(
    opened: Open, upstream: FakeUpstream, fields: dict[str, Any]
) -> None:
    """The judge cannot be shown tools and pictures, so such requests cost nothing."""
    async with opened() as gateway:
        assert (await gateway.ask(**fields)).status == 200
        assert await gateway.metric("llmpo_judge_dropped_total", reason="not_text") == 1
    assert upstream.calls_of("warm") == upstream.calls_of("judge") == 0


async def test_conversations_are_shown_in_whole(opened: Open, upstream: FakeUpstream) -> None:
    """A request of several turns is judged with all of them."""
    upstream.on("judge", likes("warm"))
    said = [("system", "Be brief."), ("user", "North?"), ("assistant", "Up."), ("user", "And south?")]
    async with opened() as gateway:
        await gateway.ask(messages=[{"role": role, "content": text} for role, text in said])
        await _judge_of(gateway, settled=1)
    asked = [seen.body for seen in upstream.seen if seen.body["model"] == "judge"]
    shown = asked[0]["messages"][1]["content"]
    assert "system: Be brief.\n\nuser: North?\n\nassistant: Up.\n\nuser: And south?" in shown


async def test_no_room_drops_and_never_waits(opened: Open, upstream: FakeUpstream) -> None:
    """A slow judge costs verdicts, not callers' time; what waits is bounded in number and in bytes."""
    upstream.on("judge", answer("TIE", pause_seconds=3))
    async with opened(judge={"concurrency": 1, "queue": 2, "queue_bytes": 65_536}) as gateway:
        for _ in range(5):
            await gateway.ask()
        assert await gateway.metric("llmpo_judge_dropped_total", reason="queue_full") == 2
        assert await gateway.metric("llmpo_judge_waiting") == 2
    upstream.on("judge", answer("TIE", pause_seconds=3))
    async with opened(judge={"queue_bytes": 65_536}) as gateway:
        for _ in range(2):
            await gateway.ask(messages=[{"role": "user", "content": "x" * 40_000}])
        assert await gateway.metric("llmpo_judge_dropped_total", reason="memory_full") == 1


@pytest.mark.parametrize("feedback", [{}, {"voter_cap_per_experiment": 1}])
async def test_one_user_has_one_verdict_on_a_pair(
    opened: Open, upstream: FakeUpstream, feedback: dict[str, Any]
) -> None:
    """Requests of one user are alike, as their votes are: the cap holds, and further ones cost nothing."""
    upstream.on("judge", likes("warm"))
    async with opened(feedback=feedback) as gateway:
        for _ in range(3):
            await gateway.ask(user="ada")
            await _judge_of(gateway, settled=1)
        assert await gateway.metric("llmpo_judge_dropped_total", reason="voter_cap") == 2
        assert (await gateway.experiment())["comparisons"] == 1
    assert upstream.calls_of("judge") == 2


async def test_verdicts_beside_votes_decide_nothing(opened: Open, upstream: FakeUpstream) -> None:
    """Users' votes are the evidence; the judge gets the other requests, and is compared with the users."""
    upstream.on("judge", likes("warm"))
    traffic = {"share": 0.5, "collect": "side_by_side"}
    async with opened(traffic=traffic, judge={"share": 1.0}) as gateway:
        replies = [await gateway.compare() for _ in range(40)]
        shown = [reply.json for reply in replies if len(reply.json["choices"]) > 1]
        for each in shown:
            liked = [choice["message"]["content"] for choice in each["choices"]].index("I am warm.")
            await gateway.feed(id=each["id"], preferred=liked)
        judge = await _judge_of(gateway, settled=len(replies) - len(shown))
        found = await gateway.experiment()

    assert 0 < len(shown) < len(replies)
    assert found["comparisons"] == found["wins"][1][0] == len(shown)
    assert judge["role"] == "informs"
    (pair,) = judge["pairs"]
    assert (pair["users"]["losses"], pair["judge"]["losses"]) == (len(shown), len(replies) - len(shown))
    assert pair["verdict"] == "agree"


@pytest.mark.parametrize("failure", [status(500), status(400)], ids=["failing", "refusing"])
async def test_a_candidate_that_always_fails_unseen_ends_its_experiment(
    opened: Open, upstream: FakeUpstream, failure: Behaviour
) -> None:
    """No user ever sees it, and without its answers there are no verdicts to end the experiment."""
    upstream.on("warm", failure)
    quick = {"request_timeout_seconds": 0.2}
    promotion = {"gives_up_after": "1s", "min_comparisons": 0}
    async with opened(quick, promotion=promotion, judge={"timeout": "1s"}) as gateway:
        await gateway.planned()

        async def is_over() -> bool:
            assert (await gateway.ask()).text == "I am plain."
            return bool((await gateway.experiment())["state"] != "running")

        await gateway.eventually(is_over, "the end")
        found = await gateway.experiment()
        assert await gateway.metric("llmpo_policy_failures_total") == 0

    assert (found["state"], found["incumbent"], found["comparisons"]) == ("unfit", "plain", 0)
    event = next(each for each in found["events"] if each["kind"] == "gave_up")
    assert event["detail"]["policy"] == "warm"
    assert 13 <= event["detail"]["failed"] <= upstream.calls_of("warm")


async def test_a_provider_is_not_asked_to_keep_what_nobody_sees(opened: Open, upstream: FakeUpstream) -> None:
    """What a caller wrote about its own answer is left out of the request for the judge's."""
    upstream.on("judge", likes("warm"))
    told = {
        "store": True,
        "metadata": {"customer": "ada"},
        "prompt_cache_retention": "24h",
        "service_tier": "priority",
        "user": "u-1",
        "temperature": 0.5,
    }
    async with opened() as gateway:
        assert (await gateway.ask(**told)).status == 200
        await _judge_of(gateway, settled=1)
    (live,) = [seen.body for seen in upstream.seen if seen.body["model"] == "plain"]
    (unseen,) = [seen.body for seen in upstream.seen if seen.body["model"] == "warm"]
    assert live.items() >= told.items()
    assert unseen == {"model": "warm", "messages": live["messages"], "user": "u-1", "temperature": 0.5}
    asked = [seen.body for seen in upstream.seen if seen.body["model"] == "judge"]
    assert not {"store", "metadata", "user"} & asked[0].keys()


@pytest.mark.parametrize("tier", ["auto", "priority", None, 3, {}, ["flex"]])
def test_a_tier_is_left_out_unless_it_costs_no_more(tier: Any) -> None:
    """Callers may send anything in its place."""
    assert unseen_request({"service_tier": tier, "user": "u-1"}) == {"user": "u-1"}
    assert unseen_request({"service_tier": "flex"}) == {"service_tier": "flex"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", ["chat/completions", "responses", "messages"])
async def test_every_kind_of_request_is_judged(
    upstream: FakeUpstream, embedded_url: str, kind: str, stream: bool
) -> None:
    """From the caller's request to the counted verdict, by the text that the caller read."""
    seen: list[set[str]] = []

    def note(a: str, b: str) -> str:
        seen.append({a, b})
        return "A" if "warm" in a else "B"

    for model in ("plain", "warm"):
        upstream.on(model, good(f"I am {model}."))
    upstream.on("judge", judge_by(note))
    fields = judged_fields(api_base=upstream.api_base, promotion=SLOW_TO_DECIDE)
    if kind == "messages":
        for entry in fields["model_list"][:2]:
            entry["litellm_params"]["model"] = f"anthropic/{entry['model_name']}"
            entry["litellm_params"]["api_base"] = f"http://127.0.0.1:{upstream.port}"
    config = GatewayConfig.model_validate(fields)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        body = {"model": NAME, **ASKED[kind], "stream": stream}
        reply = await gateway.call("POST", f"/v1/{kind}", body)
        assert (reply.status, b"I am plain." in reply.body) == (200, True)
        await _judge_of(gateway, settled=1)
        assert (await gateway.experiment())["wins"] == [[0, 0], [1, 0]]

    assert seen == [{"I am plain.", "I am warm."}] * 2
    (unseen,) = [each.body for each in upstream.seen if each.body["model"] == "warm"]
    # A response is kept unless the request says no.
    assert unseen.get("store") is (False if kind == "responses" else None)
    assert not unseen.get("stream")
