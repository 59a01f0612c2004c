"""Commands that are pointed at something else than they need say so in a line, and change nothing."""

from __future__ import annotations

import asyncio
import http.server
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.cli import main
from policy_store.backup_file import About, BackupWriter
from policy_store.backup_records import Moment
from policy_store.clients import StoreClient
from policy_store.connect import connect
from policy_store.layout import LAYOUT
from policy_store.store import PolicyStore
from tests.gateway.building import NAME
from tests.pace import PATIENCE_SECONDS
from tests.policy_store.building import planned, prefer
from tests.servers import SERVERS, StoreServer

ASKING = (
    "experiments list",
    "experiments show support",
    "experiments events support",
    "experiments pause support --reason why",
    "experiments promote support --policy warm --reason why",
    "keys create web",
    "keys list",
    "keys revoke web",
    "webhooks list",
    "webhooks test ops",
    "webhooks dead-letters ops",
    "webhooks replay ops",
    "store show",
    "store accept",
)
STRANGERS = {
    "a page": (b"<html>Welcome to nginx!</html>", 0),
    "another API": (b'{"status": "success", "data": {"resultType": "vector"}}', 0),
    "a list": (b"[]", 0),
    "a broken connection": (b'{"data"', 100),
}


@contextmanager
def stranger(body: bytes, missing: int, headers: tuple[tuple[str, str], ...] = ()) -> Iterator[str]:
    """A server that is no gateway, which may say that more comes than does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.send_response(200)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("content-length", str(len(body) + missing))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("what", STRANGERS)
def test_what_is_no_gateway_is_an_error_of_one_line(what: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Wrong ports are common: a proxy's page, or the API of Prometheus."""
    with stranger(*STRANGERS[what]) as url:
        for command in ASKING:
            assert main([*shlex.split(command), "--url", url]) == 1, command
            said = capfd.readouterr().err
            assert said == f"error: {url} does not answer like a gateway. Is that its address?\n", command


def test_a_gateway_whose_answer_breaks_off_is_asked_again_by_hand(capfd: pytest.CaptureFixture[str]) -> None:
    """A proxy or the gateway itself may go away in the middle."""
    with stranger(b'{"data"', 100, headers=(("x-request-id", "1"),)) as url:
        for command in ("experiments list", "keys list", "experiments pause support --reason why"):
            assert main([*shlex.split(command), "--url", url]) == 1
            assert "broke off; try again" in capfd.readouterr().err


def stored(folder: Path) -> dict[str, list[str]]:
    """The commands that talk to the store itself, with files of their own."""
    return {
        "backup": ["backup", str(folder / "new.backup")],
        "archive": ["archive", str(folder / "archive")],
        "verify": ["verify", NAME],
    }


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[StoreServer]:
    """A server of the test's own."""
    server = SERVERS["redis"](tmp_path / "store")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def redis(own_server: StoreServer) -> StoreClient:
    """A client of a store with an experiment."""
    client = connect(own_server.url, timeout_seconds=PATIENCE_SECONDS)
    store = PolicyStore(client, timeout_seconds=PATIENCE_SECONDS)
    await planned(store)
    await prefer(store, "u1")
    return client


async def run(*arguments: str) -> int:
    """The command's exit status, beside this loop."""
    return await asyncio.to_thread(main, arguments)


async def test_a_store_of_a_newer_version_is_left_alone(
    own_server: StoreServer, redis: StoreClient, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What it holds may mean something that this version does not know."""
    backup = str(tmp_path / "good.backup")
    assert await run("backup", backup, "--redis-url", own_server.url) == 0
    await redis.hset(redis.names.identity, "layout", "99")
    capfd.readouterr()
    commands = {**stored(tmp_path), "restore": ["restore", backup, "--replace", "--reason", "why"]}
    for command, words in commands.items():
        assert await run(*words, "--redis-url", own_server.url) == (2 if command == "verify" else 1)
        assert "their layout is 99" in capfd.readouterr().err
    assert not (tmp_path / "new.backup").exists()
    await redis.aclose()


async def test_a_store_that_no_gateway_has_used_is_named(
    own_server: StoreServer, redis: StoreClient, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An empty backup, or an archive of nothing, would be found out when it is needed."""
    for command, words in stored(tmp_path).items():
        for place, named in (
            ((own_server.url, "--redis-prefix", "staging"), "with the prefix 'staging'"),
            ((f"{own_server.url}/7",), "without a prefix"),
        ):
            status = await run(*words, "--redis-url", *place)
            assert status == (2 if command == "verify" else 1), (command, place)
            assert named in capfd.readouterr().err
    assert not (tmp_path / "new.backup").exists()
    await redis.aclose()


async def test_a_store_that_only_reads_gives_backups_and_takes_nothing(
    own_server: StoreServer, redis: StoreClient, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A replica is a good place for a backup; an archive has to say in the store how far it is."""
    await redis.replicaof("127.0.0.1", 1)
    words = stored(tmp_path)
    place = ("--redis-url", own_server.url)
    assert await run(*words["backup"], *place) == 0
    assert await run("verify", NAME, *place) == 2
    assert "has no certificate" in capfd.readouterr().err
    assert await run(*words["archive"], *place) == 1
    assert "READONLY" in capfd.readouterr().err
    backup = str(tmp_path / "new.backup")
    assert await run("restore", backup, "--replace", "--reason", "why", *place) == 1
    assert "READONLY" in capfd.readouterr().err
    await redis.aclose()


def test_a_backup_of_a_newer_layout_is_not_verified(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """This version could misread what it cannot restore either."""
    path = tmp_path / "backup"
    with BackupWriter(path, About(LAYOUT + 1, "9.0.0", 1.0, "id", 1, is_whole=False)) as writer:
        writer.add(Moment(NAME, 1.0, 1, 2, 3))
    assert main(["verify", NAME, "--log", str(path)]) == 2
    assert f"their layout is {LAYOUT + 1}" in capfd.readouterr().err
