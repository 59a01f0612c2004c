"""Webhooks, from a move to a receiver that checks the signature."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from gateway.cli import main
from gateway.config.gateway_file import GatewayConfig
from gateway.config.webhooks import WebhookSpec
from gateway.experiments.catalogue import catalogue_of
from gateway.notifying import delivering
from gateway.notifying.sending import Sender
from gateway.settings import Settings
from policy_store.connect import connect
from policy_store.errors import NewerVersionError
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, config_fields
from tests.gateway.notifying.receiver import OTHER, SECRET, Receiver, answers, never, receiving
from tests.gateway.process import Served
from tests.gateway.whole import Whole, quick_settings, whole_gateway
from tests.policy_store.test_tls import Authority
from tests.servers import RedisServer


def fields_with(*webhooks: dict[str, Any]) -> dict[str, Any]:
    """A file with these webhooks."""
    return {**config_fields(), "webhooks": list(webhooks)}


def hook(receiver: Receiver, **changes: Any) -> dict[str, Any]:
    """The webhook `ops`, which gets the moves by hand."""
    kinds = ["paused", "unpaused", "stopped"]
    return {"name": "ops", "url": receiver.url, "secret": SECRET, "events": kinds, **changes}


@pytest.fixture
def settings(embedded_url: str) -> Settings:
    """Settings of a gateway on the shared store."""
    return quick_settings(embedded_url)


@pytest.fixture
def start(settings: Settings) -> Callable[..., Any]:
    """Starts a gateway with webhooks."""
    return lambda *webhooks: whole_gateway(GatewayConfig.model_validate(fields_with(*webhooks)), settings)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that takes everything."""
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is sent again at once, three times."""
    monkeypatch.setattr(delivering, "WAITS_SECONDS", (0.0, 0.0, 0.0))


async def move(gateway: Whole, verb: str, name: str = NAME) -> None:
    """A person's move, which is an event."""
    reply = await gateway.call("POST", f"/v1/experiments/{name}/{verb}", {"reason": verb})
    assert reply.status == 200, reply.body


async def shown(gateway: Whole) -> dict[str, Any]:
    """What the API says of the first webhook."""
    found: dict[str, Any] = (await gateway.get("/v1/webhooks")).json["data"][0]
    return found


async def standing(gateway: Whole, **wanted: Any) -> None:
    """Return once the API says that of the first webhook."""

    async def is_so() -> bool:
        return wanted.items() <= (await shown(gateway)).items()

    await gateway.eventually(is_so, f"{wanted} of the webhook")


async def test_an_event_is_told_once_with_its_id_and_a_right_signature(
    start: Callable[..., Any], receiver: Receiver
) -> None:
    """The receiver checks it with the library; the API shows the same event under the same id."""
    async with start(hook(receiver)) as gateway:
        await move(gateway, "pause")
        await standing(gateway, delivered=1, waiting=0)
        event = (await gateway.get(f"/v1/experiments/{NAME}/events?limit=1")).json["data"][0]
        assert await gateway.metric("llmpo_webhook_deliveries_total", outcome="delivered", webhook="ops") == 1

    (told,) = receiver.told
    assert (told.id, told.said["type"]) == (event["id"], "experiment.paused")
    assert told.said["data"] == {**event, "experiment": NAME}
    assert told.said["timestamp"].endswith("Z")


async def test_each_webhook_is_told_what_it_asks_for(embedded_url: str, receiver: Receiver) -> None:
    """Kinds and experiments; without either, everything from the start of the experiments on."""
    async with receiving() as all_of_it:
        narrow = hook(receiver, events=["paused"], experiments=["sales"])
        fields = fields_with(narrow, {"url": all_of_it.url, "secret": SECRET})
        fields["experiments"]["sales"] = fields["experiments"][NAME]
        config = GatewayConfig.model_validate(fields)
        async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
            for verb, name in (("pause", NAME), ("pause", "sales"), ("resume", "sales")):
                await move(gateway, verb, name)
            await gateway.eventually(lambda: len(all_of_it.told) == 5, "five events")
            await standing(gateway, waiting=0)
    assert [told.said["data"]["experiment"] for told in receiver.told] == ["sales"]
    assert all_of_it.kinds.count("experiment.started") == 2


async def test_an_experiment_whose_events_cannot_be_read_keeps_no_other_waiting(
    embedded_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Webhooks and streams get the events of those after it, and its own once they can be read."""
    page = PolicyStore.events_page

    async def unreadable(store: PolicyStore, name: str, **how: Any) -> Any:
        if name == NAME and "count" in how:
            raise NewerVersionError("written by a newer version")
        return await page(store, name, **how)

    fields = fields_with(hook(receiver))
    fields["experiments"]["sales"] = fields["experiments"][NAME]
    config = GatewayConfig.model_validate(fields)
    with capture_logs() as lines:
        async with (
            whole_gateway(config, quick_settings(embedded_url)) as gateway,
            event_stream(gateway, NAME) as own,
            event_stream(gateway, "sales") as other,
        ):
            monkeypatch.setattr(PolicyStore, "events_page", unreadable)
            await move(gateway, "pause", NAME)
            await move(gateway, "pause", "sales")
            await gateway.eventually(lambda: receiver.kinds == ["experiment.paused"], "the other one's event")
            assert await told_next(other) == "paused"
            monkeypatch.setattr(PolicyStore, "events_page", page)
            await gateway.eventually(lambda: len(receiver.told) == 2, "its own event")
            assert await told_next(own) == "paused"
    assert [told.said["data"]["experiment"] for told in receiver.told] == ["sales", NAME]
    faults = [line["experiment"] for line in lines if line["event"] == "events_unreadable"]
    assert faults == [NAME, NAME]  # the webhook's reader and that of streams


async def told_next(lines: aiohttp.StreamReader) -> str:
    """The kind of the next event of a stream."""
    async for line in lines:
        if line.startswith(b"event: "):
            return line.removeprefix(b"event: ").decode().strip()
    raise AssertionError("The stream ended.")


@asynccontextmanager
async def event_stream(gateway: Whole, name: str) -> AsyncIterator[aiohttp.StreamReader]:
    """What an open stream of an experiment's events sends."""
    url = f"{gateway.url}/v1/experiments/{name}/events"
    async with gateway.session.get(url, headers={"accept": "text/event-stream"}) as answer:
        assert answer.status == 200
        yield answer.content


async def test_receivers_know_either_secret_while_it_changes(
    start: Callable[..., Any], receiver: Receiver
) -> None:
    """Both secrets sign, so receivers may change theirs before or after the gateway does."""
    async with receiving(secret=OTHER) as newer:
        webhooks = [
            hook(each, name=name, secret=OTHER, previous_secret=SECRET)
            for name, each in (("old", receiver), ("new", newer))
        ]
        async with start(*webhooks) as gateway:
            await move(gateway, "pause")
            await gateway.eventually(lambda: len(newer.told) == len(receiver.told) == 1, "both told")


@pytest.mark.usefixtures("_at_once")
async def test_what_fails_is_sent_again_alike(start: Callable[..., Any]) -> None:
    """A failed event is sent again with the same id and bytes, and redirects are not followed."""
    async with receiving() as elsewhere:
        failures = [answers(500), answers(302, location=elsewhere.url), answers(404)]
        async with receiving(*failures, answers(204)) as receiver, start(hook(receiver)) as gateway:
            await move(gateway, "pause")
            await standing(gateway, delivered=1, waiting=0, dead_letters=0)
            assert len(receiver.told) == 4
            assert len({(told.id, told.body) for told in receiver.told}) == 1
        assert elsewhere.told == []


async def test_an_unexpected_fault_is_logged_and_the_message_sent_again(
    start: Callable[..., Any], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the gateway's own code is not silent, and the webhook goes on."""
    send, faults = Sender.send, [RuntimeError("a fault")]

    async def faulty(sender: Sender, *args: Any, **options: Any) -> Any:
        if faults:
            raise faults.pop()
        return await send(sender, *args, **options)

    monkeypatch.setattr(Sender, "send", faulty)
    with capture_logs() as lines:
        async with start(hook(receiver)) as gateway:
            await move(gateway, "pause")
            await standing(gateway, delivered=1, waiting=0)
    assert [line["webhook"] for line in lines if line["event"] == "webhook_round_failed"] == ["ops"]
    assert len(receiver.told) == 1


def test_waits_grow_over_days() -> None:
    """A receiver that is away for a weekend misses nothing."""
    waits = delivering.WAITS_SECONDS
    assert list(waits) == sorted(waits)
    assert 3 * 24 * 3600 < sum(waits) < 4 * 24 * 3600


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ({}, 3, 7),
        ({"retry_after": "600"}, 590, 601),
        ({"retry_after": "Fri, 31 Dec 2100 23:59:59 GMT"}, 86_000, 86_401),
        ({"retry_after": "soon"}, 3, 7),
    ],
)
async def test_receivers_may_ask_for_longer_waits(
    start: Callable[..., Any], settings: Settings, asked: dict[str, str], least: float, most: float
) -> None:
    """`Retry-After` may be seconds or a date, up to a day, and the store keeps the next attempt's time."""
    async with receiving(answers(503, **asked)) as receiver, start(hook(receiver)) as gateway:
        await move(gateway, "pause")
        await gateway.eventually(lambda: receiver.told, "a try")
        redis = connect(str(settings.redis_url))
        due: list[float] = []

        async def is_put_off() -> bool:
            now, _ = await redis.time()
            scores = await redis.zrange(redis.names.webhook("ops").due, 0, -1, withscores=True)
            due[:] = [score / 1e6 - now for _, score in scores if score / 1e6 > now + 1]
            return bool(due)

        await gateway.eventually(is_put_off, "the next try to be put off")
        await redis.aclose()
    assert least <= due[0] <= most


@pytest.mark.usefixtures("_at_once")
async def test_what_cannot_be_delivered_is_kept_and_sent_again_on_request(
    start: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line lists dead letters with their reasons and sends them again under the same ids."""
    async with receiving(*[answers(500)] * 4, answers(200)) as receiver, start(hook(receiver)) as gateway:
        where = ("--url", gateway.url)
        await move(gateway, "pause")
        await standing(gateway, dead_letters=1, waiting=0, delivered=0)
        assert await gateway.metric("llmpo_webhook_deliveries_total", outcome="given_up") == 1
        await gateway.eventually(lambda: _dead_letters(gateway), "the dead letter on the metrics")
        assert await asyncio.to_thread(main, ["webhooks", "dead-letters", "ops", *where]) == 0
        said = capsys.readouterr().out
        assert receiver.told[0].id in said
        assert "support paused: answered 500 (sent 4 times)" in said

        assert await asyncio.to_thread(main, ["webhooks", "replay", "ops", *where]) == 0
        await standing(gateway, delivered=1, dead_letters=0)
        assert await asyncio.to_thread(main, ["webhooks", "list", *where]) == 0
        said = capsys.readouterr().out
        assert f"http://127.0.0.1:{receiver.port}" in said
        assert "s3cr3t" not in said
    assert len({told.id for told in receiver.told}) == 1


async def test_a_receiver_that_is_gone_is_left_alone(start: Callable[..., Any]) -> None:
    """A receiver that answered 410 gets nothing until a replay sends all that it missed."""
    async with receiving(answers(410), answers(200)) as receiver, start(hook(receiver)) as gateway:
        await move(gateway, "pause")
        await standing(gateway, state="gone", dead_letters=1)
        await move(gateway, "resume")
        await standing(gateway, dead_letters=2, waiting=0)
        assert len(receiver.told) == 1

        reply = await gateway.call("POST", "/v1/webhooks/ops/replay", {})
        assert reply.json == {"replayed": 2}
        await standing(gateway, state="active", delivered=2)
    assert set(receiver.kinds[1:]) == {"experiment.paused", "experiment.unpaused"}


async def test_certificates_are_checked(tmp_path: Path) -> None:
    """A receiver for which nobody vouches is told nothing."""
    certificate, key = Authority(tmp_path / "ca", "nobody").vouch("server")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    sender = Sender(time.time)
    async with receiving(tls=tls) as receiver:
        receipt = await sender.send(WebhookSpec.model_validate(hook(receiver)), "evt_1", "{}")
    await sender.aclose()
    assert (receipt.status, receipt.reason) == (None, "has no trusted certificate")
    assert receiver.told == []


async def test_a_slow_receiver_holds_up_no_other(start: Callable[..., Any], receiver: Receiver) -> None:
    """A slow receiver delays no other webhook, no request and no move."""
    async with receiving(never) as slow, start(hook(slow, name="slow"), hook(receiver)) as gateway:
        for verb in ("pause", "resume") * 3:
            await move(gateway, verb)
        await gateway.eventually(lambda: len(receiver.told) == 6, "all six told")
        assert len(slow.told) < 7


async def test_a_test_is_told_at_once_and_its_failure_shown(
    start: Callable[..., Any], receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """A test event is not kept, and the body of the receiver's answer is not shown."""
    async with start(hook(receiver)) as gateway:
        where = ("--url", gateway.url)
        assert await asyncio.to_thread(main, ["webhooks", "test", "ops", *where]) == 0
        receiver.answers = [answers(403)]
        assert await asyncio.to_thread(main, ["webhooks", "test", "ops", "--json", *where]) == 1
        said = capsys.readouterr().out
        assert json.loads(said.splitlines()[-1]) == {
            "delivered": False,
            "status": 403,
            "reason": "answered 403",
        }
        assert (await shown(gateway))["dead_letters"] == 0
        unknown = await gateway.call("POST", "/v1/webhooks/none/test")
        assert (unknown.status, unknown.code) == (404, "unknown_webhook")
    assert set(receiver.kinds) == {"webhook.test"}


async def test_another_configuration_swaps_the_webhooks(
    start: Callable[..., Any], settings: Settings, receiver: Receiver
) -> None:
    """A changed address gets events from the next one on, and a removed webhook gets none."""
    async with receiving() as other, start(hook(receiver)) as gateway:
        await move(gateway, "pause")
        await standing(gateway, delivered=1)

        config = GatewayConfig.model_validate(fields_with(hook(other), hook(other, name="more")))
        gateway.app.catalogue.current = catalogue_of(config, settings, {})
        await move(gateway, "resume")
        await gateway.eventually(lambda: len(other.told) >= 2, "the other address told")

        without = GatewayConfig.model_validate(config_fields())
        gateway.app.catalogue.current = catalogue_of(without, settings, {})
        assert (await gateway.get("/v1/webhooks")).json == {"data": []}
    assert receiver.kinds == ["experiment.paused"]
    assert "experiment.unpaused" in other.kinds


async def test_a_process_that_is_killed_while_it_delivers_loses_nothing(
    tmp_path: Path, upstream: Any
) -> None:
    """Two processes on a Redis: the one that was sending is killed, the other one sends it again."""
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    run = {"LLMPO_REDIS_URL": redis.url, "LLMPO_LEASE_SECONDS": "1", "LLMPO_REFRESH_SECONDS": "0.1"}
    async with receiving(never, answers(200)) as receiver, aiohttp.ClientSession() as session:
        fields = {**config_fields(api_base=upstream.api_base), "webhooks": [hook(receiver)]}
        replicas = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            replicas.append(Served(tmp_path / name, fields, session))
        try:
            first = await replicas[0].start(**run)
            await first.eventually(lambda: _is_held(redis), "the first one to deliver")
            second = await replicas[1].start(**run)
            session.headers["content-type"] = "application/json"
            await move(second, "pause")
            await second.eventually(lambda: len(receiver.told) == 1, "a delivery under way")
            await replicas[0].kill()
            await standing(second, delivered=1, waiting=0)
            assert len(receiver.told) == 2
            assert receiver.told[0] == receiver.told[1]
            logged = replicas[0].text + replicas[1].text
            assert "s3cr3t" not in logged
            assert "a secret of the receiver" not in logged
        finally:
            for replica in replicas:
                replica.clean_up()
            redis.stop()


async def _dead_letters(gateway: Whole) -> bool:
    return await gateway.metric("llmpo_webhook_dead_letters", webhook="ops") == 1


async def _is_held(redis: RedisServer) -> bool:
    client = connect(redis.url)
    try:
        return bool(await client.exists(client.names.webhook("ops").lease))
    finally:
        await client.aclose()
