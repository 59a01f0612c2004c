"""The model servers and the gateway, started once for all tests here and ended after the last of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.real_models.stage import Gateway, Models, gateway, model_servers
from tests.e2e.real_models.tasks import TASKS
from tests.e2e.real_models.users import Visit, connect, use_until_decided
from tests.e2e.real_models.verifying import fetch_log

SEED = 1


@dataclass(frozen=True, slots=True)
class Decided:
    """An experiment that real answers have decided.

    Attributes:
        visits: Everything the users saw and said, in order.
        account: What the gateway said of the experiment at the end.
        log: Its exported log.
    """

    name: str
    visits: tuple[Visit, ...]
    account: dict[str, Any]
    log: Path


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    """SmolLM2 whole and cut, each behind its own llama.cpp server."""
    with model_servers(tmp_path_factory.mktemp("models")) as running:
        yield running


@pytest.fixture(scope="package")
def real_gateway(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The gateway in front of them."""
    with gateway(models, tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="package", params=sorted(TASKS))
def decided(
    request: pytest.FixtureRequest, real_gateway: Gateway, tmp_path_factory: pytest.TempPathFactory
) -> Decided:
    """Each experiment after its users have decided it."""
    visits: list[Visit] = []
    account, exported = asyncio.run(_decide(real_gateway, request.param, visits))
    log = tmp_path_factory.mktemp("logs") / f"{request.param}.jsonl"
    log.write_text(exported)
    return Decided(request.param, tuple(visits), account, log)


async def _decide(running: Gateway, experiment: str, visits: list[Visit]) -> tuple[dict[str, Any], str]:
    async with connect(running.url) as client:
        account = await use_until_decided(client, experiment, seed=SEED, on_visit=visits.append)
        return account, await fetch_log(client, experiment)
