"""The embedded server's life: with its gateway, on its data, one gateway per directory."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from policy_store.connect import EmbeddedValkey, connect
from policy_store.data_directory import hold, prepare
from policy_store.errors import DataDirectoryInUseError, EmbeddedStoreError
from policy_store.store import PolicyStore
from tests.pace import impatient
from tests.policy_store.building import NAME, started
from tests.servers import wait_until

GATEWAY = """
    import sys, time
    from pathlib import Path
    from policy_store.connect import EmbeddedValkey
    valkey = EmbeddedValkey()
    url = valkey.start(Path(sys.argv[1]))
    print(valkey.pid, url, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def valkey() -> Iterator[EmbeddedValkey]:
    """A server not started yet, stopped in the end."""
    server = EmbeddedValkey()
    yield server
    server.stop()


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The shared temporary directory, of a path short enough for a socket below it."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield Path(folder)


async def test_data_survives_a_restart(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """Stopping and starting on the same directory finds everything."""
    async with _Store(valkey.start(tmp_path)) as store:
        view = await started(store)
        key = await store.token_key()
    valkey.stop()

    async with _Store(valkey.start(tmp_path)) as store:
        assert await store.view(NAME) == view
        assert await store.token_key() == key


async def test_server_ends_with_its_killed_gateway_and_the_next_one_finds_the_data(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    """Kill -9 gives the gateway no chance to clean up; no server is left behind, no lock stays."""
    with _gateway(tmp_path) as gateway:
        server, its_url = gateway.stdout.readline().split()
        async with _Store(its_url) as store:
            view = await started(store)
        gateway.kill()

        url = valkey.start(tmp_path)

    wait_until(lambda: not _is_running(int(server)), "the orphaned server to end")
    async with _Store(url) as store:
        assert await store.view(NAME) == view


def test_second_gateway_on_the_directory_is_told_who_uses_it(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """Two servers on one append-only file would destroy it: the error names directory and process."""
    with _gateway(tmp_path) as gateway:
        gateway.stdout.readline()

        with pytest.raises(DataDirectoryInUseError, match=f"{tmp_path}.* {gateway.pid}"):
            valkey.start(tmp_path)

        assert gateway.poll() is None
        gateway.kill()


async def test_stale_socket_is_replaced(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """A killed server leaves its socket file; it does not keep the next one from starting."""
    (tmp_path / "valkey.sock").write_text("left over")

    async with _Store(valkey.start(tmp_path)) as store:
        await store.token_key()


async def test_directory_may_have_any_name(valkey: EmbeddedValkey, temporary: Path) -> None:
    """Spaces, quotes and names too long for a socket: the data is where it was asked for, and only there."""
    folder = temporary / 'my "data" #1 100% ü' / ("long" * 30)

    async with _Store(valkey.start(folder)) as store:
        await store.token_key()

    valkey.stop()
    assert (folder / "appendonlydir").is_dir()
    assert _outside(temporary) == []


def test_only_the_owner_can_reach_data_and_socket(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """The store holds the key that seals assignments."""
    valkey.start(tmp_path / "data")

    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data" / "valkey.sock").stat().st_mode) == 0o700


def test_foreign_socket_directory_is_not_trusted(valkey: EmbeddedValkey, temporary: Path) -> None:
    """In the shared temporary directory, no other user may have made the directory of the socket."""
    folder = temporary / ("long" * 30)
    valkey.start(folder)
    (place,) = _outside(temporary)
    valkey.stop()
    place.mkdir(mode=0o777)
    place.chmod(0o777)

    with pytest.raises(EmbeddedStoreError, match="another user"):
        valkey.start(folder)


def test_server_started_from_a_thread_outlives_the_thread(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """Linux ties a process to the thread that started it: that must not be whichever called `start`."""
    caller = threading.Thread(target=valkey.start, args=(tmp_path,))
    caller.start()
    caller.join()
    server = valkey.pid

    with subprocess.Popen(["sleep", "0.2"]):  # time for a signal to arrive, were one sent
        pass

    assert valkey.pid == server


def test_unusable_data_is_explained_with_the_servers_own_words(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    """A file Valkey cannot read keeps it from starting; the error says which directory and why."""
    valkey.start(tmp_path)
    valkey.stop()
    (manifest,) = (tmp_path / "appendonlydir").glob("*.manifest")
    manifest.write_text("nonsense\n")

    with pytest.raises(EmbeddedStoreError, match=f"{tmp_path}.*manifest") as caught:
        valkey.start(tmp_path)

    assert not isinstance(caught.value, DataDirectoryInUseError)
    hold(prepare(tmp_path)).close()  # the lock is free


def test_directory_that_cannot_be_made_is_explained(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """A file where the directory should be."""
    (tmp_path / "file").write_text("")

    with pytest.raises(EmbeddedStoreError, match="cannot be created"):
        valkey.start(tmp_path / "file" / "data")


def test_stopping_twice_or_before_starting_is_harmless(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """Clean-up code need not know how far the start came."""
    valkey.stop()
    valkey.start(tmp_path)
    valkey.stop()
    valkey.stop()
    assert valkey.pid is None


def _outside(temporary: Path) -> list[Path]:
    """Directories made for sockets whose own one has too long a name."""
    return list(temporary.glob("llmpo-*"))


class _Store:
    """A store for one block."""

    def __init__(self, url: str) -> None:
        self._store = PolicyStore(connect(url, timeout_seconds=impatient(5)), timeout_seconds=impatient(5))

    async def __aenter__(self) -> PolicyStore:
        return self._store

    async def __aexit__(self, *_: object) -> None:
        await self._store.aclose()


def _gateway(data_dir: Path) -> subprocess.Popen[str]:
    """Another process with an embedded server, whose process id and address it prints first."""
    program = [sys.executable, "-c", textwrap.dedent(GATEWAY), str(data_dir)]
    return subprocess.Popen(program, stdout=subprocess.PIPE, text=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
