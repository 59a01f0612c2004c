"""The compose file and what it mounts. `test_images.py` runs it."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
import yaml

from gateway.config.load import load_config
from gateway.demo.scene import gateway_yaml
from tests.deploy.tools import DEPLOY, run


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services, as Docker Compose understands them."""
    resolved = run("docker-compose", "-f", str(DEPLOY / "compose.yaml"), "config")
    assert resolved.returncode == 0, resolved.stdout
    return yaml.safe_load(resolved.stdout)["services"]  # type: ignore[no-any-return]


def test_nothing_is_published_beyond_this_machine(services: dict[str, Any]) -> None:
    """The keys in the file are public, so every port is on loopback."""
    ports = [port for service in services.values() for port in service.get("ports", [])]

    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    assert "ports" not in services["redis"]


def test_images_are_pinned_to_a_version(services: dict[str, Any]) -> None:
    """No image follows `latest`; the project's own is built here."""
    for name, service in services.items():
        assert "build" in service or re.search(r":v?\d+\.\d+[\w.-]*$", service["image"]), name


def test_replicas_share_a_store_that_keeps_what_it_acknowledged(services: dict[str, Any]) -> None:
    """Two gateways use one Redis that has an append-only file on a volume and evicts nothing."""
    redis = services["redis"]
    command = " ".join(redis["command"])

    assert services["gateway"]["deploy"]["replicas"] == 2
    assert services["gateway"]["environment"]["LLMPO_REDIS_URL"].startswith("redis://redis:")
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert [(volume["type"], volume["target"]) for volume in redis["volumes"]] == [("volume", "/data")]


def test_demo_keys_are_the_ones_whose_hashes_the_gateway_gets(services: dict[str, Any]) -> None:
    """The simulated users' key is a client's, Prometheus' an admin's; the gateway is given hashes only."""
    environment = services["gateway"]["environment"]
    users = services["users-support"]["environment"]
    prometheus = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    scraper = prometheus["scrape_configs"][0]["authorization"]["credentials"]

    assert environment["LLMPO_CLIENT_KEYS"] == _hash(users["LLMPO_DEMO_API_KEY"])
    assert environment["LLMPO_ADMIN_KEYS"] == _hash(scraper)


def _hash(key: str) -> str:
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def test_gateway_file_is_the_demos(services: dict[str, Any]) -> None:
    """The mounted file is accepted, and is what `llmpo demo` runs: its users know the experiments."""
    file = DEPLOY / "demo/gateway.yaml"

    load_config(file, {})

    assert yaml.safe_load(file.read_text()) == yaml.safe_load(gateway_yaml("http://provider:9100"))
    mounted = {volume["target"]: volume["source"] for volume in services["gateway"]["volumes"]}
    assert mounted["/etc/llmpo/gateway.yaml"] == str(file)
