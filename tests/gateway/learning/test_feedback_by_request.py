"""Feedback that names an answer by its request, for clients that drop the response's own id."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anthropic
import openai
import pytest

from gateway.config.api_keys import hash_key
from gateway.experiments.response_ids import ResponseIds
from gateway.experiments.sealing_key import SealingKeyHolder, SealingKeys, key_from_secret
from gateway.serving.answer_notes import MOST_NOTES, AnswerNotes
from policy_store.answer_names import SEVERAL, AnswerName, AnswerNameStore
from policy_store.connect import connect
from policy_store.errors import StoreUnavailableError
from tests.gateway.api.surfaces.answers import good
from tests.gateway.building import gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Reply, Whole, quick_settings, whole_gateway
from tests.pace import PATIENCE_SECONDS

MINE = "order-17:5f2c.a_b"
KINDS: dict[str, dict[str, Any]] = {
    "chat/completions": {"messages": [{"role": "user", "content": "Hello?"}]},
    "responses": {"input": "Hello?"},
    "messages": {"messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 50},
}
# litellm's own models make pydantic warn when they are first used.
pytestmark = pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning")


@asynccontextmanager
async def keyed(upstream: FakeUpstream, url: str, **experiment: Any) -> AsyncIterator[Whole]:
    """A gateway called with the key `web`, which also knows `app` and the administrator's `ops`."""
    for model in ("plain", "warm"):
        upstream.on(model, good("Hello."))
    keys = {name: {"hash": hash_key(name)} for name in ("web", "app")}
    config = gateway_config(
        api_base=upstream.api_base,
        auth={"keys": keys, "admin_keys": [hash_key("ops")]},
        **{"promotion": {"min_comparisons": 10_000}, **experiment},
    )
    async with whole_gateway(config, quick_settings(url), key="web") as gateway:
        yield gateway


@pytest.fixture
async def gateway(upstream: FakeUpstream, embedded_url: str) -> AsyncIterator[Whole]:
    """Every request takes part."""
    async with keyed(upstream, embedded_url) as found:
        yield found


async def ask(
    gateway: Whole, kind: str = "chat/completions", *, stream: bool = False, own_id: str | None = None
) -> Reply:
    """One answer, asked for under an id of the caller's own or without one."""
    headers = {"x-request-id": own_id} if own_id else {}
    body = {"model": "support", "stream": stream, **KINDS[kind]}
    reply = await gateway.call("POST", f"/v1/{kind}", body, headers=headers)
    assert reply.status == 200, reply.body
    return reply


async def thumb(gateway: Whole, named: str, *, value: bool = True) -> Reply:
    """Feedback on what is named so."""
    return await gateway.feed(id=named, signal="thumb", value=value)


@pytest.mark.parametrize("own_id", [None, MINE], ids=["the gateway's", "the caller's"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_requests_id_stands_for_its_answer(
    gateway: Whole, kind: str, stream: bool, own_id: str | None
) -> None:
    """Every kind of request can be reported by its id, and an answer reported by both ids counts once."""
    reply = await ask(gateway, kind, stream=stream, own_id=own_id)
    request_id, response_id = reply.headers["x-request-id"], reply.headers["x-llmpo-response-id"]
    assert response_id.encode() in reply.body
    assert own_id in (None, request_id)

    first = await thumb(gateway, request_id)
    again = await thumb(gateway, response_id)

    assert (first.status, first.json["status"]) == (200, "pending"), first.body
    assert again.json["status"] == "duplicate"


async def test_the_official_clients_show_an_id_that_can_be_reported(gateway: Whole) -> None:
    """The id is the clients' `_request_id`, which frameworks keep when they drop other fields."""
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="web") as client:
        chat = await client.chat.completions.create(model="support", **KINDS["chat/completions"])
        response = await client.responses.create(model="support", **KINDS["responses"])
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="web") as claude:
        message = await claude.messages.create(model="support", **KINDS["messages"])
    for named in (chat._request_id, response._request_id, message._request_id):
        assert named is not None
        assert (await thumb(gateway, named)).json["status"] in {"pending", "counted"}


async def test_a_request_without_a_part_is_not_counted(upstream: FakeUpstream, embedded_url: str) -> None:
    """Request ids and response ids do not show whether an answer takes part."""
    async with keyed(upstream, embedded_url, traffic={"share": 0.0}) as gateway:
        for own_id in (None, MINE):
            reply = await ask(gateway, own_id=own_id)
            told = await thumb(gateway, reply.headers["x-request-id"])
            assert (told.status, told.json["reason"]) == (200, "unassigned_id")


@pytest.mark.parametrize("own_id", [None, MINE])
async def test_the_key_rules_are_those_of_the_responses_id(gateway: Whole, own_id: str | None) -> None:
    """Another client key may not report, an administrator's may."""
    named = (await ask(gateway, own_id=own_id)).headers["x-request-id"]
    foreign = await thumb(replace(gateway, key="app"), named)
    assert (foreign.status, foreign.code) == (404, "foreign_id")
    assert (await thumb(replace(gateway, key="ops"), named)).json["status"] == "pending"


async def test_keys_that_choose_the_same_id_do_not_meet(gateway: Whole) -> None:
    """Each key reports on its own answer; only for an administrator is the id ambiguous."""
    other = replace(gateway, key="app")
    await ask(gateway, own_id=MINE)
    await ask(other, own_id=MINE)
    assert (await thumb(replace(gateway, key="ops"), MINE)).code == "ambiguous_id"
    for each in (gateway, other):
        assert (await thumb(each, MINE)).status == 200


async def test_an_id_of_several_answers_stands_for_none(gateway: Whole) -> None:
    """A proxy may give one id to all that an application asks on behalf of one request of its own."""
    replies = [await ask(gateway, own_id=MINE) for _ in range(3)]
    told = await thumb(gateway, MINE)
    assert (told.status, told.code) == (422, "ambiguous_id")
    for reply in replies:
        assert (await thumb(gateway, reply.headers["x-llmpo-response-id"])).status == 200


async def test_what_stands_for_no_answer_is_refused(gateway: Whole) -> None:
    """An id that no request had, one that was changed, and a plain model's, which has no feedback."""
    request_id = (await ask(gateway)).headers["x-request-id"]
    plain = await gateway.ask("plain")
    assert "x-llmpo-response-id" not in plain.headers
    cases = {
        "never-sent": (400, "malformed_id"),
        request_id.partition(".")[0]: (400, "malformed_id"),
        plain.headers["x-request-id"]: (400, "malformed_id"),
        request_id[:-1] + ("A" if request_id[-1] != "A" else "Q"): (400, "forged_id"),
    }
    for named, expected in cases.items():
        told = await thumb(gateway, named)
        assert (told.status, told.code) == expected, named


async def test_the_store_does_not_learn_request_ids(gateway: Whole, embedded_url: str) -> None:
    """The store has only keyed hashes of request ids, which expire with the window of feedback."""
    await ask(gateway, own_id=MINE)
    assert (await thumb(gateway, MINE)).status == 200
    redis = connect(embedded_url)
    try:
        kept = [key async for key in redis.scan_iter("llmpo:answer:*")]
        assert len(kept) == 2  # for the key, and for those who may report on any
        for key in kept:
            assert MINE not in key + str(await redis.get(key))
            assert 0 < await redis.ttl(key) <= 24 * 3600
    finally:
        await redis.aclose()


async def test_without_the_store_only_the_note_is_lost(upstream: FakeUpstream) -> None:
    """Answers go out as ever, and say their own id; feedback is honest about the store."""
    async with keyed(upstream, "redis://127.0.0.1:9") as gateway:
        reply = await ask(gateway, own_id=MINE)
        assert reply.headers["x-request-id"] == MINE
        assert reply.headers["x-llmpo-response-id"] in reply.body.decode()
        told = await thumb(gateway, MINE)
        assert (told.status, told.code) == (503, "store_unavailable")


class AwayStore:
    """A store that does not answer until told to."""

    def __init__(self) -> None:
        self.is_away = True
        self.kept: list[AnswerName] = []

    async def keep(self, names: Sequence[AnswerName]) -> None:
        """Keep them, where it is there."""
        if self.is_away:
            raise StoreUnavailableError("away")
        self.kept += names

    async def find(self, digest: str) -> str | None:
        """What is kept."""
        return next((name.response_id for name in self.kept if name.digest == digest), None)


async def test_notes_that_wait_are_bounded() -> None:
    """Waiting notes are bounded: surplus notes are lost, and later ones are written again."""
    store = AwayStore()
    notes = AnswerNotes(store, lambda holder, request_id: [f"{holder}/{request_id}"])
    for number in range(2 * MOST_NOTES):
        notes.note(None, f"r{number}", "chatcmpl-x", 60.0)
    store.is_away = False
    await notes.write()
    assert len(store.kept) == MOST_NOTES
    notes.note(None, "late", "chatcmpl-late", 0.2)
    assert await notes.find(None, "late") == "chatcmpl-late"
    assert store.kept[-1].keep_seconds == 1


async def test_a_note_is_found_after_the_sealing_key_changed() -> None:
    """The previous key finds a note as long as the gateway knows that key."""
    old, new = key_from_secret("a secret of before"), key_from_secret("a secret of today")
    holder = SealingKeyHolder(SealingKeys(old))
    ids, store = ResponseIds(holder, list), AwayStore()
    store.is_away = False
    notes = AnswerNotes(store, ids.request_digests)
    notes.note("web", MINE, "chatcmpl-x", 60.0)
    await notes.write()
    holder.current = SealingKeys(new, (old,))
    assert await notes.find("web", MINE) == "chatcmpl-x"
    assert await notes.find("app", MINE) is None


async def test_a_batch_tells_clashing_names_apart(embedded_url: str) -> None:
    """The same answer noted twice is no clash; another one under its name is."""
    redis = connect(embedded_url)
    names = AnswerNameStore(redis, timeout_seconds=PATIENCE_SECONDS)
    try:
        await names.keep([AnswerName("a", "one", 60), AnswerName("b", "two", 60), AnswerName("a", "one", 60)])
        assert [await names.find(digest) for digest in "abc"] == ["one", "two", None]
        await names.keep(
            [AnswerName("a", "three", 60), AnswerName("c", "four", 60), AnswerName("c", "five", 60)]
        )
        assert [await names.find(digest) for digest in "abc"] == [SEVERAL, "two", SEVERAL]
    finally:
        await redis.aclose()
