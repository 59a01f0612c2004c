"""docs/configuration.md says how every command of `llmpo` ends, and so they end."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import structlog
import typer

from gateway.cli import COMMANDS, main
from gateway.config.api_keys import hash_key
from tests.gateway.building import NAME, config_fields, definition, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.process import Served
from tests.gateway.whole import Whole, quick_settings, whole_gateway
from tests.servers import free_port

ROOT: Final = Path(__file__).parents[3]
ROW: Final = re.compile(r"^\| `([a-z -]+)` \|(.*)\|(.*)\|(.*)\|(.*)\|$", re.MULTILINE)
Cell = tuple[str, int]

HANDS: Final = ("pause", "resume", "stop", "approve", "reject", "promote", "rollback")

# What a command line may refer to is made by `files`. Each ends with the status beside it.
ALONE: Final[list[tuple[str, int]]] = [
    ("llmpo --version", 0),
    ("llmpo serv", 2),
    ("serve --config {good} --port {taken}", 1),
    ("serve --config {none}", 2),
    ("demo --limit soon", 2),
    ("demo provider --port {taken}", 1),
    ("demo provider --port high", 2),
    ("demo users", 2),
    ("config check {good}", 0),
    ("config check {unasked} --probe", 1),
    ("config check {wrong}", 2),
    ("config diff {good} {good}", 0),
    ("config diff {good} --url {nowhere}", 1),
    ("config diff {good} {wrong}", 2),
    ("config diff {good} {unasked}", 3),
    ("config promote {good} --certificate {certificate}", 0),
    ("config promote {good} --url {nowhere}", 1),
    ("config promote {wrong}", 2),
    ("config schema", 0),
    ("config schema --pretty", 2),
    ("optimize --config {none}", 2),
    ("keys new", 0),
    ("keys new --admin", 2),
    ("keys create web --url {nowhere}", 1),
    ("keys create", 2),
    ("keys list --url {nowhere}", 1),
    ("keys list all", 2),
    ("keys revoke web --url {nowhere}", 1),
    ("keys revoke", 2),
    ("experiments list --url {nowhere}", 1),
    ("experiments list all", 2),
    ("experiments show support --url {nowhere}", 1),
    ("experiments show", 2),
    *(
        (f"experiments {verb} support --reason why --url {{nowhere}}", 1)
        for verb in HANDS
        if verb != "promote"
    ),
    ("experiments promote support --policy warm --reason why --url {nowhere}", 1),
    ("experiments readmit support --policy warm --reason why --url {nowhere}", 1),
    ("experiments readmit support", 2),
    *((f"experiments {verb} support", 2) for verb in HANDS),
    ("experiments events support --url {nowhere}", 1),
    ("experiments events", 2),
    ("webhooks list --url {nowhere}", 1),
    ("webhooks list all", 2),
    ("webhooks test ops --url {nowhere}", 1),
    ("webhooks test", 2),
    ("webhooks dead-letters ops --url {nowhere}", 1),
    ("webhooks dead-letters", 2),
    ("webhooks replay ops --url {nowhere}", 1),
    ("webhooks replay", 2),
    ("store show --url {nowhere}", 1),
    ("store show all", 2),
    ("store accept --url {nowhere}", 1),
    ("store accept all", 2),
    ("backup {none} --redis-url redis://127.0.0.1:1", 1),
    ("backup {none} --data-dir {none}", 2),
    ("archive {none} --redis-url redis://127.0.0.1:1", 1),
    ("archive {none} --keep 1", 2),
    ("restore {good} --redis-url redis://127.0.0.1:1", 1),
    ("restore {good} --replace", 2),
    ("verify {proven} --log {log}", 0),
    ("experiments verify {proven} --log {log}", 0),
    ("experiments verify {proven} --log {turned}", 1),
    ("experiments verify {proven} --log {none}", 2),
    ("verify {proven} --log {turned}", 1),
    ("verify {proven} --log {cut}", 2),
    ("verify {proven} --log {none}", 2),
    ("verify {proven} --log {good}", 2),
    ("verify other --log {log}", 2),
    ("verify {proven} --data-dir {none}", 2),
    ("verify {proven} --url {nowhere}", 2),
    ("verify {proven} --redis-url redis://127.0.0.1:1", 2),
    ("verify {proven} --redis-url http://127.0.0.1:1", 2),
    ("verify", 2),
    ("simulate --world {world} --seeds 2 --max-comparisons 20 --processes 1 --state {state}", 0),
    ("simulate --world {world} --seeds 2 --max-comparisons 20 --processes 1 --state {other_state}", 1),
    ("simulate --world {none}", 2),
    ("simulate --world {world} --method guess", 2),
    ("estimate --config {good} --requests-per-day 1000 --feedback-rate 0.5 --runs 1", 0),
    ("estimate --config {good} --requests-per-day 1000 --feedback-rate 0.5 --experiment suport", 2),
    ("estimate --config {good} --requests-per-day 1000 --feedback-rate 7", 2),
    ("estimate --config {wrong} --requests-per-day 1000 --feedback-rate 0.5", 2),
    ("hardness --world {world}", 0),
    ("hardness --world {none}", 2),
]
WITH_A_GATEWAY: Final[list[tuple[str, int]]] = [
    ("keys create web", 0),
    ("keys create web", 1),
    ("keys list", 0),
    ("keys revoke web", 0),
    ("keys revoke unknown", 1),
    ("experiments list", 0),
    (f"experiments show {NAME}", 0),
    ("experiments show unknown", 1),
    (f"experiments events {NAME}", 0),
    (f"experiments pause {NAME} --reason why", 0),
    (f"experiments stop {NAME} --reason why", 0),
    (f"experiments resume {NAME} --reason why", 0),
    ("webhooks list", 0),
    ("store show", 0),
    ("store accept", 0),
    (f"verify {NAME}", 2),
    ("verify unknown", 2),
    (f"experiments promote {NAME} --policy warm --reason why", 0),
    (f"experiments rollback {NAME} --reason why", 0),
]
# Endings that take a run of their own are shown where those runs are.
ELSEWHERE: Final[dict[Cell, str]] = {
    ("demo", 0): "e2e/test_demo.py::test_the_demo_ends_with_a_verified_promotion_of_the_best_policy",
    ("demo", 1): "e2e/test_demo.py::test_a_limit_that_is_too_short_is_a_failure",
    ("demo provider", 0): "gateway/demo/test_commands.py::test_the_provider_stops_when_told_to",
    ("demo users", 0): (
        "gateway/demo/test_commands.py::test_users_wait_for_a_gateway_then_ask_and_stop_when_told_to"
    ),
    (
        "experiments approve",
        0,
    ): "gateway/app/test_hand_on_the_wheel.py::test_approval_and_rollback_reach_every_replica",
    (
        "experiments reject",
        0,
    ): "gateway/app/test_hand_on_the_wheel.py::test_what_is_rejected_leaves_the_incumbent",
    (
        "experiments readmit",
        0,
    ): "gateway/app/test_guardrails.py::test_a_policy_that_fails_often_is_ejected_and_readmitted",
    ("backup", 0): "gateway/cli/test_backup.py::test_a_running_gateway_goes_on_from_the_backup",
    (
        "archive",
        0,
    ): "gateway/proof/test_archive.py::test_nothing_leaves_the_store_that_is_not_archived",
    ("restore", 0): "gateway/cli/test_backup.py::test_a_running_gateway_goes_on_from_the_backup",
    ("optimize", 0): "gateway/offline/test_command.py::test_json_is_one_object",
    (
        "optimize",
        1,
    ): "gateway/offline/test_command.py::test_failed_run_ends_with_status_1_and_shows_no_secret",
    ("optimize", 3): "gateway/offline/test_command.py::test_inconclusive_run_ends_with_status_3",
    ("webhooks test", 0): (
        "gateway/notifying/test_webhooks.py::test_a_test_is_told_at_once_and_its_failure_shown"
    ),
    **{
        (f"webhooks {verb}", 0): (
            "gateway/notifying/test_webhooks.py::"
            "test_what_cannot_be_delivered_is_kept_and_sent_again_on_request"
        )
        for verb in ("dead-letters", "replay")
    },
    ("serve", 0): "gateway/cli/test_exit_statuses.py::test_a_gateway_that_is_told_to_stop_ends_with_0",
}


@cache
def commands() -> tuple[str, ...]:
    """Every command that can be typed, as the program itself lists them."""
    found = ["llmpo"]
    for name, listed in COMMANDS.items():
        command = listed.load()
        own = command.commands if isinstance(command, typer.core.TyperGroup) else {}
        if not own or command.invoke_without_command:
            found.append(name)
        found += [f"{name} {inner}" for inner in own]
    return tuple(found)


def documented() -> dict[str, set[int]]:
    """The statuses that the page gives each command a meaning for."""
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    table = page.partition("## Exit statuses of `llmpo`")[2]
    return {row[0]: {n for n, cell in enumerate(row[1:]) if cell.strip()} for row in ROW.findall(table)}


def command_of(line: str) -> str:
    """The command that a line runs."""
    return max((name for name in commands() if f"{line} ".startswith(f"{name} ")), key=len)


def test_every_command_has_a_row() -> None:
    """One that is added is described, and one that is gone does not stay."""
    assert set(documented()) == set(commands())


def test_every_ending_is_shown() -> None:
    """What the page says of a status is run below or where it is referred to, and nothing else ends so."""
    told = {(name, status) for name, statuses in documented().items() for status in statuses}
    shown = {(command_of(line), status) for line, status in ALONE + WITH_A_GATEWAY}
    assert shown | set(ELSEWHERE) == told
    assert all({0, 2} <= statuses for statuses in documented().values())
    for place in ELSEWHERE.values():
        file, _, test = place.partition("::")
        assert re.search(rf"^(async )?def {test}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE), place


@pytest.fixture
def files(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What the command lines refer to."""
    fields = config_fields()
    wrong = {**fields, "model_list": []}
    log = (ROOT / "tests/data/logs/winner.jsonl").read_text()
    unasked = {"model_list": config_fields(api_base=f"http://127.0.0.1:{free_port()}/v1")["model_list"]}
    contents = {
        "good": json.dumps(fields),
        "wrong": json.dumps(wrong),
        "unasked": json.dumps(unasked),
        "log": log,
        "turned": log.replace('"result":"win"', '"result":"loss"', 1),
        "cut": log[: len(log) // 2],
        "world": '{"P": [[0.5, 0.9], [0.1, 0.5]]}',
        "certificate": f'{{"experiment": {definition().experiment.to_json()}, "champion": 1}}',
    }
    assert contents["turned"] != log
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    state = tmp_path / "other"
    assert main(["simulate", "--world", str(tmp_path / "world"), "--seeds", "1", "--state", str(state)]) == 0
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield {
            **{name: tmp_path / name for name in (*contents, "none", "state")},
            "other_state": state,
            "proven": json.loads(log.splitlines()[0])["name"],
            "taken": listening.getsockname()[1],
            "nowhere": f"http://127.0.0.1:{free_port()}",
        }


def ended(line: str, files: dict[str, Any], *more: str) -> int:
    """How a command line ends."""
    return main([*line.format(**files).removeprefix("llmpo ").split(), *more])


def test_commands_end_as_the_page_says(
    files: dict[str, Any], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command ends with its status; a failure prints its reason on standard error and no traceback."""
    monkeypatch.delenv("LLMPO_REDIS_URL", raising=False)
    monkeypatch.setenv("LLMPO_DATA_DIR", str(files["none"]))
    for line, status in ALONE:
        assert ended(line, files) == status, line
        told = capfd.readouterr()
        assert "Traceback" not in told.err, line
        assert status == 0 or told.err or told.out, line


@pytest.fixture
async def gateway(
    upstream: FakeUpstream, embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Whole]:
    """A gateway with an experiment, and an admin key that the commands find in the environment.

    Its log goes nowhere: outside of tests it is another process.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable()
    monkeypatch.setenv("LLMPO_API_KEY", "ops")
    config = gateway_config(api_base=upstream.api_base, auth={"admin_keys": [hash_key("ops")]})
    async with whole_gateway(config, quick_settings(embedded_url), key="ops") as gateway:
        await gateway.planned()
        yield gateway
    logging.disable(logging.NOTSET)
    structlog.reset_defaults()


async def test_commands_that_ask_a_gateway_end_as_the_page_says(
    gateway: Whole, capfd: pytest.CaptureFixture[str]
) -> None:
    """The order of the commands matters, because a key that was made cannot be made again."""
    for line, status in WITH_A_GATEWAY:
        assert await asyncio.to_thread(ended, line, {}, "--url", gateway.url) == status, line
        assert "Traceback" not in capfd.readouterr().err, line


async def test_a_gateway_that_is_told_to_stop_ends_with_0(upstream: FakeUpstream, tmp_path: Path) -> None:
    """SIGTERM is how it is asked to."""
    async with aiohttp.ClientSession() as session:
        served = Served(tmp_path, config_fields(api_base=upstream.api_base), session)
        try:
            await served.start()
            assert await served.end() == 0
        finally:
            served.clean_up()
            shutil.rmtree(tmp_path / "data", ignore_errors=True)
