"""Real servers for tests: each can be killed, frozen and started again on the data it left."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Final, Protocol

from policy_store.connect import EmbeddedValkey
from tests.pace import PATIENCE_SECONDS, pauses

CONFIGURATIONS: Final = Path(__file__).parents[1] / "deploy" / "redis"
"""The documented configuration files for groups of servers."""


PORTS: Final = range(10_000, 32_768)
"""Below those that the system gives to outgoing connections and to listeners that ask for any port."""

_CLAIMS: Final[list[int]] = []
"""Descriptors of locked files, one for each port of this process; the system unlocks them when it ends."""


def free_port() -> int:
    """A loopback TCP port of this process alone: no other process of tests gets it, and nothing connects."""
    folder = Path(tempfile.gettempdir()) / f"llmpo-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    first = random.randrange(len(PORTS))
    for port in chain(PORTS[first:], PORTS[:first]):
        claim = os.open(folder / str(port), os.O_CREAT | os.O_WRONLY)
        with suppress(OSError), socket.socket() as probe:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            probe.bind(("127.0.0.1", port))
            _CLAIMS.append(claim)
            return port
        os.close(claim)
    raise RuntimeError(f"all ports from {PORTS.start} to {PORTS.stop - 1} are taken")


def wait_until(is_true: Callable[[], bool], what: str, *, seconds: float = PATIENCE_SECONDS) -> None:
    """Return as soon as the condition holds; fail saying what never happened."""
    deadline = time.monotonic() + seconds
    pausing = pauses()
    while not is_true():
        assert time.monotonic() < deadline, f"still waiting after {seconds} s: {what}"
        time.sleep(next(pausing))


class ServerGroup(Protocol):
    """What makes a store, of one server or of several."""

    url: str

    def start(self) -> None:
        """Start, or start again after `kill`, and return once it accepts connections."""

    def stop(self) -> None:
        """End it."""


class StoreServer(ServerGroup, Protocol):
    """What the tests do with a server, whichever it is."""

    def kill(self) -> None:
        """End it as a crash would."""

    def freeze(self) -> None:
        """Stop it without closing anything."""

    def thaw(self) -> None:
        """Let a frozen one go on."""


class RedisServer:
    """`redis-server` on a free loopback port, with an append-only file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def start(self) -> None:
        """Start, or start again on the data that is there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        options += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--loglevel", "warning"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([server_binary(), *options], stdout=log, stderr=log)
        wait_until(self._answers, f"redis-server on port {self.port}")

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Stop it without closing anything."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        self.thaw()
        self._process.terminate()
        self._process.wait()

    def _answers(self) -> bool:
        """Whether it answers; while it reads its data, it refuses every command."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as client:
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
        except OSError:
            return False


class EmbeddedServer:
    """The embedded Valkey; started again after `kill` by its own supervision."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._valkey = EmbeddedValkey()
        self._killed: int | None = None
        self.url = ""

    def start(self) -> None:
        """Start, or start again on the data that is there."""
        if self._killed is None:
            self.url = self._valkey.start(self._folder)
        wait_until(lambda: self._valkey.pid not in {None, self._killed}, "the embedded server to be back")

    def kill(self) -> None:
        """End it as a crash would."""
        self._killed = self._valkey.pid
        os.kill(self._killed, signal.SIGKILL)

    def freeze(self) -> None:
        """Stop it without closing anything."""
        os.kill(self._valkey.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        os.kill(self._valkey.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        self._valkey.stop()


def _words(options: Mapping[str, str | int]) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


class Process:
    """One `redis-server` of a group, on a port of its own; with `tls_port` on another one too, over TLS."""

    def __init__(self, folder: Path, **options: str | int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        for file in CONFIGURATIONS.glob("*.conf"):
            shutil.copy(file, folder)  # servers write to theirs
        self.port = free_port()
        if "tls_port" in options:
            options["tls_port"] = free_port()
        self.known_port = int(options.get("tls_port", self.port))
        self.place = f"127.0.0.1:{self.known_port}"
        self.options: dict[str, str | int] = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": str(folder),
            "loglevel": "warning",
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        self._running: subprocess.Popen[bytes] | None = None

    def start(self, *words: str) -> None:
        """Start it; `words` come first, one of them may be a copy of a file of `CONFIGURATIONS`."""
        with (self.folder / "log").open("ab") as log:
            command = [server_binary(), *words, *_words(self.options)]
            self._running = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)

    def accepts(self) -> bool:
        """Whether it takes connections. It fails at once if the server has ended, with what it logged."""
        assert self._running.poll() is None, (self.folder / "log").read_text()
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def ask(self, *words: str) -> str:
        """What it answers."""
        said = ["redis-cli", "-p", str(self.port), *words]
        return subprocess.run(said, check=True, capture_output=True, text=True).stdout.strip()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._running.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, however it was left."""
        if self._running is not None and self._running.poll() is None:
            self._running.send_signal(number)
            self._running.wait()


class ReplicatedServer:
    """A primary and its replica, without anything that would replace the primary.

    Attributes:
        primary: The primary.
        replica: Its replica.
    """

    def __init__(self, folder: Path, **options: str | int) -> None:
        self.primary = Process(folder / "primary", **options)
        self.replica = Process(folder / "replica", replicaof=f"127.0.0.1 {self.primary.port}", **options)
        self.url = f"redis://{self.primary.place}"

    def start(self) -> None:
        """Start both, and return once the replica follows."""
        for server in (self.primary, self.replica):
            server.start("server.conf")
            wait_until(server.accepts, f"redis-server on port {server.port}")
        self.wait_for_replica()

    def wait_for_replica(self) -> None:
        """Return once the replica follows, and has said so."""
        wait_until(lambda: "master_link_status:up" in self.replica.ask("info", "replication"), "the replica")
        wait_until(self._confirms, "a confirmation of the replica")

    def _confirms(self) -> bool:
        client = ["redis-cli", "-p", str(self.primary.port)]
        asked = "SET begun 1\nWAIT 1 100\n"
        said = subprocess.run(client, input=asked, check=True, capture_output=True, text=True).stdout
        return said.split()[-1] == "1"

    def stop(self) -> None:
        """End both."""
        for server in (self.primary, self.replica):
            server.end()


class ClusterServer:
    """Three primaries and a replica of each, which are a cluster from their first moment.

    Attributes:
        nodes: The primaries, then their replicas in the same order.
    """

    def __init__(self, folder: Path, **options: str | int) -> None:
        self.nodes = [Process(folder / str(index), cluster_port=free_port(), **options) for index in range(6)]
        self.url = f"redis+cluster://{self.nodes[0].place},{self.nodes[1].place}"

    def start(self) -> None:
        """Start all of them, and return once the replicas follow."""
        bounds = [0, 5461, 10923, 16384]
        for own, node in enumerate(self.nodes):
            lines = []
            for index, other in enumerate(self.nodes):
                of, epoch = index % 3, index + 1
                flags = ("myself," if index == own else "") + ("master" if index < 3 else "slave")
                primary = "-" if index < 3 else _node_id(of)
                slots = f" {bounds[of]}-{bounds[of + 1] - 1}" if index < 3 else ""
                at = f"{other.place}@{other.options['cluster-port']}"
                lines.append(f"{_node_id(index)} {at} {flags} {primary} 0 0 {epoch} connected{slots}")
            lines.append("vars currentEpoch 6 lastVoteEpoch 0\n")
            (node.folder / "nodes.conf").write_text("\n".join(lines))
            node.start("cluster.conf")
        for node in self.nodes:
            wait_until(node.accepts, f"a node of the cluster on port {node.port}")
        for node in self.nodes:
            wait_until(lambda node=node: "cluster_state:ok" in node.ask("cluster", "info"), "the cluster")
        for node in self.nodes[3:]:
            wait_until(lambda node=node: "master_link_status:up" in node.ask("info"), "a replica")

    def stop(self) -> None:
        """End all of them."""
        for node in self.nodes:
            node.end()


def _node_id(index: int) -> str:
    return f"{index + 1:040x}"


class SentinelServer:
    """A primary, its replica, and three Sentinels that watch them.

    Attributes:
        servers: The primary at first, and its replica.
        sentinels: The three.
    """

    def __init__(self, folder: Path, **options: str | int) -> None:
        primary = Process(folder / "primary", **options)
        follows = f"127.0.0.1 {primary.known_port}"
        self.servers = [primary, Process(folder / "replica", replicaof=follows, **options)]
        secure = {name: value for name, value in options.items() if name.startswith("tls_")}
        self.sentinels = [Process(folder / f"sentinel{index}", **secure) for index in range(3)]
        self.url = f"redis+sentinel://{','.join(each.place for each in self.sentinels)}/main/0"

    def start(self) -> None:
        """Start all of them, and return once each Sentinel knows the others and the replica."""
        for server in self.servers:
            server.start("server.conf")
            wait_until(server.accepts, f"redis-server on port {server.port}")
        wait_until(lambda: "master_link_status:up" in self.servers[1].ask("info"), "the replica")
        for sentinel in self.sentinels:
            file = sentinel.folder / "sentinel.conf"
            file.write_text(
                file.read_text().replace("redis-0 6379", f"127.0.0.1 {self.servers[0].known_port}")
            )
            sentinel.start(str(file), "--sentinel")
        for sentinel in self.sentinels:
            wait_until(sentinel.accepts, f"a Sentinel on port {sentinel.port}")
        for sentinel in self.sentinels:
            wait_until(lambda sentinel=sentinel: self._is_ready(sentinel), "the Sentinels")

    def stop(self) -> None:
        """End all of them."""
        for each in (*self.sentinels, *self.servers):
            each.end()

    def _is_ready(self, sentinel: Process) -> bool:
        known = sentinel.ask("sentinel", "master", "main").splitlines()
        told = dict(zip(known[::2], known[1::2], strict=False))
        return (told["num-slaves"], told["num-other-sentinels"]) == ("1", "2")


def server_binary() -> str:
    """The `redis-server` to test with: `LLMPO_TEST_REDIS_SERVER`, or the system's."""
    found = shutil.which(os.environ.get("LLMPO_TEST_REDIS_SERVER", "redis-server"))
    if found is None:
        raise RuntimeError("redis-server is missing; `make setup` installs it.")
    return found


SERVERS: dict[str, Callable[[Path], StoreServer]] = {"embedded": EmbeddedServer, "redis": RedisServer}
"""Each of one server, which tests may mistreat."""

GROUPS: dict[str, Callable[[Path], ServerGroup]] = {"cluster": ClusterServer, "sentinel": SentinelServer}
"""Each of several servers."""
