"""Limited keys over HTTP: which requests pass, the refusals, and the behaviour without the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.config.api_keys import hash_key
from policy_store.connect import connect
from tests.gateway.building import gateway_config
from tests.gateway.fake_upstream import Exchange, FakeUpstream, answer
from tests.gateway.whole import Reply, Whole, eventually, quick_settings, whole_gateway
from tests.pace import impatient
from tests.servers import SERVERS

QUESTION = {"messages": [{"role": "user", "content": "Hello?"}]}


def limited(upstream: FakeUpstream, **limits: dict[str, int]) -> Any:
    """A configuration with an admin's key `ops`, and a key of each name with these limits."""
    keys = {name: {"hash": hash_key(name), "limits": each} for name, each in limits.items()}
    return gateway_config(api_base=upstream.api_base, auth={"admin_keys": [hash_key("ops")], "keys": keys})


@pytest.fixture
async def replicas(embedded_url: str, upstream: FakeUpstream) -> AsyncIterator[tuple[Whole, Whole]]:
    """Two gateways on one store."""
    config = limited(
        upstream,
        few={"requests_per_minute": 3},
        many={"requests_per_minute": 100},
        tokens={"tokens_per_minute": 1000},
        narrow={"concurrent_requests": 2},
    )
    settings = quick_settings(embedded_url, limits_timeout_seconds=5.0)
    async with (
        whole_gateway(config, settings, key="few") as one,
        whole_gateway(config, settings, key="few") as two,
    ):
        yield one, two


def statuses(replies: list[Reply]) -> dict[int, int]:
    """How often each status was answered."""
    found = [reply.status for reply in replies]
    return {status: found.count(status) for status in set(found)}


async def test_three_hundred_clients_get_what_the_limit_allows(replicas: tuple[Whole, Whole]) -> None:
    """Two replicas together answer a hundred requests and send no other request to a provider."""
    callers = [replace(replica, key="many") for replica in replicas]
    replies = await asyncio.gather(*(callers[number % 2].ask("plain") for number in range(300)))
    assert statuses(list(replies)) == {200: 100, 429: 200}


async def test_the_refused_are_told_in_openais_words(replicas: tuple[Whole, Whole]) -> None:
    """Type, code, when to come back, and where the key stands; an answer says where it stands as well."""
    one, two = replicas
    passed = [await gateway.ask("plain") for gateway in (one, two, one)]
    refused = await two.ask("plain")

    assert [reply.headers["x-ratelimit-limit-requests"] for reply in passed] == ["3"] * 3
    assert passed[-1].headers["x-ratelimit-remaining-requests"] == "0"
    assert "x-ratelimit-limit-tokens" not in refused.headers
    error = refused.json["error"]
    assert (refused.status, error["type"], error["code"]) == (429, "requests", "rate_limit_exceeded")
    assert 60 <= int(refused.headers["retry-after"]) <= 62
    assert 59_000 < int(refused.headers["retry-after-ms"]) <= 62_000
    assert refused.headers["x-should-retry"] == "false"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"].startswith("1m")
    assert (
        await replace(two, key="ops").metric("llmpo_limited_total", key="few", limit="requests_per_minute")
        == 1
    )


async def test_the_refused_are_told_in_anthropics_words_where_they_ask_so(
    replicas: tuple[Whole, Whole],
) -> None:
    """Refusals of messages have the headers and the error shape of Anthropic's API."""
    one, _ = replicas
    for _ in range(3):
        await one.ask("plain")
    refused = await one.call("POST", "/v1/messages", {"model": "plain", "max_tokens": 5, **QUESTION})
    assert (refused.status, refused.json["error"]["type"]) == (429, "rate_limit_error")
    assert refused.headers["anthropic-ratelimit-requests-limit"] == "3"
    assert refused.headers["anthropic-ratelimit-requests-remaining"] == "0"
    reset = datetime.fromisoformat(refused.headers["anthropic-ratelimit-requests-reset"])
    assert 0 < reset.timestamp() - time.time() <= 63
    assert not any(name.startswith("x-ratelimit") for name in refused.headers)


async def test_openais_client_takes_the_refusal_for_what_it_is(replicas: tuple[Whole, Whole]) -> None:
    """A RateLimitError at once, instead of retries that cannot help."""
    one, _ = replicas
    async with openai.AsyncOpenAI(base_url=f"{one.url}/v1", api_key="few") as client:

        async def ask() -> Any:
            return await client.chat.completions.create(
                model="plain", messages=[{"role": "user", "content": "Hello?"}]
            )

        for _ in range(3):
            await ask()
        with pytest.raises(openai.RateLimitError) as refused:
            await ask()
    assert (refused.value.code, refused.value.type) == ("rate_limit_exceeded", "requests")
    assert await replace(one, key="ops").metric("llmpo_limited_total", key="few") == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_the_provider_reports_count(
    replicas: tuple[Whole, Whole], upstream: FakeUpstream, stream: bool
) -> None:
    """Streamed or not; what was set aside for a long answer comes back."""
    used = 12 if stream else 450  # what the provider says by itself in streams
    usage = {} if stream else {"usage": {"prompt_tokens": 100, "completion_tokens": 350}}
    upstream.on("plain", answer("Hi.", **usage))
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    one, two = (replace(replica, key="tokens") for replica in replicas)
    for gateway in (one, two):
        assert (await gateway.ask("plain", max_tokens=480, **options)).status == 200

    async def is_settled() -> bool:
        probe = await one.call("POST", "/v1/embeddings", {"model": "nobody", "input": "x"})
        return probe.headers["x-ratelimit-remaining-tokens"] == str(1000 - 2 * used - 1)

    await eventually(is_settled, "both answers counted")
    refused = await one.ask("plain", max_tokens=980)
    assert (refused.status, refused.json["error"]["type"]) == (429, "tokens")
    assert refused.headers["x-ratelimit-limit-tokens"] == "1000"


async def test_requests_under_way_are_limited(replicas: tuple[Whole, Whole], upstream: FakeUpstream) -> None:
    """The limit holds over both replicas; a place is free once an answer has ended or its caller has left."""
    release = asyncio.Event()

    async def held(exchange: Exchange) -> None:
        await release.wait()
        await answer()(exchange)

    upstream.on("plain", held)
    one, two = (replace(replica, key="narrow") for replica in replicas)
    inside = [asyncio.create_task(gateway.ask("plain")) for gateway in (one, two)]

    async def both_are_inside() -> bool:
        return upstream.calls_of("plain") == 2

    await eventually(both_are_inside, "both asked")
    refused = await one.ask("plain")
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert refused.headers["x-should-retry"] == "true"
    inside[1].cancel()
    await asyncio.gather(inside[1], return_exceptions=True)
    upstream.on("warm", answer())

    async def passes() -> bool:
        return (await one.ask("warm")).status == 200

    await eventually(passes, "a place free")
    release.set()
    assert (await inside[0]).status == 200


async def test_an_unlimited_key_costs_no_look_at_the_store(
    replicas: tuple[Whole, Whole], embedded_url: str
) -> None:
    """Requests of an unlimited key are not accounted for, and their answers have no limit headers."""
    one, _ = replicas
    reply = await replace(one, key="ops").ask("plain")
    assert not any("ratelimit" in name for name in reply.headers)
    redis = connect(embedded_url)
    assert await redis.keys("llmpo:{limits:*") == []
    await redis.aclose()


@pytest.mark.parametrize("kind", sorted(SERVERS))
async def test_a_frozen_store_refuses_nobody(kind: str, tmp_path: Path, upstream: FakeUpstream) -> None:
    """Requests pass with little delay while it is frozen, and are counted; afterwards limits hold again."""
    server = SERVERS[kind](tmp_path / "store")
    server.start()
    config = limited(upstream, app={"requests_per_minute": 10})
    try:
        async with whole_gateway(config, quick_settings(server.url), key="app") as gateway:
            assert (await gateway.ask("plain")).status == 200
            server.freeze()
            began = time.monotonic()
            replies = await asyncio.gather(*(gateway.ask("plain") for _ in range(40)))
            took = time.monotonic() - began
            server.thaw()

            async def holds_again() -> bool:
                return (await gateway.ask("plain")).status == 429

            assert statuses(list(replies)) == {200: 40}
            assert took < impatient(2.0)
            await eventually(holds_again, "the limit holding again")
            ops = replace(gateway, key="ops")
            assert await ops.metric("llmpo_limits_skipped_total", key="app") > 0
    finally:
        server.stop()
