"""Sessions: one assignment for all requests of one session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.experiments.exposure import ExposureCaps
from gateway.experiments.response_ids import Assignment, Unassigned, coin_and_plan
from policy_store.connect import connect
from policy_store.states import ExperimentState
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.live import NO_STORE, NOW, Live, entry, experiment, live_gateway, plan
from tests.gateway.whole import eventually
from tests.pace import impatient
from tests.servers import RedisServer


@pytest.fixture
async def by_session(upstream: FakeUpstream, embedded_url: str) -> AsyncIterator[Live]:
    """An experiment whose unit is the session, and a store to remember it."""
    base = upstream.api_base
    live = experiment(base, unit="session")
    entries = [entry("small", base), entry("large", base)]
    async with live_gateway([live], entries, store_url=embedded_url) as gateway:
        yield gateway


async def units_kept(store_url: str) -> dict[str, str]:
    """What the store remembers of units."""
    redis = connect(store_url)
    kept = {str(name): str(await redis.get(name)) for name in await redis.keys("*:sticky:*")}
    await redis.aclose()
    return kept


async def test_a_session_stays_with_its_policy_and_unit(by_session: Live) -> None:
    """Every request of a session gets the same side, sealed with the same unit; ids still differ."""
    ids = {(await by_session.ask(headers={"x-session-id": "ada"})).json["id"] for _ in range(6)}
    opened = [by_session.sealer.open(response_id) for response_id in ids]
    assert len(ids) == 6
    assert len({(assignment.side, assignment.unit) for assignment in opened}) == 1


async def test_the_header_and_the_metadata_name_the_same_session(by_session: Live) -> None:
    """An application can use either way."""
    first = await by_session.ask(headers={"x-session-id": "ada"})
    second = await by_session.ask(metadata={"session_id": "ada"})
    units = [by_session.sealer.open(reply.json["id"]).unit for reply in (first, second)]
    assert units[0] == units[1]


async def test_a_user_without_a_session_is_one_unit(by_session: Live) -> None:
    """Any of the fields may name the user; a session of the same name is different and takes precedence."""
    asked = [
        {"user": "ada"},
        {"safety_identifier": "ada"},
        {"safety_identifier": "ada", "user": "somebody else"},
        {"metadata": {"user_id": "ada"}},
    ]
    users = [await by_session.ask(**fields) for fields in asked]
    session = await by_session.ask(headers={"x-session-id": "ada"}, user="ada")

    units = [by_session.sealer.open(reply.json["id"]).unit for reply in (*users, session)]
    assert len(set(units[:-1])) == 1
    assert units[-1] != units[0]


async def test_a_session_kept_from_a_comparison_by_a_cap_stays_with_the_incumbent(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """The session keeps its policy even if a later plan would have compared it."""
    base = upstream.api_base
    caps = ExposureCaps(share=1.0, answers_per_unit=1, max_shares={"beta": 1e-9}, min_share=0.0)
    bound = experiment(base, unit="session", caps=caps)
    entries = [entry("small", base), entry("large", base)]
    async with live_gateway([bound], entries, store_url=embedded_url) as gateway:
        await gateway.ask(headers={"x-session-id": "ada"})
        gateway.change(caps=None)
        answers = [await gateway.ask(headers={"x-session-id": "ada"}) for _ in range(4)]

    opened = [gateway.sealer.open(answer.json["id"]) for answer in answers]
    assert opened == [Unassigned(NAME)] * 4


@pytest.mark.parametrize("name", ["user", "safety_identifier"])
async def test_a_user_is_named_by_text(by_session: Live, name: str) -> None:
    """Anything else is refused by its name."""
    reply = await by_session.ask(**{name: 7})
    assert (reply.status, reply.json["error"]["param"]) == (400, name)


async def test_sessions_spread_over_both_sides(by_session: Live) -> None:
    """The side of a session is as good as the toss of a coin."""
    sides = [
        by_session.sealer.open((await by_session.ask(headers={"x-session-id": f"s{i}"})).json["id"]).side
        for i in range(40)
    ]
    assert 10 <= sum(sides) <= 30


async def test_the_store_never_sees_a_sessions_name(by_session: Live, embedded_url: str) -> None:
    """Only a keyed hash leaves the process."""
    await by_session.ask(headers={"x-session-id": "ada@example.org"})
    kept = await units_kept(embedded_url)
    assert len(kept) == 1
    assert "ada" not in str(kept)


async def test_what_the_store_kept_wins(by_session: Live) -> None:
    """A session assigned before a new plan keeps its pair and side."""
    before = by_session.sealer.open((await by_session.ask(headers={"x-session-id": "ada"})).json["id"])
    by_session.change(plan=plan(version=9), share=0.0)
    after = by_session.sealer.open((await by_session.ask(headers={"x-session-id": "ada"})).json["id"])
    assert after == before


async def test_with_a_hold_all_answers_of_a_session_say_when_it_began(
    by_session: Live, embedded_url: str
) -> None:
    """A session is a unit, and its age counts from its first answer; the store keeps that time."""
    by_session.change(hold_seconds=60.0)
    first = by_session.sealer.open((await by_session.ask(headers={"x-session-id": "ada"})).json["id"])
    ((place, kept),) = (await units_kept(embedded_url)).items()
    redis = connect(embedded_url)
    await redis.set(place, kept.replace(f" {int(NOW)}", f" {int(NOW) - 50}"))
    await redis.aclose()

    later = by_session.sealer.open((await by_session.ask(headers={"x-session-id": "ada"})).json["id"])

    assert (first.assigned_at, later.assigned_at) == (NOW, NOW - 50)
    assert later._replace(assigned_at=first.assigned_at) == first


async def test_sessions_kept_without_their_beginning_go_on(by_session: Live, embedded_url: str) -> None:
    """Records without a beginning are four numbers, which earlier builds wrote and can read."""
    first = by_session.sealer.open((await by_session.ask(headers={"x-session-id": "ada"})).json["id"])
    (kept,) = (await units_kept(embedded_url)).values()
    by_session.change(hold_seconds=60.0)

    later = by_session.sealer.open((await by_session.ask(headers={"x-session-id": "ada"})).json["id"])

    *pair_and_side, plan_and_coin = (int(word) for word in kept.split())
    assert pair_and_side == [0, 1, first.side]
    assert coin_and_plan(plan_and_coin) == (first.coin, 3)
    assert later == first


async def test_without_the_store_sessions_are_still_served_alike(upstream: FakeUpstream) -> None:
    """A session gets one draw every time, and a counter that says the store was left out."""
    base = upstream.api_base
    live = experiment(base, unit="session")
    entries = [entry("small", base), entry("large", base)]
    async with live_gateway([live], entries, store_url=NO_STORE) as gateway:
        answers = [await gateway.ask(headers={"x-session-id": "ada"}) for _ in range(4)]
    opened = [gateway.sealer.open(answer.json["id"]) for answer in answers]
    assert len({(assignment.side, assignment.unit) for assignment in opened}) == 1
    assert gateway.observer.skipped == [NAME] * 4


async def test_a_request_that_names_nobody_is_its_own_unit(by_session: Live, embedded_url: str) -> None:
    """No store is asked."""
    units = {by_session.sealer.open((await by_session.ask()).json["id"]).unit for _ in range(3)}
    assert len(units) == 3
    assert await units_kept(embedded_url) == {}


async def test_sessions_do_not_matter_to_experiments_by_request(gateway: Live) -> None:
    """In an experiment with `unit: request` every request is its own unit."""
    units = {
        gateway.sealer.open((await gateway.ask(headers={"x-session-id": "a"})).json["id"]).unit
        for _ in range(3)
    }
    assert len(units) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"state": ExperimentState.PROMOTED},
        {"state": ExperimentState.SETTLED},
        {"generation": 2},
        {"generation": 2, "state": ExperimentState.PROMOTED},
        {"matches_store": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("incumbent", [0, 1])
async def test_a_session_that_began_before_stays_with_its_policy_and_counts_no_more(
    by_session: Live, change: dict[str, Any], incumbent: int
) -> None:
    """This holds after a decision, in another generation and under another definition."""
    sessions = {f"s{number}": "" for number in range(12)}
    for session in sessions:
        sessions[session] = (await by_session.ask(headers={"x-session-id": session})).text
    assert len(set(sessions.values())) == 2
    by_session.change(incumbent=incumbent, **change)

    for session, text in sessions.items():
        reply = await by_session.ask(headers={"x-session-id": session})
        assert reply.text == text
        opened = by_session.sealer.open(reply.json["id"])
        assert isinstance(opened, Unassigned)
    told = await by_session.feed(id=reply.json["id"], signal="thumb", value=True)
    assert told.json["status"] == "not_counted"
    new = {(await by_session.ask(headers={"x-session-id": f"new{number}"})).text for number in range(12)}
    assert len(new) == (2 if change == {"generation": 2} else 1)


async def test_a_session_whose_policy_is_gone_begins_anew(by_session: Live, upstream: FakeUpstream) -> None:
    """A session whose policy is gone gets a new policy and stays with it."""
    before = {
        f"s{number}": (await by_session.ask(headers={"x-session-id": f"s{number}"})).text
        for number in range(12)
    }
    changed = {
        "alpha": {"model": "small", "system": "You are alpha."},
        "gamma": {"model": "large", "system": "You are gamma."},
    }
    policies = experiment(upstream.api_base, changed).policies
    by_session.change(generation=2, policies=policies)
    for session, text in before.items():
        replies = [await by_session.ask(headers={"x-session-id": session}) for _ in range(3)]
        opened = {type(by_session.sealer.open(reply.json["id"])) for reply in replies}
        assert len({reply.text for reply in replies}) == 1
        assert opened == ({Unassigned} if text == "I am small." else {Assignment})


async def test_a_hung_store_costs_one_session_its_wait(upstream: FakeUpstream, tmp_path: Path) -> None:
    """Those after it are drawn without the store, until it is known to answer again."""
    server = RedisServer(tmp_path / "store")
    server.start()
    base = upstream.api_base
    entries = [entry("small", base), entry("large", base)]
    live = experiment(base, unit="session")
    async with live_gateway(
        [live], entries, store_url=server.url, store_timeout_seconds=impatient(0.5)
    ) as gateway:
        await gateway.ask(headers={"x-session-id": "first"})
        server.freeze()
        await gateway.ask(headers={"x-session-id": "waits"})
        skipped = await gateway.metric("llmpo_sticky_skipped_total")
        for number in range(20):
            assert (await gateway.ask(headers={"x-session-id": f"s{number}"})).status == 200
        assert await gateway.metric("llmpo_sticky_skipped_total") == skipped + 20
        assert await gateway.metric("llmpo_gateway_overhead_seconds_bucket", le="0.1") >= 20
        server.thaw()

        async def is_asked_again() -> bool:
            before = await gateway.metric("llmpo_sticky_skipped_total")
            await gateway.ask(headers={"x-session-id": "later"})
            return await gateway.metric("llmpo_sticky_skipped_total") == before

        await eventually(is_asked_again, "the store asked again")
    server.stop()
