"""The image built and run, and the whole compose file, on a real engine. Needs root; some five minutes.

No registry is asked: the base image and the servers of the compose file are made from Debian packages
(images/*.sh). Grafana is not among them; `test_dashboard_types.py` holds its dashboard against its types.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from gateway.config.api_keys import hash_key
from tests.deploy.engine import Engine, engine, relocatable_python
from tests.deploy.tools import DEPLOY, ROOT, dashboards, panel_queries
from tests.servers import free_port

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

GATEWAY = "docker.io/library/llmpo-gateway:dev"
SERVICES = ("redis", "provider", "gateway", "load-balancer", "users-support", "users-tone", "prometheus")
CLIENT, ADMIN = {"Authorization": "Bearer llmpo-demo-client"}, {"Authorization": "Bearer llmpo-demo-admin"}
EXPERIMENT = "support-assistant"
TOOLS = ("podman", "buildah", "runc", "debootstrap", "iptables")
NETWORK = ("netavark", "aardvark-dns")  # no commands: they come with podman


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine with the project's image and stand-ins for the others."""
    python = relocatable_python()
    if os.geteuid() != 0 or python is None:
        pytest.skip("building images needs root, and a CPython that is not the system's")
    packages = [f"{name}:{name}" for name in TOOLS]
    packages += [f":{name}" for name in NETWORK if shutil.which("podman") is None]
    subprocess.run([ROOT / "deploy/scripts/apt-tools", *packages], check=True)
    with engine(tmp_path_factory.mktemp("engine")) as running:
        base = next(
            line.partition("=")[2]
            for line in (ROOT / "Dockerfile").read_text().splitlines()
            if line.startswith("ARG PYTHON_IMAGE=")
        )
        running.build("python.sh", base, str(python))
        running.build("services.sh", base, str(DEPLOY / "compose.yaml"))
        running.build("gateway.sh", GATEWAY)
        yield running


def _get(url: str, headers: dict[str, str] | None = None, **parameters: str) -> Any:
    response = httpx.get(url, headers=headers, params=parameters or None, timeout=10)
    response.raise_for_status()
    return response.json()


def _wait_for(condition: Callable[[], bool], what: str, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except httpx.HTTPError:
            pass  # not there yet
        assert time.monotonic() < deadline, f"still waiting after {seconds} s: {what}"
        time.sleep(0.5)


def test_image_refuses_to_listen_without_keys(containers: Engine) -> None:
    """A container listens on all addresses, so the start ends with the remedy."""
    file = DEPLOY / "demo/gateway.yaml"

    said = containers.podman("run", "--rm", "-v", f"{file}:/etc/llmpo/gateway.yaml:ro", GATEWAY, fails=True)

    assert "llmpo keys new" in said


def test_image_holds_nothing_of_the_build(containers: Engine) -> None:
    """The image has no build tool, no compiler and no source tree."""
    traces = "ls -d /src /opt/build-tools /opt/llmpo/lib/*/site-packages/hatchling /usr/bin/gcc 2>/dev/null"

    said = containers.podman("run", "--rm", "--entrypoint", "sh", GATEWAY, "-c", f"{traces}; true")

    assert said == ""


@pytest.fixture
def standalone(containers: Engine) -> Iterator[tuple[Engine, str, list[str]]]:
    """A gateway on its embedded store in a volume, on a read-only file system."""
    port = str(free_port())
    command = ["run", "--detach", "--name", "standalone", "--network", "host", "--read-only"]
    command += [
        "--volume",
        "llmpo-data:/var/lib/llmpo",
        "--env",
        f"LLMPO_ADMIN_KEYS={hash_key('llmpo-demo-admin')}",
    ]
    command += ["--volume", f"{DEPLOY}/demo/gateway.yaml:/etc/llmpo/gateway.yaml:ro", GATEWAY]
    command += ["serve", "--config", "/etc/llmpo/gateway.yaml", "--port", port]
    containers.podman(*command)
    try:
        yield containers, f"http://127.0.0.1:{port}", command
    finally:
        containers.podman("rm", "--force", "standalone")
        containers.podman("volume", "rm", "--force", "llmpo-data")


def test_container_keeps_its_state_and_stops_when_told(standalone: tuple[Engine, str, list[str]]) -> None:
    """The embedded store lives in the volume; SIGTERM ends the container well, and soon."""
    running, url, command = standalone
    _wait_for(lambda: _get(f"{url}/readyz")["store"] == "up", "the gateway and its store", seconds=60)
    before = _get(f"{url}/v1/experiments/{EXPERIMENT}", ADMIN)

    began = time.monotonic()
    running.podman("stop", "--time", "30", "standalone")
    took = time.monotonic() - began
    status = running.podman("inspect", "--format", "{{.State.ExitCode}}", "standalone").strip()
    running.podman("rm", "standalone")
    running.podman(*command)
    _wait_for(lambda: _get(f"{url}/readyz")["store"] == "up", "the gateway again", seconds=60)

    assert status == "0"
    assert took < 20
    assert before["events"]
    assert _get(f"{url}/v1/experiments/{EXPERIMENT}", ADMIN)["events"] == before["events"]


@pytest.fixture(scope="module")
def stack(containers: Engine) -> Iterator[tuple[Engine, str, str]]:
    """Everything of the compose file but Grafana: the engine, the gateway's address, Prometheus'."""
    ports = {name: str(free_port()) for name in ("LLMPO_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")}
    containers.environment.update(ports)
    containers.compose("up", "--detach", "--no-build", *SERVICES)
    try:
        yield (
            containers,
            f"http://127.0.0.1:{ports['LLMPO_PORT']}",
            f"http://127.0.0.1:{ports['PROMETHEUS_PORT']}",
        )
    finally:
        containers.compose("down", "--volumes")


def _series(prometheus: str, expression: str) -> list[dict[str, Any]]:
    answer = _get(f"{prometheus}/api/v1/query", query=expression)
    return answer["data"]["result"]  # type: ignore[no-any-return]


def _question(**fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "How do I descale my machine?"}]
    return {"json": {"model": EXPERIMENT, "messages": messages, **fields}, "headers": CLIENT, "timeout": 30}


def _status(gateway: str) -> int:
    return httpx.post(f"{gateway}/v1/chat/completions", **_question()).status_code


def test_every_service_becomes_healthy_and_is_scraped(stack: tuple[Engine, str, str]) -> None:
    """Both replicas pass their health check, and Prometheus finds both by name."""
    running, _, prometheus = stack

    _wait_for(lambda: len(_series(prometheus, "up == 1")) == 2, "Prometheus to find two replicas", seconds=90)

    for replica in ("llmpo-gateway-1", "llmpo-gateway-2"):
        assert running.is_healthy(replica)


def test_metrics_stay_inside(stack: tuple[Engine, str, str]) -> None:
    """The load balancer does not expose metrics."""
    assert httpx.get(f"{stack[1]}/metrics", headers=ADMIN).status_code == 404


def test_answers_stream_through_the_load_balancer(stack: tuple[Engine, str, str]) -> None:
    """The first event is there well before the last: nothing between is collecting."""
    _wait_for(lambda: bool(_get(f"{stack[1]}/readyz")), "the load balancer to find a replica", seconds=60)

    with httpx.stream("POST", f"{stack[1]}/v1/chat/completions", **_question(stream=True)) as response:
        arrivals = [time.monotonic() for line in response.iter_lines() if line.startswith("data:")]

    assert len(arrivals) > 10
    assert arrivals[-1] - arrivals[0] > 0.02


def test_an_experiment_finishes_and_its_promotion_is_verified(stack: tuple[Engine, str, str]) -> None:
    """One command, no key: Prometheus sees the promotion, the log confirms it, every panel's query works."""
    running, _, prometheus = stack
    promoted = f'llmpo_experiment_state{{experiment="{EXPERIMENT}",state="promoted"}} == 1'

    _wait_for(lambda: len(_series(prometheus, promoted)) == 2, "the promotion on both replicas", seconds=600)

    verify = ["llmpo", "verify", EXPERIMENT, "--redis-url", "redis://redis:6379/0"]
    assert "confirmed" in running.compose("exec", "-T", "gateway", *verify)
    for board in dashboards():
        for query in panel_queries(board):
            _series(prometheus, query.fill(experiment=EXPERIMENT))  # an error fails


def test_a_killed_replica_goes_unnoticed(stack: tuple[Engine, str, str]) -> None:
    """The load balancer sends its requests to the others; a new one is found by name."""
    running, gateway, prometheus = stack
    running.podman("kill", "llmpo-gateway-1")

    answers = {_status(gateway) for _ in range(30)}
    running.compose("up", "--detach", "--no-build", "--scale", "gateway=3", "gateway")

    assert answers == {200}
    _wait_for(lambda: len(_series(prometheus, "up == 1")) == 3, "three replicas", seconds=90)


def test_a_restarted_redis_remembers_the_promotion(stack: tuple[Engine, str, str]) -> None:
    """Killed and started again on its volume, with answers all the while."""
    running, gateway, _ = stack
    url = f"{gateway}/v1/experiments/{EXPERIMENT}"
    before = _get(url, ADMIN)

    running.podman("kill", "llmpo-redis-1")
    answer = _status(gateway)
    running.podman("start", "llmpo-redis-1")
    replicas_in_turn = range(6)
    _wait_for(
        lambda: all(_get(url, ADMIN)["state"] == "promoted" for _ in replicas_in_turn),
        "every replica to be back at the store",
        seconds=30,
    )

    after = _get(url, ADMIN)
    assert answer == 200
    assert (after["incumbent"], after["comparisons"]) == (before["incumbent"], before["comparisons"])
