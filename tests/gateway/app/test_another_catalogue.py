"""Another configuration takes effect by one assignment, in all that is served, planned, priced and shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.config.api_keys import hash_key
from gateway.config.gateway_file import GatewayConfig
from gateway.experiments.catalogue import catalogue_of
from gateway.settings import Settings
from tests.gateway.building import config_fields
from tests.gateway.fake_upstream import Exchange, FakeUpstream, answer
from tests.gateway.whole import Whole, eventually, quick_settings, whole_gateway

PRICES = {"input_cost_per_token": 1.0, "output_cost_per_token": 2.0}


def configured(upstream: FakeUpstream, **changes: Any) -> dict[str, Any]:
    """The file: `support` compares `plain` and `warm`; the key `ops` is an admin's, `app` a client's."""
    keys = {"ops": {"hash": hash_key("ops"), "role": "admin"}, "app": {"hash": hash_key("app")}}
    return config_fields(api_base=upstream.api_base, auth={"keys": keys}, **changes)


def experiment(fields: dict[str, Any]) -> dict[str, Any]:
    """The file's only experiment, to put under another name."""
    found: dict[str, Any] = next(iter(fields["experiments"].values()))
    return found


@pytest.fixture
def settings(embedded_url: str) -> Settings:
    """Settings of a gateway on the shared store."""
    return quick_settings(embedded_url, limits_timeout_seconds=5.0)


@pytest.fixture
async def gateway(upstream: FakeUpstream, settings: Settings) -> AsyncIterator[Whole]:
    """A gateway with the first file, and its admin."""
    config = GatewayConfig.model_validate(configured(upstream))
    async with whole_gateway(config, settings, key="ops") as gateway:
        await gateway.planned()
        yield gateway


def assign(gateway: Whole, settings: Settings, fields: dict[str, Any]) -> None:
    """Put another file in force."""
    gateway.app.catalogue.current = catalogue_of(GatewayConfig.model_validate(fields), settings, {})


async def test_a_new_experiment_is_served_planned_and_shown(
    gateway: Whole, settings: Settings, upstream: FakeUpstream
) -> None:
    """A new experiment takes part like those that were there from the start."""
    fields = configured(upstream)
    fields["experiments"]["sales"] = experiment(fields)
    assert (await gateway.ask("sales")).status == 404

    assign(gateway, settings, fields)

    await eventually(lambda: served(gateway, "sales"), "the new experiment to answer")
    await gateway.planned("sales")
    await eventually(lambda: listed(gateway, ["support", "sales"]), "both experiments to be listed")
    models = [model["id"] for model in (await gateway.get("/v1/models")).json["data"]]
    assert "sales" in models
    assert await gateway.metric("llmpo_plan_version", experiment="sales") >= 1


async def test_a_removed_experiment_is_no_longer_served_or_shown(
    gateway: Whole, settings: Settings, upstream: FakeUpstream
) -> None:
    """A removed experiment has no metrics either, but the store keeps what it knows of it."""
    fields = configured(upstream)
    fields["experiments"] = {"sales": experiment(fields)}
    sealed = (await gateway.ask()).json["id"]
    assert await gateway.metric("llmpo_experiment_generation", experiment="support") == 1

    assign(gateway, settings, fields)

    await eventually(lambda: gone(gateway, "support"), "the removed experiment to be unknown")
    assert (await gateway.get("/v1/experiments/support")).status == 404
    await eventually(lambda: listed(gateway, ["sales"]), "only the new one to be listed")
    assert await gateway.metric("llmpo_experiment_generation", experiment="support") == 0
    assert (await gateway.feed(id=sealed, signal="thumb", value=True)).code == "unknown_experiment"

    assign(gateway, settings, configured(upstream))
    await eventually(lambda: served(gateway, "support"), "it to be back")
    assert (await gateway.experiment())["generation"] == 1


async def test_a_models_target_and_provider_key_change(
    gateway: Whole, settings: Settings, upstream: FakeUpstream
) -> None:
    """The next request goes there, with that key."""
    fields = configured(upstream)
    fields["model_list"][0]["litellm_params"] |= {"model": "openai/other", "api_key": "another-key"}
    seen: list[Exchange] = []

    async def remember(exchange: Exchange) -> None:
        seen.append(exchange)
        await answer("Hello.")(exchange)

    upstream.on("other", remember)

    assign(gateway, settings, fields)

    await eventually(lambda: says(gateway, "plain", "Hello."), "the other target to answer")
    assert seen[-1].seen.headers["authorization"] == "Bearer another-key"


async def test_prices_change(gateway: Whole, settings: Settings, upstream: FakeUpstream) -> None:
    """Costs are counted at the price in force when the answer came."""
    fields = configured(upstream)
    for entry in fields["model_list"]:
        entry["litellm_params"] |= PRICES
    await gateway.ask()
    assert await gateway.metric("llmpo_policy_cost_usd_total") == 0

    assign(gateway, settings, fields)

    await gateway.ask()
    assert await gateway.metric("llmpo_policy_cost_usd_total") > 0


async def test_keys_are_added_and_removed(gateway: Whole, settings: Settings, upstream: FakeUpstream) -> None:
    """A key that the file no longer lists is refused, a new one passes."""
    fields = configured(upstream)
    fields["auth"]["keys"]["web"] = {"hash": hash_key("web")}
    del fields["auth"]["keys"]["app"]
    assert await status(gateway, "app") == 200
    assert await status(gateway, "web") == 401

    assign(gateway, settings, fields)

    await eventually(lambda: is_status(gateway, "web", 200), "the new key to pass")
    assert await status(gateway, "app") == 401


async def test_limits_change_for_configured_keys_and_for_those_made_since(
    gateway: Whole, settings: Settings, upstream: FakeUpstream
) -> None:
    """Client keys without limits of their own have the default ones, wherever they were made."""
    made = (await gateway.call("POST", "/v1/keys", {"name": "made"})).json["key"]
    fields = configured(upstream)
    fields["auth"]["limits"] = {"requests_per_minute": 1}
    assert [await status(gateway, "app") for _ in range(2)] == [200, 200]

    assign(gateway, settings, fields)

    await eventually(lambda: is_status(gateway, "app", 429), "the limit to be reached")
    await eventually(lambda: is_status(gateway, made, 429), "the limit to be reached by the other key")
    assert await status(gateway, "ops") == 200


async def test_a_gateway_without_keys_asks_for_them_once_there_are_some(
    upstream: FakeUpstream, settings: Settings
) -> None:
    """A gateway that asks for keys never stops, because a file without keys must not open it."""
    without = config_fields(api_base=upstream.api_base)
    async with whole_gateway(GatewayConfig.model_validate(without), settings) as gateway:
        assert (await gateway.ask("plain")).status == 200

        assign(gateway, settings, configured(upstream))
        await eventually(lambda: is_status(gateway, "nobody's", 401), "keys to be asked for")
        assert await status(gateway, "app") == 200

        assign(gateway, settings, without)
        await eventually(lambda: is_status(gateway, "app", 401), "the key to be gone")


async def test_another_configuration_is_served_while_the_store_is_away(
    upstream: FakeUpstream, settings: Settings
) -> None:
    """The new models and the incumbents of new experiments answer."""
    away = settings.model_copy(update={"redis_url": "redis://127.0.0.1:9"})
    fields = config_fields(api_base=upstream.api_base)
    config = GatewayConfig.model_validate(fields)
    async with whole_gateway(config, away) as gateway:
        fields["experiments"] = {"sales": experiment(fields)}
        assign(gateway, away, fields)
        await eventually(lambda: served(gateway, "sales"), "the new experiment to answer")
        assert (await gateway.ask("support")).status == 404


async def served(gateway: Whole, model: str) -> bool:
    """Whether a model answers."""
    return (await gateway.ask(model)).status == 200


async def gone(gateway: Whole, model: str) -> bool:
    """Whether there is no such model."""
    return (await gateway.ask(model)).status == 404


async def listed(gateway: Whole, names: list[str]) -> bool:
    """Whether exactly these experiments are shown."""
    shown = (await gateway.get("/v1/experiments")).json["data"]
    return [one["name"] for one in shown] == names


async def says(gateway: Whole, model: str, text: str) -> bool:
    """Whether that is a model's answer."""
    found: str = (await gateway.ask(model)).json["choices"][0]["message"]["content"]
    return found == text


async def status(gateway: Whole, key: str) -> int:
    """What a caller with this key gets."""
    return (await replace(gateway, key=key).ask("plain")).status


async def is_status(gateway: Whole, key: str, wanted: int) -> bool:
    """Whether a caller with this key gets this."""
    return await status(gateway, key) == wanted
