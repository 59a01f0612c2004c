"""Two environments on one server of the store, told apart by nothing but what their keys begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace

import pytest

from gateway.config.api_keys import hash_key
from policy_store.clients import StoreClient
from policy_store.connect import connect
from tests.gateway.building import NAME, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, quick_settings, whole_gateway
from tests.pace import PATIENCE_SECONDS

ENVIRONMENTS = ("staging", "production")


@pytest.fixture
async def admin(embedded_url: str) -> AsyncIterator[StoreClient]:
    """An operator's connection to the server, which has a user for each environment."""
    admin = connect(embedded_url, timeout_seconds=PATIENCE_SECONDS)
    for name in ENVIRONMENTS:
        await admin.acl_setuser(
            name,
            enabled=True,
            passwords=["+word"],
            categories=["+@all", "-@dangerous"],
            commands=["+config|get", "+info"],
            keys=[f"{name}:*"],
        )
    yield admin
    await admin.acl_deluser(*ENVIRONMENTS)
    await admin.aclose()


async def test_environments_on_one_server_share_nothing(
    admin: StoreClient, embedded_url: str, upstream: FakeUpstream
) -> None:
    """Users may touch no other environment's keys, and counts, seals and permissions stay separate."""
    async with AsyncExitStack() as both:
        staging, production = [
            await both.enter_async_context(_gateway(name, embedded_url, upstream)) for name in ENVIRONMENTS
        ]
        for gateway in (staging, production):
            await gateway.planned()
        made = await staging.call(
            "POST", "/v1/keys", {"name": "app", "limits": {"requests_per_minute": 1000}}
        )
        app = replace(staging, key=made.json["key"])
        answers = [await app.ask() for _ in range(8)]
        assert {answer.status for answer in answers} == {200}
        for answer in answers:
            said = await app.feed(id=answer.json["id"], signal="thumb", value=True)
            assert said.status == 200, said.body

        assert (await replace(production, key=app.key).ask()).status == 401
        foreign = await production.feed(id=answers[0].json["id"], signal="thumb", value=True)
        assert foreign.status == 400
        assert (await _comparisons(staging)) > 0
        assert (await _comparisons(production)) == 0
        ready = [(await gateway.get("/readyz")).json["store"] for gateway in (staging, production)]
        assert ready == ["up", "up"]

    beginnings = {key.partition("llmpo:")[0] for key in await admin.keys("*")}
    assert beginnings == {f"{name}:" for name in ENVIRONMENTS}


def _gateway(name: str, url: str, upstream: FakeUpstream) -> AbstractAsyncContextManager[Whole]:
    user = f"unix://{name}:word@{url.removeprefix('unix://')}"
    config = gateway_config(api_base=upstream.api_base, auth={"admin_keys": [hash_key("boss")]})
    return whole_gateway(config, quick_settings(user, redis_prefix=f"{name}:"), key="boss")


async def _comparisons(gateway: Whole) -> int:
    return int((await gateway.experiment(NAME))["comparisons"])
