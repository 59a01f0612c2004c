"""`GET /v1/experiments/{name}/events`: pages of what happened, whose ids stay."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from gateway.config.api_keys import hash_key
from gateway.config.gateway_file import GatewayConfig
from policy_store.names import Names
from tests.gateway.building import NAME, config_fields
from tests.gateway.whole import Reply, Whole, quick_settings, whole_gateway

KEYS = {"keys": {"ops": {"hash": hash_key("ops"), "role": "admin"}, "web": {"hash": hash_key("web")}}}
EVENTS = f"/v1/experiments/{NAME}/events"


@pytest.fixture
async def gateway(embedded_url: str) -> AsyncIterator[Whole]:
    """A gateway of two experiments, of which one was paused and resumed three times."""
    fields = config_fields(auth=KEYS)
    fields["experiments"]["sales"] = fields["experiments"][NAME]
    config = GatewayConfig.model_validate(fields)
    async with whole_gateway(config, quick_settings(embedded_url), key="ops") as gateway:
        for verb in ("pause", "resume") * 3:
            await gateway.call("POST", f"/v1/experiments/{NAME}/{verb}", {"reason": verb})
        yield gateway


async def pages(gateway: Whole, order: str, limit: int) -> list[Reply]:
    """All pages, one after the other."""
    found = [await gateway.get(f"{EVENTS}?order={order}&limit={limit}")]
    while found[-1].json["has_more"]:
        after = found[-1].json["last_id"]
        found.append(await gateway.get(f"{EVENTS}?order={order}&limit={limit}&after={after}"))
    return found


async def test_pages_hold_every_event_once_in_either_order(gateway: Whole) -> None:
    """This holds for any size of page; an event has the same id on each."""
    whole = [event["id"] for event in (await gateway.get(f"{EVENTS}?order=asc")).json["data"]]
    for limit in (1, 3, 7, 8):
        rising = [event["id"] for page in await pages(gateway, "asc", limit) for event in page.json["data"]]
        falling = [event["id"] for page in await pages(gateway, "desc", limit) for event in page.json["data"]]
        assert rising == falling[::-1] == whole
    assert len(set(whole)) == 7
    latest = (await gateway.get(f"{EVENTS}?limit=1")).json["data"][0]
    assert (latest["kind"], latest["detail"]["reason"], latest["id"]) == ("unpaused", "resume", whole[-1])


async def test_no_two_experiments_share_an_id(gateway: Whole) -> None:
    """Events of the same millisecond have different ids, and another experiment's id is no position."""
    other = (await gateway.get("/v1/experiments/sales/events")).json["data"][0]["id"]
    reply = await gateway.get(f"{EVENTS}?after={other}")
    assert (reply.status, reply.code, reply.error["param"]) == (400, "invalid_value", "after")
    ids = {Names(prefix).experiment(name).event_id("5-0") for prefix in ("", "b:") for name in ("a", NAME)}
    assert len(ids) == 4


async def test_a_place_at_the_end_has_an_empty_page(gateway: Whole) -> None:
    """A page after the last event says that there is no more, and has no last id."""
    last = (await gateway.get(EVENTS)).json["data"][0]["id"]
    reply = await gateway.get(f"{EVENTS}?order=asc&after={last}")
    assert reply.json == {"data": [], "last_id": None, "has_more": False}


async def test_only_admins_read_events(gateway: Whole) -> None:
    """Events say who did what and why, so only admins may read them."""
    gateway.key = "web"
    assert (await gateway.get(EVENTS)).status == 403
    gateway.key = None
    assert (await gateway.get(EVENTS)).status == 401


async def test_no_parameters_are_a_server_error(gateway: Whole) -> None:
    """The event exists or is refused by name, also with ids at the limits of what servers accept."""
    draws, digest = random.Random(5), Names().experiment(NAME).event_id("1-1")[:-3]
    numbers = [
        "0",
        "1",
        "-1",
        "9" * 19,
        "9" * 20,
        "18446744073709551615",
        "00",
        "\u0661",
        "1e3",
        "",
        " ",
        "\n",
    ]

    def odd() -> str:
        some = draws.choice([numbers, ["evt_", "$", "+", "-", "(1-1", "\x00", "é", "a" * 5_000]])
        return draws.choice(some)

    def place() -> str:
        return draws.choice([f"{digest}{odd()}-{odd()}", f"{digest}{odd()}", odd()])

    seen = set()
    for _ in range(300):
        asked = {"after": place(), "limit": odd(), "order": draws.choice(["asc", "desc", odd()])}
        kept = {name: value for name, value in asked.items() if draws.random() < 0.6}
        query = "&".join(f"{name}={quote(value)}" for name, value in kept.items())
        reply = await gateway.get(f"{EVENTS}?{query}")
        assert reply.status in (200, 400), (query, reply.body)
        assert reply.status == 200 or reply.error["param"] in kept, (query, reply.body)
        seen.add(reply.status)
    assert seen == {200, 400}
