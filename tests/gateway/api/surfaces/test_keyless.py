"""A server that asks for no key is asked alike on every surface: whole or streamed, relayed or translated."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.config.gateway_file import ModelEntry
from tests.gateway.api.surfaces.answers import good
from tests.gateway.api.surfaces.asking import ask
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.live import Live, live_gateway

# litellm's own models make pydantic warn when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning")

FOREIGN = "sk-of-the-environment"
SERVERS = {
    **dict.fromkeys(
        ["openai", "openai_like", "custom_openai", "hosted_vllm", "llamafile", "lm_studio"], "/v1"
    ),
    "anthropic": "",
}
KINDS = ["chat/completions", "responses", "completions", "messages"]


@pytest.fixture(autouse=True)
def _keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI", "ANTHROPIC", "OPENAI_LIKE", "HOSTED_VLLM", "LLAMAFILE", "LM_STUDIO"):
        monkeypatch.setenv(f"{name}_API_KEY", FOREIGN)


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """Wants no key."""
    async with FakeUpstream() as upstream:
        upstream.on("m", good())
        yield upstream


@pytest.fixture
async def gateway(upstream: FakeUpstream) -> AsyncIterator[Live]:
    """A model of each provider that may be asked at an address of the operator's."""
    entries = [
        ModelEntry.model_validate(
            {
                "model_name": provider,
                "litellm_params": {
                    "model": f"{provider}/m",
                    "api_base": f"http://127.0.0.1:{upstream.port}{path}",
                },
            }
        )
        for provider, path in SERVERS.items()
    ]
    async with live_gateway([], entries) as gateway:
        yield gateway


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("provider", SERVERS)
async def test_a_keyless_server_answers_every_kind_of_request(
    gateway: Live, upstream: FakeUpstream, provider: str, kind: str, stream: bool
) -> None:
    """No key is needed, and none that lies about in the environment is sent to it."""
    reply = await ask(gateway, kind, provider, stream=stream)
    assert reply.status == 200, reply.body
    assert len(upstream.seen) == 1
    assert FOREIGN not in str(upstream.seen[0].headers)
