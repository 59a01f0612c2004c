"""`llmpo backup` and `llmpo restore` beside running gateways, and killed at any moment."""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
import structlog

from gateway.cli import main
from gateway.learning import store_watch
from policy_store.backup_file import BackupFile
from policy_store.connect import connect
from policy_store.errors import UnknownExperimentError
from policy_store.store import PolicyStore
from policy_store.vitals import StoreVitals
from tests.gateway.building import NAME, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, eventually, quick_settings, whole_gateway
from tests.pace import PATIENCE_SECONDS
from tests.policy_store.building import logged_comparisons, planned, prefer

ELSEWHERE = "elsewhere:"


@pytest.fixture(autouse=True)
def _quiet_gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The gateway's log lines go to the same terminal here; outside of tests it is another process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    monkeypatch.setattr(store_watch, "PULSE_SECONDS", 0.02)
    monkeypatch.setenv("LLMPO_DATA_DIR", str(tmp_path))
    yield
    structlog.reset_defaults()


async def run(*arguments: str) -> int:
    """The command's exit status; beside the gateway, which runs on this loop."""
    return await asyncio.to_thread(main, arguments)


async def is_up(gateway: Whole) -> bool:
    """Whether a gateway follows its store."""
    return (await gateway.get("/readyz")).json["store"] == "up"


@pytest.fixture
async def gateway(upstream: FakeUpstream, embedded_url: str) -> AsyncIterator[Whole]:
    """A gateway with an experiment under way."""
    config = gateway_config(
        api_base=upstream.api_base,
        traffic={"share": 1.0, "collect": "side_by_side"},
        max_comparisons=3,
        promotion={"min_comparisons": 0},
    )
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        yield gateway


async def test_a_running_gateway_goes_on_from_the_backup(
    gateway: Whole, embedded_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a decision is taken back by a restore, feedback counts again at once, each report once."""
    file, place = str(tmp_path / "backup"), ("--redis-url", embedded_url)
    asked = [(await gateway.compare()).json["id"] for _ in range(3)]
    await gateway.feed(id=asked[0], preferred="tie")
    assert await run("backup", file, *place) == 0
    for each in asked[1:]:
        await gateway.feed(id=each, preferred="tie")

    async def state() -> str:
        return str((await gateway.experiment())["state"])

    async def is_decided() -> bool:
        return await state() == "inconclusive"

    await eventually(is_decided, "the end of the budget")
    decided = str(tmp_path / "decided")
    assert await run("backup", decided, "--experiment", NAME, *place) == 0
    assert await run("verify", NAME, "--log", decided) == 0
    assert await run("restore", file, *place) == 1
    assert "--replace" in capsys.readouterr().err
    assert await run("restore", file, "--replace", *place) == 2

    assert await run("restore", file, "--replace", "--reason", "one too many", *place) == 0

    async def is_back() -> bool:
        shown = await gateway.experiment()
        return (shown["state"], shown["comparisons"]) == ("running", 1)

    await eventually(is_back, "the gateway to follow")
    await eventually(partial(is_up, gateway), "the restored store to be accepted")
    assert (await gateway.feed(id=asked[0], preferred="tie")).json["status"] == "duplicate"

    async def counts() -> bool:
        later = (await gateway.compare()).json["id"]
        return bool((await gateway.feed(id=later, preferred="tie")).json["status"] == "counted")

    await eventually(counts, "requests to be drawn again")
    events = (await gateway.get(f"/v1/experiments/{NAME}/events")).json["data"]
    told = next(each["detail"] for each in events if each["kind"] == "restored")
    assert (told["reason"], told["comparisons"], told["comparisons_before"]) == ("one too many", 1, 3)
    assert await run("verify", NAME, "--redis-url", embedded_url) == 2  # undecided, and nothing differs
    assert "no certificate" in capsys.readouterr().err


async def test_user_without_a_name_restores_too(
    gateway: Whole, embedded_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An arbitrary user of a container has none; the audit log has its number."""

    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr(getpass, "getuser", no_name)
    file, place = str(tmp_path / "backup"), ("--redis-url", embedded_url)
    assert await run("backup", file, *place) == 0

    assert await run("restore", file, "--replace", "--reason", "a drill", *place) == 0

    events = (await gateway.get(f"/v1/experiments/{NAME}/events")).json["data"]
    told = next(each["detail"] for each in events if each["kind"] == "restored")
    assert told["actor"] == f"uid {os.getuid()}"


async def test_what_a_replica_knew_of_the_old_store_lets_it_follow_the_restored_one(
    gateway: Whole, embedded_url: str, tmp_path: Path
) -> None:
    """An emptied store is held; restoring into it is the acceptance, and nobody has to restart."""
    file, place = str(tmp_path / "backup"), ("--redis-url", embedded_url)
    first = (await gateway.compare()).json["id"]
    await gateway.feed(id=first, preferred="tie")
    assert await run("backup", file, *place) == 0
    redis = connect(embedded_url, timeout_seconds=PATIENCE_SECONDS)
    await redis.flushall()

    async def is_held() -> bool:
        return (await gateway.get("/readyz")).json["store"] == "held"

    await eventually(is_held, "the loss to be seen")
    assert (await gateway.feed(id=first, preferred="tie")).status == 503
    refused = await gateway.get(f"/v1/experiments/{NAME}/log")
    assert (refused.status, "the store lost it" in refused.json["error"]["message"]) == (404, True)
    assert await run("restore", file, *place) == 0

    await eventually(partial(is_up, gateway), "the restored store to be followed")
    assert (await gateway.feed(id=first, preferred="tie")).json["status"] == "duplicate"
    assert (await StoreVitals(redis).read())[0].epoch == 2
    await redis.aclose()


async def test_killed_commands_leave_all_or_nothing(
    embedded_store: PolicyStore, embedded_url: str, tmp_path: Path
) -> None:
    """`kill -9` at random moments of `llmpo backup` and `llmpo restore`: no half file, no half experiment."""
    await planned(embedded_store)
    for index in range(300):
        await prefer(embedded_store, f"u{index}")
    path, draws = tmp_path / "backup", random.Random(5)

    async def killed(*words: str, seconds: float) -> None:
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.cli", *words, "--redis-url", embedded_url),
            env={**os.environ},
            stdout=subprocess.DEVNULL,
        )
        await asyncio.sleep(seconds)
        if running.returncode is None:
            running.send_signal(signal.SIGKILL)
        await running.wait()

    for _ in range(3):
        await killed("backup", str(path), seconds=draws.uniform(0.5, 1.2))
        assert not path.exists() or BackupFile(path).moments[0].comparisons == 300
    assert await run("backup", str(path), "--redis-url", embedded_url) == 0
    redis = connect(embedded_url, prefix=ELSEWHERE, timeout_seconds=PATIENCE_SECONDS)
    there = PolicyStore(redis, timeout_seconds=PATIENCE_SECONDS)
    words = ("restore", str(path), "--redis-prefix", ELSEWHERE)
    for _ in range(3):
        await killed(*words, seconds=draws.uniform(0.5, 1.2))
        try:
            assert (await there.counts(NAME, 1)).comparisons == 300
        except UnknownExperimentError:
            continue
    again = (*words, "--replace", "--reason", "again", "--redis-url", embedded_url)
    assert await run(*again) == 0
    assert len(await logged_comparisons(there)) == 300
    await there.aclose()
