"""A container engine of the tests' own: podman as root with its own images, containers and networks.

Stand-ins for official images carry the official names, so they must never land among the machine's images.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy.tools import DEPLOY, installed

IMAGES = Path(__file__).with_name("images")
HEALTH_CHECK_SECONDS = 3.0


@dataclass
class Engine:
    """Podman on a folder, and Docker Compose on its socket."""

    folder: Path
    environment: dict[str, str]
    _stopping: threading.Event = field(default_factory=threading.Event)

    def podman(self, *arguments: str, fails: bool = False) -> str:
        """What a podman command says; fails the test if the command fails, or if it should and does not."""
        return self._run(["podman", *arguments], fails)

    def compose(self, *arguments: str, fails: bool = False) -> str:
        """A command of Docker Compose on the project's file."""
        return self._run([installed("docker-compose"), "-f", str(DEPLOY / "compose.yaml"), *arguments], fails)

    def build(self, script: str, *arguments: str) -> None:
        """Run one of the scripts that make images."""
        self._run([str(IMAGES / script), *arguments], fails=False)

    def is_healthy(self, container: str) -> bool:
        """Ask the container's health check once."""
        command = ["podman", "healthcheck", "run", container]
        return subprocess.run(command, env=self.environment, check=False, capture_output=True).returncode == 0

    def check_health(self) -> None:
        """Run every container's health check again and again: without systemd nothing else does."""
        while not self._stopping.wait(HEALTH_CHECK_SECONDS):
            for container in self.podman("ps", "--format", "{{.Names}}").split():
                self.is_healthy(container)

    def stop(self) -> None:
        """End the health checks."""
        self._stopping.set()

    def _run(self, command: list[str], fails: bool) -> str:
        result = subprocess.run(command, env=self.environment, check=False, capture_output=True, text=True)
        output = result.stdout + result.stderr
        assert (result.returncode != 0) is fails, (
            f"{' '.join(command)}: {result.returncode}\n{output[-4000:]}"
        )
        return output if fails else result.stdout


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """A running engine with no images; everything it holds goes with it."""
    running = Engine(folder, _environment(folder))
    service = subprocess.Popen(
        ["podman", "system", "service", "--time", "0", running.environment["DOCKER_HOST"]],
        env=running.environment,
        stderr=subprocess.DEVNULL,
    )
    health = threading.Thread(target=running.check_health)
    health.start()
    try:
        yield running
    finally:
        running.stop()
        health.join()
        service.terminate()
        service.wait()
        _remove(running)


def _environment(folder: Path) -> dict[str, str]:
    for name in ("graph", "run", "networks"):
        (folder / name).mkdir(parents=True)
    storage, containers = folder / "storage.conf", folder / "containers.conf"
    storage.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    shared = (IMAGES / "containers.conf").read_text()
    containers.write_text(f'{shared}network_config_dir = "{folder}/networks"\n')
    return {
        **os.environ,
        "CONTAINERS_STORAGE_CONF": str(storage),
        "CONTAINERS_CONF": str(containers),
        "DOCKER_HOST": f"unix://{folder}/podman.sock",
    }


def _remove(engine: Engine) -> None:
    engine.podman("rm", "--all", "--force", "--volumes")
    # The engine binds its store to itself; images go with the folder, which is quicker than asking for it.
    subprocess.run(["umount", engine.folder / "graph/overlay"], check=False, capture_output=True)
    shutil.rmtree(engine.folder)


def relocatable_python() -> Path | None:
    """Prefix of a CPython that can be copied into an image: 3.12 where there is one, else the tests' own."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [*sorted(pyenv.glob("3.12.*")), Path(sys.base_prefix)]
    return next((prefix for prefix in found if prefix != Path("/usr")), None)
