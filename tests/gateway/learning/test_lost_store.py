"""A store that went back in time, lost keys or takes no writes is named, and held until it is accepted."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.experiments import store_history
from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.sealing_key import SealingKeyHolder, SealingKeys, key_from_secret
from gateway.experiments.store_history import Loss, StoreHistory
from gateway.learning import store_watch
from gateway.learning.refreshing import Refresher
from gateway.learning.store_watch import StoreWatch
from gateway.running import store_health
from gateway.running.store_breaker import StoreBreaker
from gateway.running.store_health import StoreHealth
from policy_store.connect import connect
from policy_store.names import Names
from policy_store.store import PolicyStore
from policy_store.vitals import StoreVitals
from tests.gateway.building import NAME, catalogue, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Reply, Whole, eventually, quick_settings, whole_gateway
from tests.pace import impatient
from tests.servers import EmbeddedServer, RedisServer

SIDE_BY_SIDE = {"share": 1.0, "collect": "side_by_side"}
ENDLESS = {"min_comparisons": 100_000}


@pytest.fixture(autouse=True)
def _quick_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_watch, "PULSE_SECONDS", 0.02)


@pytest.fixture(autouse=True)
def _loggers_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (store_watch, store_health, store_history):
        monkeypatch.setattr(module, "_log", structlog.get_logger())


@pytest.fixture
async def redis(embedded_url: str) -> AsyncIterator[Redis]:
    """An operator's own connection."""
    client = connect(embedded_url, timeout_seconds=impatient(5))
    yield client
    await client.aclose()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server whose data can be copied and put back."""
    server = RedisServer(tmp_path / "store")
    server.start()
    yield server
    server.stop()


async def rated(gateway: Whole) -> Reply:
    """One comparison, with feedback that the first choice is better."""
    return await gateway.feed(id=(await gateway.compare()).json["id"], preferred=0)


async def state(gateway: Whole) -> str:
    """What `/readyz` says of the store."""
    reply = await gateway.get("/readyz")
    assert reply.status == 200
    return str(reply.json["store"])


async def becomes(gateway: Whole, word: str) -> None:
    """Return once `/readyz` says so of the store."""

    async def is_so() -> bool:
        return await state(gateway) == word

    await eventually(is_so, f"the store {word}")


def events(lines: list[Any], *names: str) -> list[str]:
    """Which of these events were logged, in order."""
    return [line["event"] for line in lines if line["event"] in names]


async def test_refused_writes_are_seen_without_any_feedback(
    upstream: FakeUpstream, embedded_url: str, redis: Redis
) -> None:
    """Users are served, the replica stays ready and says what the server said, once in the log."""
    config = gateway_config(api_base=upstream.api_base, traffic=SIDE_BY_SIDE, promotion=ENDLESS)
    with capture_logs() as lines:
        async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
            await becomes(gateway, "up")
            assert await gateway.metric("llmpo_store_writable") == 1
            await redis.config_set("maxmemory", 1)
            try:
                await becomes(gateway, "not_writable")
                assert (await gateway.get("/readyz")).json["store_detail"].count("OOM") == 1
                assert await gateway.metric("llmpo_store_writable") == 0
                assert await gateway.metric("llmpo_store_up") == 1
                reply = await rated(gateway)
                assert (reply.status, reply.code) == (503, "store_unavailable")
            finally:
                await redis.config_set("maxmemory", 0)
            await becomes(gateway, "up")
            assert (await rated(gateway)).status == 200
    told = events(lines, "store_not_writable", "store_writable", "store_unreachable", "store_back")
    assert told == ["store_not_writable", "store_writable"]


async def test_writes_that_are_held_back_are_seen(
    upstream: FakeUpstream, embedded_url: str, redis: Redis
) -> None:
    """`CLIENT PAUSE WRITE` answers reads and no write: neither up nor away."""
    config = gateway_config(api_base=upstream.api_base, promotion=ENDLESS)
    settings = quick_settings(embedded_url, store_timeout_seconds=impatient(0.3))
    async with whole_gateway(config, settings) as gateway:
        await becomes(gateway, "up")
        await redis.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        await becomes(gateway, "not_writable")
        assert await gateway.metric("llmpo_store_up") == 1
        await redis.execute_command("CLIENT", "UNPAUSE")
        await becomes(gateway, "up")


async def test_a_restored_copy_undoes_no_promotion(
    upstream: FakeUpstream, own_server: RedisServer, tmp_path: Path
) -> None:
    """What is promoted goes on being served; feedback waits, and an operator's word begins from the copy."""
    config = gateway_config(
        api_base=upstream.api_base, traffic=SIDE_BY_SIDE, promotion={"min_comparisons": 5}
    )
    copy, data = tmp_path / "copy", tmp_path / "store"
    with capture_logs() as lines:
        async with whole_gateway(config, quick_settings(own_server.url)) as gateway:
            await gateway.planned()
            before = (await gateway.compare()).json["id"]
            own_server.stop()
            shutil.copytree(data, copy)
            own_server.start()
            await becomes(gateway, "up")
            await eventually(lambda: _warm_is_promoted(gateway), "the promotion")

            own_server.stop()
            shutil.rmtree(data)
            shutil.copytree(copy, data)
            own_server.start()
            await becomes(gateway, "held")

            assert await _warm_alone_answers(gateway)
            reply = await gateway.feed(id=before, preferred=0)
            assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "store_held", "60")
            assert await gateway.metric("llmpo_store_held", loss="older") == 1
            assert await gateway.metric("llmpo_feedback_discarded_total", reason="store_held") == 1
            assert (await gateway.experiment())["comparisons"] == 0

            accepted = await gateway.call("POST", "/v1/store/accept")
            assert (accepted.status, accepted.json["store"], accepted.json["epoch"]) == (200, "up", 2)
            assert (await gateway.feed(id=before, preferred=0)).json["status"] == "counted"
            assert (await gateway.experiment())["state"] == "running"
    assert events(lines, "store_went_back", "store_accepted") == ["store_went_back", "store_accepted"]


async def _warm_is_promoted(gateway: Whole) -> bool:
    answer = (await gateway.compare()).json
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    if len(texts) == 2:
        await gateway.feed(id=answer["id"], preferred=texts.index("I am warm."))
        return False
    return texts == ["I am warm."]


async def _warm_alone_answers(gateway: Whole) -> bool:
    choices = (await gateway.compare()).json["choices"]
    return [choice["message"]["content"] for choice in choices] == ["I am warm."]


LOSSES: dict[str, tuple[Callable[[Redis], Awaitable[Any]], str]] = {
    "everything": (lambda redis: redis.flushall(), "keys_gone"),
    "the experiment": (lambda redis: redis.delete(Names().experiment(NAME).control), "keys_gone"),
    "what was counted": (
        lambda redis: redis.delete(Names().experiment(NAME).generation(1).counts),
        "keys_gone",
    ),
    "one comparison": (
        lambda redis: redis.hincrby(Names().experiment(NAME).generation(1).counts, "comparisons", -1),
        "older",
    ),
    "a revision": (lambda redis: redis.hincrby(Names().experiment(NAME).control, "revision", -9), "older"),
    "the sealing key": (lambda redis: redis.delete(Names().token_key), "keys_gone"),
    "its own sealing key": (lambda redis: redis.set(Names().token_key, "ab" * 32), "another_sealing_key"),
    "its identity": (lambda redis: redis.hset(Names().identity, "id", "another"), "another_store"),
    "an epoch": (lambda redis: redis.hset(Names().identity, "epoch", 0), "older"),
    "a minute": (lambda redis: redis.hset(Names().identity, "written_at", 1), "older"),
}


@pytest.mark.parametrize("lost", LOSSES)
async def test_whatever_is_lost_holds_feedback_until_accepted(
    lost: str, upstream: FakeUpstream, embedded_url: str, redis: Redis
) -> None:
    """The replica that saw the loss and later ones hold feedback; old ids open again once it is accepted."""
    lose, loss = LOSSES[lost]
    config = gateway_config(api_base=upstream.api_base, traffic=SIDE_BY_SIDE, promotion=ENDLESS)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        for _ in range(2):
            await rated(gateway)
        unrated = (await gateway.compare()).json["id"]
        await eventually(lambda: _counted(gateway, 2), "both comparisons counted")
        await lose(redis)
        await becomes(gateway, "held")
        assert await gateway.metric("llmpo_store_held", loss=loss) == 1
        assert (await gateway.feed(id=unrated, preferred=0)).code == "store_held"

        async with whole_gateway(config, quick_settings(embedded_url)) as fresh:
            await becomes(fresh, "held")
            assert (await fresh.ask()).status == 200
            assert (await fresh.call("POST", "/v1/store/accept")).status == 200
            await becomes(fresh, "up")
        await becomes(gateway, "up")
        assert (await gateway.feed(id=unrated, preferred=0)).json["status"] in {"counted", "duplicate"}


async def test_a_store_whose_clock_was_set_back_has_lost_nothing(embedded_url: str, redis: Redis) -> None:
    """Nor has a server with a slower clock that took over: what replicas saw written stays the latest."""
    client = connect(embedded_url, timeout_seconds=impatient(5))
    vitals, history = StoreVitals(client, timeout_seconds=impatient(5)), StoreHistory()
    history.saw(await vitals.pulse(may_begin=True))
    before = (time.time() + 3600) * 1e6
    await redis.hset(Names().identity, "written_at", f"{before:.0f}")
    for _ in range(3):
        pulse = await vitals.pulse(may_begin=False)
        assert history.is_ahead_of(pulse) is None
        history.saw(pulse)
    assert pulse.written_at == pytest.approx(before / 1e6)
    await client.aclose()


@dataclass
class Replica:
    """What one replica knows of the store."""

    history: StoreHistory
    refresher: Refresher
    vitals: StoreVitals
    watch: StoreWatch


@pytest.fixture
async def replica(embedded_url: str) -> AsyncIterator[Replica]:
    """A replica that has looked at the store once."""
    client = connect(embedded_url, timeout_seconds=impatient(5))
    history, health = StoreHistory(), StoreHealth()
    refresher = Refresher(
        PolicyStore(client, timeout_seconds=impatient(5)),
        CatalogueHolder(catalogue()),
        health,
        history,
        interval_seconds=60,
    )
    vitals = StoreVitals(client, timeout_seconds=impatient(5))
    watch = StoreWatch(vitals, history, health, StoreBreaker(lambda: 0.0))
    sealed = SealingKeyHolder(SealingKeys(key_from_secret("s" * 32)))
    watch.look_after(refresher, refresher.holder, sealed)
    await vitals.put_sealing_key(sealed.current.newest)
    await watch.look()
    await refresher.refresh()
    yield Replica(history, refresher, vitals, watch)
    await client.aclose()


async def test_a_look_while_a_loss_is_accepted_finds_no_new_loss(
    replica: Replica, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepting asks the store several things, and experiments are looked at in between."""
    await redis.flushall()
    await replica.watch.look()
    assert replica.history.held is Loss.KEYS_GONE
    asked = replica.vitals.sealing_key

    async def asked_while_another_looks() -> bytes | None:
        await replica.refresher.refresh()
        return await asked()

    monkeypatch.setattr(replica.vitals, "sealing_key", asked_while_another_looks)
    await replica.watch.accept("ops")
    assert replica.history.held is None


async def test_counts_that_later_acknowledgements_overtake_are_no_loss(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that counts much feedback has heard of later comparisons before the look has its answer."""
    asked = replica.vitals.comparisons_of_each
    acknowledged = iter((1, 2, 3))

    async def asked_while_feedback_is_counted(runs: Sequence[tuple[str, int]]) -> list[int]:
        found = await asked(runs)
        replica.history.saw_comparisons(NAME, 1, next(acknowledged))
        return found

    monkeypatch.setattr(replica.vitals, "comparisons_of_each", asked_while_feedback_is_counted)
    await replica.watch.look()
    assert replica.history.held is None

    await replica.watch.look()  # one comparison was acknowledged before this look, and the store has none
    assert replica.history.held is Loss.KEYS_GONE


async def _counted(gateway: Whole, comparisons: int) -> bool:
    return bool((await gateway.experiment())["comparisons"] == comparisons)


async def test_a_number_given_again_credits_nothing_to_other_policies(
    upstream: FakeUpstream, embedded_url: str, redis: Redis
) -> None:
    """Generation 1 of an emptied store is another definition's; votes on what it was before are refused."""
    before = gateway_config(api_base=upstream.api_base, traffic=SIDE_BY_SIDE, promotion=ENDLESS)
    after = gateway_config(
        api_base=upstream.api_base,
        traffic=SIDE_BY_SIDE,
        promotion=ENDLESS,
        policies=("plain", "bold"),
    )
    secret = {"token_secret": "s" * 40}
    async with whole_gateway(before, quick_settings(embedded_url, **secret)) as gateway:
        await gateway.planned()
        response_id = (await gateway.compare()).json["id"]
    await redis.flushall()

    async with whole_gateway(after, quick_settings(embedded_url, **secret)) as gateway:
        await gateway.planned()
        reply = await gateway.feed(id=response_id, preferred=0)
        assert (reply.status, reply.code) == (404, "unknown_experiment")
        found = await gateway.experiment()
    assert (found["generation"], found["comparisons"]) == (1, 0)


@pytest.mark.parametrize(
    ("settings", "event", "series"),
    [
        ({"maxmemory-policy": "allkeys-lru"}, "store_may_evict", ("llmpo_store_evicts", 1)),
        ({"appendonly": "no", "save": ""}, "store_keeps_nothing", ("llmpo_store_persists", 0)),
        ({"maxmemory-policy": "noeviction", "appendonly": "yes"}, None, ("llmpo_store_persists", 1)),
    ],
)
async def test_a_server_that_may_lose_things_is_told_at_the_start(
    settings: dict[str, str],
    event: str | None,
    series: tuple[str, float],
    upstream: FakeUpstream,
    own_server: RedisServer,
) -> None:
    """A warning at the start names a server that may lose data."""
    client = connect(own_server.url, timeout_seconds=impatient(5))
    for name, value in settings.items():
        await client.config_set(name, value)
    await client.aclose()
    with capture_logs() as lines:
        async with whole_gateway(
            gateway_config(api_base=upstream.api_base), quick_settings(own_server.url)
        ) as gateway:
            assert await gateway.metric(series[0]) == series[1]
    assert events(lines, "store_may_evict", "store_keeps_nothing") == ([event] if event else [])


@pytest.mark.parametrize(
    ("denied", "unknown"), [(["-config"], None), (["-config", "-info"], ["evicts", "persists"])]
)
async def test_a_server_that_tells_nothing_is_unknown(
    denied: list[str],
    unknown: list[str] | None,
    upstream: FakeUpstream,
    embedded_url: str,
    redis: Redis,
    embedded_server: EmbeddedServer,
) -> None:
    """INFO is asked if CONFIG is not allowed; if neither is, the settings are unknown."""
    await redis.acl_setuser("default", enabled=True, reset=False, commands=denied)
    try:
        with capture_logs() as lines:
            async with whole_gateway(
                gateway_config(api_base=upstream.api_base), quick_settings(embedded_url)
            ) as gateway:
                assert await state(gateway) == "up"
    finally:
        await redis.acl_setuser("default", enabled=True, reset=False, categories=["+@all"])
    found = [line["unknown"] for line in lines if line["event"] == "store_settings_unknown"]
    assert found == ([unknown] if unknown else [])


@pytest.mark.parametrize("lost", ["everything", "its identity", "an epoch", "a minute"])
async def test_a_replica_that_was_down_meanwhile_finds_out_as_well(
    lost: str, upstream: FakeUpstream, embedded_url: str, redis: Redis, tmp_path: Path
) -> None:
    """A replica keeps on disk which store it saw, and how far the store was."""
    config = gateway_config(api_base=upstream.api_base, traffic=SIDE_BY_SIDE, promotion=ENDLESS)
    settings = quick_settings(embedded_url, data_dir=tmp_path, kept_keys_seconds=60)
    async with whole_gateway(config, settings) as gateway:
        await becomes(gateway, "up")
    async with whole_gateway(config, settings) as gateway:
        await becomes(gateway, "up")
    lose, _ = LOSSES[lost]
    await lose(redis)

    async with whole_gateway(config, settings) as gateway:
        await becomes(gateway, "held")
        assert (await gateway.ask()).status == 200
        assert (await gateway.call("POST", "/v1/store/accept")).status == 200
        await becomes(gateway, "up")
        await gateway.planned()
