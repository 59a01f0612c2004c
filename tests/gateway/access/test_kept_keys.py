"""Keys made at run time, when the store is away at the start, goes back in time or gives no answer."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.access.api_keys import KeyRegistry
from gateway.access.kept_keys import KeptKeys
from gateway.config.access import LimitsSpec
from gateway.config.api_keys import hash_key
from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.store_history import StoreHistory
from gateway.learning import store_watch
from gateway.running.kept_file import KeptFile, kept_path
from policy_store.api_keys import ApiKeyStore, KeyBook, KeyRecord
from policy_store.connect import connect
from tests.gateway.building import catalogue, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, eventually, quick_settings, whole_gateway
from tests.pace import PATIENCE_SECONDS, impatient
from tests.servers import RedisServer

ADMIN = "boss-" + "0" * 40
NOW = 1_800_000_000.0
BOOK = KeyBook(3, (KeyRecord("ab" * 32, "app", "client", {"requests_per_minute": 5}, NOW),), {"cd" * 32: NOW})


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own."""
    server = RedisServer(tmp_path / "store")
    server.start()
    yield server
    server.thaw()
    server.stop()


def config(upstream: FakeUpstream) -> Any:
    """A gateway with one admin key."""
    return gateway_config(api_base=upstream.api_base, auth={"admin_keys": [hash_key(ADMIN)]})


def with_key(gateway: Whole, key: str) -> Whole:
    """The gateway, asked with another key."""
    return Whole(gateway.url, gateway.session, key)


def file_of(folder: Path, now: float = NOW, secret: str | None = None, longest: float = 60.0) -> KeptKeys:
    """The file of one store."""
    return KeptKeys(
        KeptFile(kept_path(folder, "keys", "redis://u:word@host/0"), secret), longest, lambda: now
    )


async def test_a_replica_started_without_its_store_answers_the_keys_it_knew(
    upstream: FakeUpstream, own_server: RedisServer, tmp_path: Path
) -> None:
    """A key that was revoked stays so, and no key is on disk in the clear."""
    settings = quick_settings(
        own_server.url, data_dir=tmp_path / "data", kept_keys_seconds=60, store_timeout_seconds=impatient(0.3)
    )
    async with whole_gateway(config(upstream), settings, key=ADMIN) as gateway:
        key = (await gateway.call("POST", "/v1/keys", {"name": "app"})).json["key"]
        gone = (await gateway.call("POST", "/v1/keys", {"name": "gone"})).json["key"]
        await gateway.call("DELETE", "/v1/keys/gone")
        (file,) = (tmp_path / "data").glob("keys-*.json")

        async def is_kept() -> bool:
            return "gone" in file.read_text() and hash_key(gone)[7:] in json.loads(file.read_text())["body"]

        await eventually(is_kept, "the keys kept")
    own_server.freeze()

    async with whole_gateway(config(upstream), settings, key=ADMIN) as gateway:
        assert (await with_key(gateway, key).ask("plain")).status == 200
        assert (await with_key(gateway, gone).ask("plain")).status == 401
    assert file.stat().st_mode & 0o777 == 0o600
    assert key not in file.read_text()


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    """Every kept key is read again."""
    file_of(tmp_path).keep(BOOK)
    assert file_of(tmp_path, NOW + 59).read() == BOOK


def test_a_clock_that_was_set_back_makes_no_file_of_the_future(tmp_path: Path) -> None:
    """A replica that restarts without its store would otherwise not believe the file for hours."""
    kept = file_of(tmp_path)
    kept.keep(BOOK)
    kept.clock = lambda: NOW - 7200
    kept.keep(BOOK)
    assert file_of(tmp_path, NOW - 7200 + 59).read() == BOOK


@pytest.mark.parametrize("secret", [None, "s" * 32])
def test_a_file_that_is_old_damaged_or_anothers_counts_for_nothing(
    tmp_path: Path, secret: str | None
) -> None:
    """No key is better than one that was forged there, or that may have been revoked long ago."""
    kept = file_of(tmp_path, secret=secret)
    kept.keep(BOOK)
    assert file_of(tmp_path, NOW + 61, secret).read() is None
    assert file_of(tmp_path, NOW - 1, secret).read() is None
    assert file_of(tmp_path, secret=secret, longest=0).read() is None
    assert file_of(tmp_path, secret="t" * 32).read() is None
    text = kept.file.path.read_text()
    for damaged in (text[:-9], text.replace("client", "admin"), "{}", "[]", "", "null"):
        kept.file.path.write_text(damaged)
        assert file_of(tmp_path, secret=secret).read() is None


def test_a_directory_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    """Containers often have none; the keys are then known from the store alone."""
    (tmp_path / "file").write_text("")
    kept = file_of(tmp_path / "file")
    with capture_logs() as lines:
        for revision in range(3):
            kept.keep(KeyBook(revision, BOOK.records, {}))
    assert [line["event"] for line in lines] == ["kept_file_not_written"]


def test_stores_do_not_share_a_file_and_passwords_make_no_difference(tmp_path: Path) -> None:
    """One machine may run gateways for several stores."""
    paths = [
        kept_path(tmp_path, "keys", url)
        for url in ("redis://a:b@host/0", "redis://c:d@host/0", "redis://host/1", "redis://other/0", None)
    ]
    paths.append(kept_path(tmp_path, "keys", "redis://host/0", "staging:"))
    assert paths[0] == paths[1]
    assert len(set(paths)) == 5


async def test_keys_of_an_emptied_store_stay_in_force_until_it_is_accepted(
    upstream: FakeUpstream, embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Applications go on being served; the operator who accepts knows that the keys are gone."""
    monkeypatch.setattr(store_watch, "PULSE_SECONDS", 0.02)
    async with whole_gateway(config(upstream), quick_settings(embedded_url), key=ADMIN) as gateway:
        app = with_key(gateway, (await gateway.call("POST", "/v1/keys", {"name": "app"})).json["key"])
        redis = connect(embedded_url)
        await redis.flushall()
        await redis.aclose()

        async def is_held() -> bool:
            return (await gateway.get("/readyz")).json["store"] == "held"

        await eventually(is_held, "the loss noticed")
        assert (await app.ask("plain")).status == 200
        await gateway.call("POST", "/v1/store/accept")

        async def is_refused() -> bool:
            return (await app.ask("plain")).status == 401

        await eventually(is_refused, "the keys of the store in force")


async def test_an_answer_that_a_later_one_overtakes_is_no_loss(embedded_url: str, tmp_path: Path) -> None:
    """Another task follows a newer change while this one waits for the number of the change before it."""
    client = connect(embedded_url)
    store, history = ApiKeyStore(client, timeout_seconds=PATIENCE_SECONDS), StoreHistory()
    keys = CatalogueHolder(catalogue(auth={"admin_keys": [hash_key(ADMIN)]}))
    registry = KeyRegistry(
        store, keys, lambda _: None, history=history, kept=file_of(tmp_path), interval_seconds=60
    )
    await registry.refresh()
    asked = store.revision

    async def asked_while_a_key_is_made() -> int:
        store.revision = asked  # type: ignore[method-assign]
        found = await asked()
        await registry.create("app", "client", LimitsSpec(), by="config")
        return found

    store.revision = asked_while_a_key_is_made  # type: ignore[method-assign]
    await registry.refresh()

    assert history.held is None
    assert [key.name for key in registry.in_force if key.source == "store"] == ["app"]
    await client.aclose()


async def test_what_is_not_known_to_be_recorded_is_said_so_and_may_be_repeated(
    upstream: FakeUpstream, own_server: RedisServer
) -> None:
    """A frozen store does what it was sent when it wakes up: a repetition makes no second key."""
    settings = quick_settings(own_server.url, store_timeout_seconds=impatient(0.3))
    async with whole_gateway(config(upstream), settings, key=ADMIN) as gateway:
        wanted = ("POST", "/v1/keys", {"name": "app"})
        await gateway.call("POST", "/v1/keys", {"name": "first"})  # the server knows the scripts from now on
        await gateway.call("DELETE", "/v1/keys/first")
        own_server.freeze()
        unknown = await gateway.call(*wanted)
        own_server.thaw()
        assert (unknown.status, unknown.code) == (503, "store_unavailable")
        assert "not known" in unknown.json["error"]["message"]

        async def is_made() -> bool:
            names = [each["name"] for each in (await gateway.get("/v1/keys")).json["data"]]
            return "app" in names

        await eventually(is_made, "the key made after all")
        made = await gateway.call(*wanted)
        assert made.status == 200
        assert (await with_key(gateway, made.json["key"]).ask("plain")).status == 200

        own_server.freeze()
        unknown = await gateway.call("DELETE", "/v1/keys/app")
        own_server.thaw()
        assert "not known" in unknown.json["error"]["message"]

        async def is_revoked() -> bool:
            return (await with_key(gateway, made.json["key"]).ask("plain")).status == 401

        await eventually(is_revoked, "the key revoked after all")
        again = await gateway.call("DELETE", "/v1/keys/app")
        assert (again.status, again.json["name"]) == (200, "app")


BODIES = {
    "half a report": b'{"id": "chatcmpl-',
    "a report": b'{"id": "x", "signal": "thumb", "value": true}'.ljust(60),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_caller_who_leaves_during_feedback_costs_no_traceback(
    body: bytes, upstream: FakeUpstream, own_server: RedisServer
) -> None:
    """The report is finished or not, and no fault of the gateway is logged."""
    settings = quick_settings(own_server.url, store_timeout_seconds=impatient(0.3))
    async with whole_gateway(gateway_config(api_base=upstream.api_base), settings) as gateway:
        own_server.freeze()
        with capture_logs() as lines:
            host, port = gateway.url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port))) as caller:
                head = f"POST /v1/feedback HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
                caller.sendall(head.encode() + b"Content-Length: 60\r\n\r\n" + body)
                await asyncio.sleep(0)
            await eventually(lambda: _is_over(gateway), "the request over")
        own_server.thaw()
    assert not [line for line in lines if line.get("exc_info") or line["log_level"] == "error"]


async def _is_over(gateway: Whole) -> bool:
    text = (await gateway.get("/metrics")).body.decode()
    return 'llmpo_requests_total{endpoint="/v1/feedback"' in text
