"""The model servers and the gateway, started once for all tests here and ended after the last of them."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.real_models.stage import CONFIG, Gateway, Models, gateway, model_servers
from tests.e2e.real_models.tasks import TASKS
from tests.e2e.real_models.users import Visit, connect, use_until_decided
from tests.e2e.real_models.verifying import fetch_log

SEED = 1
FILES = ("gateway", "judging")
QUICK: dict[str, Any] = {
    "delta": 0.2,
    "epsilon": 0.1,
    "promotion": {"min_comparisons": 8, "min_duration": "0s"},
}
"""Decides an experiment in half of the answers; how often that is wrong is not for real models to show."""


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
    """The gateway in front of them, with all experiments of this folder."""
    folder = tmp_path_factory.mktemp("gateway")
    with gateway(models, folder, _configured(folder)) as running:
        yield running


def _configured(folder: Path) -> Path:
    """One file of `gateway.yaml`, whose experiments become `QUICK`, and of `judging.yaml`."""
    deciding, judged = (yaml.safe_load((CONFIG.with_name(f"{name}.yaml")).read_text()) for name in FILES)
    models = {each["model_name"]: each for each in (*deciding["model_list"], *judged["model_list"])}
    quick = {name: {**each, **QUICK} for name, each in deciding["experiments"].items()}
    shutil.copytree(CONFIG.with_name("prompts"), folder / "prompts")
    file = folder / "gateway.yaml"
    fields = {"model_list": [*models.values()], "experiments": {**quick, **judged["experiments"]}}
    file.write_text(json.dumps(fields))  # JSON is YAML
    return file


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
