"""Whatever goes wrong while a provider is asked is that provider's failure, also what no list foresees."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import patch

import pytest
import structlog
from pydantic import SecretStr

from gateway.config.gateway_file import LitellmParams, ModelEntry
from gateway.serving.ejection import FAILURES_IN_A_ROW
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.live import Live, entry, experiment, live_gateway

PRIVATE = "sk-Vw9secret"
CANDIDATE = ("large", NAME, "beta")

# What the configuration refuses, had it got past it: each trips another part of an HTTP client.
BROKEN: dict[str, dict[str, Any]] = {
    "key with a line break": {"api_key": f"{PRIVATE}\n"},
    "header with a line break": {"extra_headers": {"x-team": f"{PRIVATE}\r\nx-other: 1"}},
    "credentials in the address": {"api_base": f"http://user:{PRIVATE}@127.0.0.1:1/v1"},
    "a host label too long": {"api_base": f"http://{'a' * 64}.example/v1"},
    "an empty host label": {"api_base": "http://a..example/v1"},
    "no host at all": {"api_base": "http:///v1"},
    "a port that cannot be": {"api_base": "http://127.0.0.1:99999/v1"},
    "no address": {"api_base": "nonsense"},
}


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """Answers the incumbent."""
    async with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
def written() -> Iterator[list[Any]]:
    """Every log line."""
    with structlog.testing.capture_logs() as lines:
        yield lines


def broken_entry(upstream: FakeUpstream, provider: str, params: dict[str, Any], *, http2: bool) -> ModelEntry:
    """The candidate's model, past what checks a configuration."""
    good = entry("large", upstream.api_base, provider=provider)
    fields = {**good.litellm_params.revealed(), **params}
    if "api_key" in params:
        fields["api_key"] = SecretStr(params["api_key"])
    made = LitellmParams.model_construct(**fields)
    return good.model_copy(update={"litellm_params": made, "http2": http2})


async def ask_until_it_is_ejected(gateway: Live, *, stream: bool) -> None:
    """Ask until the coin has fallen on the candidate often enough."""
    for _ in range(200):
        if CANDIDATE in gateway.observer.ejected:
            return
        reply = await gateway.ask(stream=stream)
        assert reply.status == 200, reply.body
        assert PRIVATE not in reply.body.decode()
    raise AssertionError("the candidate is still asked")


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("params", BROKEN.values(), ids=BROKEN.keys())
# LiteLLM, which asks all other providers, speaks HTTP/1.1.
@pytest.mark.parametrize(
    ("provider", "http2"),
    [("openai", False), ("openai", True), ("mistral", False)],
    ids=["relayed-http1", "relayed-http2", "translated"],
)
@pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning")
async def test_a_candidate_that_cannot_even_be_asked_is_replaced_counted_and_ejected(
    upstream: FakeUpstream,
    params: dict[str, Any],
    provider: str,
    written: list[Any],
    *,
    http2: bool,
    is_streamed: bool,
) -> None:
    """No user of the experiment notices, and no log line repeats what is wrong with it."""
    models = [entry("small", upstream.api_base), broken_entry(upstream, provider, params, http2=http2)]
    async with live_gateway([experiment(upstream.api_base)], models) as gateway:
        await ask_until_it_is_ejected(gateway, stream=is_streamed)
        assert len(gateway.observer.failed) >= FAILURES_IN_A_ROW
    assert any(line["event"] == "provider_failed" and line["policy"] == "beta" for line in written)
    assert PRIVATE not in json.dumps(written, default=str)


BOTH_WAYS = (
    "gateway.upstream.relay.Relay._post",
    "gateway.upstream.relay._make_destination",
    "gateway.upstream.relay._rate_limits",
    "gateway.upstream.http.http1.Http1Answer.some",
)


@pytest.mark.parametrize(
    ("place", "is_streamed"),
    [
        *((place, is_streamed) for place in BOTH_WAYS for is_streamed in (False, True)),
        ("gateway.upstream.relay._check_answer", False),
    ],
)
async def test_an_exception_anywhere_in_relaying_is_a_failure_of_the_target(
    upstream: FakeUpstream, written: list[Any], place: str, *, is_streamed: bool
) -> None:
    """The log has its type."""
    async with live_gateway([], [entry("small", upstream.api_base)]) as gateway:
        with patch(place, side_effect=ZeroDivisionError(PRIVATE)):
            reply = await gateway.ask("small", stream=is_streamed)
        assert reply.status == 502
        assert gateway.observer.model_failures
    assert PRIVATE not in reply.body.decode()
    (line,) = [line for line in written if line["event"] == "provider_failed"]
    assert "ZeroDivisionError" in str(line["detail"])
    assert PRIVATE not in json.dumps(written, default=str)
