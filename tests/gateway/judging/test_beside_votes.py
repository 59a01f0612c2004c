"""Verdicts of a judge that are evidence beside what users say: one ledger, one decision, one cap."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.config.gateway_file import GatewayConfig
from gateway.proof.recorded import read_log
from gateway.proof.verification import verify
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.judging.judges import judged_fields, likes
from tests.gateway.whole import Reply, Whole, quick_settings, whole_gateway
from tests.servers import RedisServer

Open = Callable[..., AbstractAsyncContextManager[Whole]]
BESIDE: Final[dict[str, Any]] = {
    "traffic": {"share": 0.5, "collect": "side_by_side"},
    "judge": {"share": 1.0},
    "promotion": {"min_comparisons": 100_000},
}
QUICK: Final = {"min_comparisons": 20}
BOTH: Final = ["explicit", "judge"]


@pytest.fixture
def opened(upstream: FakeUpstream, tmp_path: Path) -> Any:
    """Opens gateways with a judge beside users, on a Redis server of the test's own."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    upstream.on("judge", likes("warm"))

    @asynccontextmanager
    async def opening(**changes: Any) -> AsyncIterator[Whole]:
        fields = judged_fields(api_base=upstream.api_base, **{**BESIDE, **changes})
        run = quick_settings(server.url, judge_drain_seconds=0.1)
        async with whole_gateway(GatewayConfig.model_validate(fields), run) as gateway:
            yield gateway

    yield opening
    server.stop()


async def _voted(gateway: Whole, reply: Reply, liked: str = "I am warm.") -> bool:
    """Prefer one of the answers, if the reply has two; whether it has."""
    choices = reply.json["choices"]
    if len(choices) < 2:
        return False
    said = [choice["message"]["content"] for choice in choices]
    await gateway.feed(id=reply.json["id"], preferred=said.index(liked))
    return True


async def _settled(gateway: Whole, asked: int) -> dict[str, Any]:
    async def is_settled() -> bool:
        judge = (await gateway.experiment())["judge"]
        return bool(judge["compared"] + judge["dropped"] == asked)

    await gateway.eventually(is_settled, f"{asked} requests judged or dropped")
    return await gateway.experiment()


async def _decided(gateway: Whole) -> tuple[dict[str, Any], Reply]:
    """The experiment once votes and verdicts decided it, and its log."""
    await gateway.planned()

    async def is_decided() -> bool:
        await _voted(gateway, await gateway.compare())
        return bool((await gateway.experiment())["state"] == "promoted")

    await gateway.eventually(is_decided, "a decision")
    return await gateway.experiment(), await gateway.get(f"/v1/experiments/{NAME}/log")


async def test_votes_and_verdicts_decide_together(opened: Open) -> None:
    """One ledger of both promotes a policy; the certificate names the judge, and the log confirms it."""
    async with opened(promote_on=BOTH, promotion=QUICK) as gateway:
        found, log = await _decided(gateway)

    assert found["incumbent"] == "warm"
    by_source = found["comparisons_by_source"]
    assert by_source.keys() == {"side_by_side", "judge"}
    assert sum(by_source.values()) == found["comparisons"]
    assert (found["judge"]["role"], found["sources"], found["segments"]) == ("evidence", [], [])
    (pair,) = found["judge"]["pairs"]
    assert (pair["pair"], pair["users"]["losses"], pair["judge"]["losses"]) == (
        ["plain", "warm"],
        by_source["side_by_side"],
        by_source["judge"],
    )
    assert "of users and of the judge openai/judge with the rubric" in found["certificate"]["judge"]["says"]
    verification = verify(read_log(log.body.splitlines()))
    assert (verification.differences, verification.champion) == ((), "warm")
    assert verification.claim.startswith("in users' feedback and the verdicts of the judge openai/judge")


@pytest.mark.parametrize("promote_on", [None, ["explicit"]])
async def test_a_judge_that_is_not_listed_informs(opened: Open, promote_on: list[str] | None) -> None:
    """Nothing that it says is evidence."""
    async with opened(promote_on=promote_on) as gateway:
        voted = sum([await _voted(gateway, await gateway.compare()) for _ in range(12)])
        found = await _settled(gateway, asked=12 - voted)

    assert found["comparisons_by_source"] == {"side_by_side": voted}
    assert found["judge"]["role"] == "informs"
    assert [source["name"] for source in found["sources"]] == ["judge"]


async def test_a_user_has_one_cap_for_votes_and_verdicts(opened: Open) -> None:
    """Whatever comes first takes the user's only place on the pair: then the other is not counted."""
    async with opened(promote_on=BOTH) as gateway:
        await _voted(gateway, await _reply_with(gateway, 2, user="ada"))
        await _reply_with(gateway, 1, user="ada")

        async def is_refused() -> bool:
            return await gateway.metric("llmpo_judge_dropped_total", reason="voter_cap") >= 1

        await gateway.eventually(is_refused, "a verdict beyond the cap")
        await _reply_with(gateway, 1, user="bob")

        async def is_judged() -> bool:
            return bool((await gateway.experiment())["comparisons"] == 2)

        await gateway.eventually(is_judged, "a verdict about bob's request")
        late = await _reply_with(gateway, 2, user="bob")
        told = (await gateway.feed(id=late.json["id"], preferred=0)).json
        found = await gateway.experiment()

    assert (told["status"], told["reason"]) == ("not_counted", "voter_cap")
    assert found["comparisons_by_source"] == {"side_by_side": 1, "judge": 1}


async def _reply_with(gateway: Whole, answers: int, **fields: Any) -> Reply:
    """The first reply with so many answers: chance decides which requests take part."""
    while True:
        reply = await gateway.compare(**fields)
        if len(reply.json["choices"]) == answers:
            return reply


async def test_verdicts_count_beside_ratings_of_single_answers(opened: Open) -> None:
    """A verdict is compared with no outcome that waits for its pair, and takes none away."""
    traffic = {"share": 0.5, "collect": "matched"}
    async with opened(promote_on=BOTH, traffic=traffic) as gateway:
        replies = [await gateway.ask() for _ in range(16)]
        rated = [await gateway.feed(id=each.json["id"], signal="thumb", value=True) for each in replies]
        judged = sum(each.json["status"] == "not_counted" for each in rated)
        found = await _settled(gateway, asked=judged)

    by_source = found["comparisons_by_source"]
    assert 0 < judged < len(replies)
    assert by_source["judge"] == judged == found["wins"][1][0]
    assert by_source.get("matched:thumb", 0) == found["ties"][0][1]


async def test_listing_the_judge_begins_anew(opened: Open) -> None:
    """What it said while it only informed never becomes evidence, and the log of both is confirmed."""
    async with opened() as gateway:
        voted = sum([await _voted(gateway, await gateway.compare()) for _ in range(6)])
        before = await _settled(gateway, asked=6 - voted)
    async with opened(promote_on=BOTH, promotion=QUICK) as gateway:
        after = await gateway.experiment()
        _, log = await _decided(gateway)

    assert (before["generation"], after["generation"]) == (1, 2)
    assert (after["comparisons"], after["judge"]["role"], after["sources"]) == (0, "evidence", [])
    verification = verify(read_log(log.body.splitlines()))
    assert (verification.differences, verification.champion) == ((), "warm")


async def test_users_and_judge_who_disagree_are_told_of(opened: Open) -> None:
    """The counts of each are shown beside the other's, for their sum does not say who prefers what."""
    async with opened(promote_on=BOTH) as gateway:
        asked = voted = 0
        while min(voted, asked - voted) < 6:  # users prefer what the judge does not
            asked += 1
            voted += await _voted(gateway, await gateway.compare(), liked="I am plain.")
        found = await _settled(gateway, asked=asked - voted)
        log = await gateway.get(f"/v1/experiments/{NAME}/log")

    (warning,) = found["warnings"]
    assert warning.startswith("Users and the judge disagree: users preferred plain to warm in ")
    assert "the judge in 0 of " in warning
    (pair,) = found["judge"]["pairs"]
    by_source = found["comparisons_by_source"]
    assert pair["verdict"] == "disagree"
    assert (pair["users"]["wins"], pair["judge"]["losses"]) == (by_source["side_by_side"], by_source["judge"])
    comparisons = [row for row in map(json.loads, log.body.splitlines()) if row["type"] == "comparison"]
    said = {(row["source"], row["segments"]["(by)"]) for row in comparisons}
    assert said == {("side_by_side", "users"), ("judge", "judge")}


async def test_a_watch_hears_the_judge_that_the_promotion_rests_on(
    opened: Open, upstream: FakeUpstream
) -> None:
    """Its verdicts alone can take a promotion back; the reason names it, and the log confirms the watch."""
    watch = {"share": 0.5, "for": "1h", "level": 0.3, "margin": 0.0}
    async with opened(promote_on=BOTH, promotion={**QUICK, "watch": watch}) as gateway:
        await gateway.planned()
        await _asked_until(gateway, "watching")
        upstream.on("judge", likes("plain"))
        found = await _asked_until(gateway, "rolled_back")
        log = await gateway.get(f"/v1/experiments/{NAME}/log")

    watched = found["watch"]
    assert watched["comparisons_by_source"] == {"judge": watched["comparisons"]}
    assert (
        "in users' feedback and the verdicts of the judge openai/judge"
        in found["by_hand"]["detail"]["reason"]
    )
    verification = verify(read_log(log.body.splitlines()))
    assert verification.differences == ()
    assert verification.watch is not None
    assert verification.watch["outcome"] == "worse"


async def _asked_until(gateway: Whole, state: str) -> dict[str, Any]:
    """Requests of users who say nothing, until the experiment stands there; what the API says of it then."""

    async def stands() -> bool:
        await gateway.ask()
        return bool((await gateway.experiment())["state"] == state)

    await gateway.eventually(stands, state)
    return await gateway.experiment()


async def test_a_certificate_that_hides_the_judge_is_found(opened: Open) -> None:
    """The record says that its verdicts are among the evidence."""
    async with opened(promote_on=BOTH, promotion=QUICK) as gateway:
        _, log = await _decided(gateway)

    rows = [json.loads(line) for line in log.body.splitlines()]
    for certified in (row["certificate"] for row in rows if row.get("certificate")):
        del certified["judge"]
    (difference,) = verify(read_log(map(json.dumps, rows))).differences
    assert difference.startswith("judge: the certificate says None")
