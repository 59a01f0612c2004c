"""Responses that name the one before instead of sending the conversation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.config.gateway_file import GatewayConfig
from tests.gateway.api.surfaces.answers import good
from tests.gateway.building import NAME, config_fields
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.serving.regenerating.conftest import Open
from tests.gateway.serving.regenerating.talks import counted
from tests.gateway.whole import Reply, Whole, quick_settings, whole_gateway
from tests.pace import impatient
from tests.servers import EmbeddedServer

SAID = {"plain": "North is up.", "warm": "My friend, north is where the moss grows."}


@pytest.fixture(autouse=True)
def _answers(upstream: FakeUpstream) -> None:
    for model, text in SAID.items():
        upstream.on(model, good(text))


@pytest.fixture
async def client(gateway: Whole) -> AsyncIterator[openai.AsyncOpenAI]:
    """As an application has it."""
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
        yield client


class Thread:
    """One conversation of an unmodified client that leaves its history to the provider."""

    def __init__(self, client: openai.AsyncOpenAI, *, is_streamed: bool = False) -> None:
        self._client = client
        self._is_streamed = is_streamed

    async def ask(self, text: str, after: str | None = None) -> tuple[str, str]:
        """Put a question after an answer; the id and the text of the next one."""
        asked: dict[str, Any] = {"model": NAME, "input": text, "previous_response_id": after}
        if not self._is_streamed:
            whole = await self._client.responses.create(**asked)
            return whole.id, whole.output_text
        async for event in await self._client.responses.create(**asked, stream=True):
            if event.type == "response.completed":
                return event.response.id, event.response.output_text
        raise AssertionError("The stream did not end.")

    async def twice(self, text: str, after: str | None = None) -> dict[str, str]:
        """Put a question, and put it again; the ids of the answers by their texts."""
        answers = [await self.ask(text, after), await self.ask(text, after)]
        return {said: response_id for response_id, said in answers}


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_the_answer_that_is_named_was_kept(
    gateway: Whole, client: openai.AsyncOpenAI, upstream: FakeUpstream, is_streamed: bool
) -> None:
    """The first or the second; and its provider is told its own name of it."""
    thread = Thread(client, is_streamed=is_streamed)
    for number in range(3):
        answers = await thread.twice(f"Which way is north? ({number})")
        assert set(answers) == set(SAID.values())
        await thread.ask("Thanks!", answers[SAID["warm"]])
        assert upstream.seen[-1].body["previous_response_id"] == "resp_warm"
    assert counted(await gateway.experiment()) == (0, 3, 0)


async def test_a_later_question_may_be_asked_again_too(gateway: Whole, client: openai.AsyncOpenAI) -> None:
    """The answer it goes on from belongs to the question."""
    thread = Thread(client)
    first, _ = await thread.ask("Which way is north?")
    answers = await thread.twice("And south?", first)
    assert set(answers) == set(SAID.values())
    await thread.ask("Thanks!", answers[SAID["plain"]])
    assert counted(await gateway.experiment()) == (1, 0, 0)


async def test_a_response_repeats_the_callers_name_of_the_one_before(gateway: Whole) -> None:
    """The response never has the provider's id, which could show which policy answered."""
    first = await _respond(gateway, input="Which way is north?")
    for stream in (False, True):
        reply = await _respond(gateway, input="Thanks!", previous_response_id=first.json["id"], stream=stream)
        assert reply.status == 200
        assert first.json["id"].encode() in reply.body
        assert b"resp_plain" not in reply.body
        assert b"resp_warm" not in reply.body


async def test_policies_of_several_accounts_cannot_go_on_from_it(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """What one provider keeps is none of another's: refused by name, as by other experiments."""
    fields = config_fields(api_base=upstream.api_base, traffic={"share": 1.0, "collect": "regenerate"})
    fields["model_list"][1]["litellm_params"]["api_key"] = "of-another-account"
    config = GatewayConfig.model_validate(fields)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        first = await _respond(gateway, input="Which way is north?")
        reply = await _respond(gateway, input="Thanks!", previous_response_id=first.json["id"])
        assert (reply.status, reply.code) == (400, "unsupported_by_experiment")


@pytest.mark.parametrize("named", ["resp_unknown", "chatcmpl-x"])
async def test_an_answer_that_is_not_known_is_refused_by_name(gateway: Whole, named: str) -> None:
    """Ids of the provider, of another gateway and from too long ago are refused, and it is said why."""
    reply = await _respond(gateway, input="Thanks!", previous_response_id=named)
    assert (reply.status, reply.code) == (400, "previous_response_not_found")
    assert named in reply.error["message"]
    assert "whole conversation" in reply.error["message"]


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_a_store_that_is_away_is_no_fault_of_the_request(
    upstream: FakeUpstream, tmp_path: Path, fault: str
) -> None:
    """Only the store knows what an id stands for: the request may come again, and others pass."""
    server = EmbeddedServer(tmp_path)
    server.start()
    try:
        fields = config_fields(api_base=upstream.api_base, traffic={"share": 1.0, "collect": "regenerate"})
        settings = quick_settings(server.url, store_timeout_seconds=impatient(0.3))
        async with whole_gateway(GatewayConfig.model_validate(fields), settings) as gateway:
            await gateway.planned()
            first = (await _respond(gateway, input="Which way is north?")).json["id"]
            getattr(server, fault)()
            for _ in range(2):
                reply = await _respond(gateway, input="Thanks!", previous_response_id=first)
                assert (reply.status, reply.code) == (503, "store_unavailable")
                assert "retry-after" in reply.headers
            assert (await _respond(gateway, input="Which way is south?")).status == 200
            server.start() if fault == "kill" else server.thaw()

            async def goes_on() -> bool:
                return (await _respond(gateway, input="Thanks!", previous_response_id=first)).status == 200

            await gateway.eventually(goes_on, "the answer known again")
    finally:
        server.stop()


async def test_answers_outside_of_comparisons_can_be_gone_on_from(open_gateway: Open) -> None:
    """The incumbent's: a caller cannot know which answers take part."""
    gateway = await open_gateway(traffic={"share": 0.0})
    first = await _respond(gateway, input="Which way is north?")
    reply = await _respond(gateway, input="Thanks!", previous_response_id=first.json["id"])
    assert reply.status == 200


async def _respond(gateway: Whole, **fields: Any) -> Reply:
    return await gateway.call("POST", "/v1/responses", {"model": NAME, **fields})
