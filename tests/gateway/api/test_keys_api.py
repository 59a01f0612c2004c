"""API keys made and revoked while gateways run: on every replica, without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.cli import main
from gateway.config.api_keys import hash_key
from policy_store.connect import connect
from tests.gateway.building import gateway_config
from tests.gateway.fake_upstream import Exchange, FakeUpstream, answer
from tests.gateway.whole import Reply, Whole, eventually, quick_settings, whole_gateway

AUTH = {
    "admin_keys": [hash_key("ops")],
    "keys": {"boss": {"hash": hash_key("boss"), "role": "admin"}, "app": {"hash": hash_key("app")}},
    "limits": {"requests_per_minute": 1000},
}


@pytest.fixture
async def replicas(embedded_url: str, upstream: FakeUpstream) -> AsyncIterator[tuple[Whole, Whole]]:
    """Two gateways on one store, called with an admin's key."""
    config, settings = gateway_config(api_base=upstream.api_base, auth=AUTH), quick_settings(embedded_url)
    async with (
        whole_gateway(config, settings, key="boss") as one,
        whole_gateway(config, settings, key="boss") as two,
    ):
        yield one, two


def as_key(gateway: Whole, key: str) -> Whole:
    """The gateway called with another key."""
    return replace(gateway, key=key)


async def make(gateway: Whole, name: str, **fields: Any) -> str:
    """A new key."""
    reply = await gateway.call("POST", "/v1/keys", {"name": name, **fields})
    assert reply.status == 200, reply.body
    key: str = reply.json["key"]
    return key


async def answers(gateway: Whole, key: str, status: int) -> None:
    """Return once the gateway answers the key like this."""

    async def does() -> bool:
        return (await as_key(gateway, key).ask("plain")).status == status

    await eventually(does, f"status {status}")


async def names(gateway: Whole) -> dict[str, Any]:
    """What is listed, by name; of several keys of a name the last."""
    return {each["name"]: each for each in (await gateway.get("/v1/keys")).json["data"]}


async def test_a_new_key_works_on_every_replica(replicas: tuple[Whole, Whole]) -> None:
    """A key works at once on its own replica and within a moment on others, with its limits and role."""
    one, two = replicas
    key = await make(one, "mobile", limits={"requests_per_minute": 5})
    first = await as_key(one, key).ask("plain")
    assert (first.status, first.headers["x-ratelimit-limit-requests"]) == (200, "5")
    await answers(two, key, 200)
    assert (await as_key(two, key).get("/v1/keys")).status == 403
    shown = (await names(two))["mobile"]
    assert (shown["role"], shown["source"], shown["revoked_at"]) == ("client", "store", None)
    assert shown["limits"] == {"requests_per_minute": 5}


@pytest.mark.parametrize("made_in", ["store", "configuration"])
async def test_a_revoked_key_is_refused_by_every_replica(replicas: tuple[Whole, Whole], made_in: str) -> None:
    """This holds for keys from any source, and for gateways that start later."""
    one, two = replicas
    name, key = ("mobile", await make(one, "mobile")) if made_in == "store" else ("app", "app")
    await answers(two, key, 200)

    reply = await two.call("DELETE", f"/v1/keys/{name}")

    assert (reply.status, reply.json["name"]) == (200, name)
    assert (await as_key(two, key).ask("plain")).code == "invalid_api_key"
    await answers(one, key, 401)
    assert (await names(one))[name]["revoked_at"] > 0
    assert (await as_key(one, "ops").get("/v1/keys")).status == 200


async def test_an_answer_under_way_outlives_its_key(
    replicas: tuple[Whole, Whole], upstream: FakeUpstream
) -> None:
    """A revocation ends what may begin, not what has begun."""
    one, _ = replicas
    release = asyncio.Event()

    async def held(exchange: Exchange) -> None:
        await release.wait()
        await answer()(exchange)

    upstream.on("plain", held)
    waiting = asyncio.create_task(as_key(one, "app").ask("plain"))

    async def is_asked() -> bool:
        return upstream.calls_of("plain") > 0

    await eventually(is_asked, "the provider asked")
    await one.call("DELETE", "/v1/keys/app")
    release.set()
    assert (await waiting).status == 200


async def test_the_first_twelve_digits_name_a_key_without_a_name(replicas: tuple[Whole, Whole]) -> None:
    """A key without a name can be revoked by the first twelve digits of its hash."""
    one, _ = replicas
    digits = hash_key("ops").removeprefix("sha256:")[:12]
    assert (await one.call("DELETE", f"/v1/keys/{digits}")).status == 200
    assert (await as_key(one, "ops").get("/v1/keys")).status == 401


async def test_what_cannot_be_is_refused(replicas: tuple[Whole, Whole]) -> None:
    """A name in use, a key that does not exist, one's own key, a wrong value: each with its own reason."""
    one, _ = replicas
    refused: list[tuple[Reply, int, str]] = [
        (await one.call("POST", "/v1/keys", {"name": "app"}), 409, "name_taken"),
        (await one.call("DELETE", "/v1/keys/nobody"), 404, "unknown_key"),
        (await one.call("DELETE", "/v1/keys/boss"), 400, "own_key"),
        (await one.call("POST", "/v1/keys", {"name": "a b"}), 400, "invalid_value"),
        (await one.call("POST", "/v1/keys", {"name": "x", "limits": {"rpm": 1}}), 400, "invalid_value"),
        (await one.call("POST", "/v1/keys", {"name": "x", "hash": "y"}), 400, "invalid_value"),
        (await as_key(one, "app").call("POST", "/v1/keys", {"name": "x"}), 403, "permission_denied"),
        (await as_key(one, "no").call("DELETE", "/v1/keys/app"), 401, "invalid_api_key"),
    ]
    assert [(reply.status, reply.code) for reply, _, _ in refused] == [(each[1], each[2]) for each in refused]


async def test_a_replaced_key_has_the_name_again(replicas: tuple[Whole, Whole]) -> None:
    """Rotation: the new key gets the old one's name, and only the new one works."""
    one, _ = replicas
    old = await make(one, "mobile")
    await one.call("DELETE", "/v1/keys/mobile")
    new = await make(one, "mobile")
    assert (await as_key(one, old).ask("plain")).status == 401
    assert (await as_key(one, new).ask("plain")).status == 200


async def test_a_store_that_lost_everything_revives_no_key(
    replicas: tuple[Whole, Whole], embedded_url: str
) -> None:
    """What a replica once heard was revoked stays revoked there; once accepted, the keys it lost are gone."""
    one, two = replicas
    made = await make(one, "mobile")
    await one.call("DELETE", "/v1/keys/app")
    await answers(two, made, 200)
    await answers(two, "app", 401)
    redis = connect(embedded_url)
    await redis.flushall()
    await redis.aclose()

    async def is_held() -> bool:
        return (await one.get("/readyz")).json["store"] == "held"

    await eventually(is_held, "the loss noticed")
    assert (await as_key(two, made).ask("plain")).status == 200
    await one.call("POST", "/v1/store/accept")
    await answers(two, made, 401)
    assert (await as_key(two, "app").ask("plain")).status == 401


async def test_a_gateway_without_keys_makes_none(embedded_url: str, upstream: FakeUpstream) -> None:
    """A first key would lock out every caller that has none."""
    config = gateway_config(api_base=upstream.api_base)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        reply = await gateway.call("POST", "/v1/keys", {"name": "x"})
        assert (reply.status, reply.code) == (400, "no_keys_configured")
        assert (await gateway.ask("plain")).status == 200


async def test_keys_are_made_listed_and_revoked_from_the_command_line(
    replicas: tuple[Whole, Whole], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed first is the key, and it works."""
    one, two = replicas

    async def run(*arguments: str) -> tuple[int, str]:
        options = ["--url", one.url, "--api-key", "boss"]
        status = await asyncio.to_thread(main, ["keys", *arguments, *options])
        return status, capsys.readouterr().out

    status, printed = await run("create", "cli-made", "--requests-per-minute", "7")
    key = next(line for line in printed.splitlines() if line.startswith("llmpo-"))
    await answers(two, key, 200)
    _, listed = await run("list")
    revoked, _ = await run("revoke", "cli-made")
    again, _ = await run("revoke", "cli-made")
    unknown, _ = await run("revoke", "never-made")

    assert (status, revoked, again, unknown) == (0, 0, 0, 1)
    row = next(line for line in listed.splitlines() if line.startswith("cli-made"))
    assert "7 requests per minute" in row
    assert key not in listed
    await answers(two, key, 401)
