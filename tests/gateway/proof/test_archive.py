"""An archive has each entry once, lets the store remove only what it has, and shows every change."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.cli import archive as command
from gateway.cli import main
from gateway.proof.archive import ArchiveError, ArchiveWriter, archive_path, read_archive
from gateway.proof.experiment_log import ExperimentLog
from policy_store.archives import ArchiveStore
from policy_store.connect import connect
from policy_store.errors import StoreRefusedError, StoreUnavailableError
from policy_store.log_records import LoggedPlan, Result
from policy_store.report_records import Report
from policy_store.roles import Role
from policy_store.store import PolicyStore
from tests.gateway.building import NAME
from tests.policy_store.building import logged_comparisons, planned, prefer, started

OTHER = "elsewhere"


async def run(*arguments: str) -> int:
    """The command's exit status, beside this loop."""
    return await asyncio.to_thread(main, arguments)


def entries(folder: Path, name: str = NAME) -> list[str]:
    """The entries of the first generation's log in an archive."""
    return [found.entry for found in read_archive(folder, name, "1")]


async def trimmed(url: str, folder: Path, keep: int) -> None:
    """Archive everything and remove what may be removed."""
    redis = connect(url, timeout_seconds=5)
    assert await run("archive", str(folder), "--redis-url", url) == 0
    await ArchiveStore(redis, timeout_seconds=5).trim(NAME, "1", keep)
    await redis.aclose()


async def exported(store: PolicyStore, path: Path) -> Path:
    """The exported log in a file."""
    text = b"".join([line async for line in ExperimentLog(store).lines(NAME)])
    await asyncio.to_thread(path.write_bytes, text)
    return path


async def test_a_decision_is_verified_from_archive_and_log_on_another_machine(
    decide: Callable[..., Any],
    embedded_store: PolicyStore,
    embedded_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The log alone lacks what was removed; with the archive it is what it was, whatever is kept."""
    whole = await decide(every=1)
    await trimmed(embedded_url, tmp_path / "archive", keep=8)
    log = await exported(embedded_store, tmp_path / "log")
    rows = [json.loads(line) for line in log.read_bytes().splitlines()]
    assert len(rows) < len(whole) - 10
    assert [row for row in rows if row["type"] == "event"] == [row for row in whole if row["type"] == "event"]
    shutil.copytree(tmp_path / "archive", tmp_path / "copy")

    assert await run("verify", NAME, "--log", str(log)) == 2
    assert "are missing" in capsys.readouterr().err
    for source in (("--log", str(log)), ("--redis-url", embedded_url)):
        assert await run("verify", NAME, *source, "--archive", str(tmp_path / "copy")) == 0
        assert capsys.readouterr().out.startswith("confirmed")
    backup = str(tmp_path / "backup")
    assert await run("backup", backup, "--redis-url", embedded_url) == 0
    assert await run("verify", NAME, "--log", backup, "--archive", str(tmp_path / "copy")) == 0


async def test_a_folder_without_the_archive_is_refused_even_if_the_log_is_whole(
    decide: Callable[..., Any],
    embedded_store: PolicyStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A mistyped folder does not pass for an archive that agrees."""
    await decide()
    log = str(await exported(embedded_store, tmp_path / "log.jsonl"))
    assert await run("verify", NAME, "--log", log) == 0
    (tmp_path / "empty").mkdir()
    for folder in ("none", "empty"):
        assert await run("verify", NAME, "--log", log, "--archive", str(tmp_path / folder)) == 2
        assert f"There is no archive of {NAME!r} in {tmp_path / folder}" in capsys.readouterr().err


async def test_what_went_on_informing_is_verified_from_archive_and_log(
    decide: Callable[..., Any],
    embedded_store: PolicyStore,
    embedded_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Verdicts of an earlier generation that were all removed are asked for, and found in the archive."""
    await decide(policies=("a", "b", "c"), most=12)
    for number in range(6):
        said = Report(NAME, 1, f"judged{number}", 0, 2, "judge", "win", 60, informs=Role.JUDGE)
        await embedded_store.record_preference(said, Result.WIN)
    await decide(policies=("a", "c"), incumbent="a", first_unit=3_000)
    archive = tmp_path / "archive"
    assert await run("archive", str(archive), "--redis-url", embedded_url) == 0
    store = ArchiveStore(embedded_store._redis, timeout_seconds=5)
    assert await store.trim(NAME, "1:judge", 0) == 6
    capsys.readouterr()

    assert await run("verify", NAME, "--redis-url", embedded_url) == 2
    assert "Comparisons 1 to 6 of what informed generation 1 as judge" in capsys.readouterr().err
    assert await run("verify", NAME, "--redis-url", embedded_url, "--archive", str(archive)) == 0
    assert capsys.readouterr().out.startswith("confirmed")


async def test_a_decision_after_comparisons_were_removed_claims_nothing_of_all_votes(
    decide: Callable[..., Any],
    embedded_store: PolicyStore,
    embedded_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The planner has only the rest of the log, so `integrity` is left out, and all else is confirmed."""
    await decide(most=5)
    await trimmed(embedded_url, tmp_path / "archive", keep=4)
    rows = await decide(first_unit=5)
    assert await run("archive", str(tmp_path / "archive"), "--redis-url", embedded_url) == 0
    capsys.readouterr()

    assert rows[0]["certificate"]["comparisons"] > 5
    assert "integrity" not in rows[0]["certificate"]
    source = ("--redis-url", embedded_url, "--archive", str(tmp_path / "archive"))
    assert await run("verify", NAME, *source) == 0, capsys.readouterr()
    assert capsys.readouterr().out.startswith("confirmed")


async def test_a_changed_or_gapped_archive_is_refused_at_its_first_difference(
    decide: Callable[..., Any],
    embedded_store: PolicyStore,
    embedded_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A changed result, a line left out, lines exchanged, and an end that is missing are each named."""
    await decide()
    folder = tmp_path / "archive"
    await trimmed(embedded_url, folder, keep=8)
    log = str(await exported(embedded_store, tmp_path / "log"))
    path = archive_path(folder, NAME, "1")
    good = path.read_bytes().splitlines(keepends=True)
    place = next(number for number, line in enumerate(good) if b'"result":"loss"' in line)
    named = json.loads(good[place])["entry"]
    after = json.loads(good[place + 1])["entry"]

    async def refused(lines: list[bytes]) -> str:
        path.write_bytes(b"".join(lines))
        assert await run("verify", NAME, "--log", log, "--archive", str(folder)) == 2
        return capsys.readouterr().err

    turned = good[place].replace(b'"result":"loss"', b'"result":"win"')
    assert f"entry {named}" in await refused([*good[:place], turned, *good[place + 1 :]])
    assert f"entry {after}" in await refused([*good[:place], *good[place + 1 :]])
    assert f"entry {after}" in await refused(
        [*good[:place], good[place + 1], good[place], *good[place + 2 :]]
    )
    assert "is missing" in await refused(good[: len(good) // 2])
    assert "line 2" in await refused([good[0], b"{}\n", *good[1:]])
    path.write_bytes(b"".join(good[: len(good) // 2]))
    assert await run("archive", str(folder), "--redis-url", embedded_url) == 1
    assert "Go on with that one" in capsys.readouterr().err


async def test_nothing_leaves_the_store_that_is_not_archived(
    embedded_store: PolicyStore, embedded_url: str, tmp_path: Path
) -> None:
    """Without an archive nothing is removed; with one only comparisons and plans up to where it is."""
    await planned(embedded_store)
    for index in range(30):
        await prefer(embedded_store, f"u{index}")
    redis = connect(embedded_url, timeout_seconds=5)
    store = ArchiveStore(redis, timeout_seconds=5)
    assert await store.trim(NAME, "1", 5) == 0
    assert await run("archive", str(tmp_path), "--redis-url", embedded_url) == 0
    for index in range(30, 50):
        await prefer(embedded_store, f"u{index}")

    assert await store.trim(NAME, "1", 5) == 31  # the plan as well

    kept = [each.number for each in await logged_comparisons(embedded_store)]
    assert kept == list(range(31, 51))
    assert (await embedded_store.log(NAME, 1))[0][0].kind == "started"
    assert await run("archive", str(tmp_path), "--keep", "1000", "--redis-url", embedded_url) == 0
    assert await store.trim(NAME, "1", 5) == 16
    assert [each.number for each in await logged_comparisons(embedded_store)] == list(range(47, 51))
    assert len(entries(tmp_path)) == 52
    await redis.aclose()


async def test_a_full_disk_is_named_and_nothing_is_said_to_be_archived(
    embedded_store: PolicyStore,
    embedded_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The file, and why, in one line; with room again the archive is whole."""
    await planned(embedded_store)
    assert await run("archive", str(tmp_path), "--redis-url", embedded_url) == 0
    await prefer(embedded_store, "u1")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as faults:
        faults.setattr(os, "fsync", full)
        assert await run("archive", str(tmp_path), "--redis-url", embedded_url) == 1
    said = capsys.readouterr().err
    assert f"{archive_path(tmp_path, NAME, '1')} cannot be written: No space left on device." in said

    assert await run("archive", str(tmp_path), "--redis-url", embedded_url) == 0
    assert len(entries(tmp_path)) == 3


async def test_every_entry_is_in_the_file_once_however_often_it_is_killed(
    embedded_store: PolicyStore, embedded_url: str, tmp_path: Path
) -> None:
    """`kill -9` while two experiments are followed, and a torn last line: no entry twice, none missing."""
    await planned(embedded_store)
    await started(embedded_store, name=OTHER)
    draws, environment = random.Random(3), {**os.environ, "LLMPO_DATA_DIR": str(tmp_path)}
    folder = tmp_path / "archive"
    sent = 0
    for _ in range(3):
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.cli", "archive", str(folder), "--follow"),
            *("--redis-url", embedded_url),
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        until = asyncio.get_running_loop().time() + draws.uniform(1.0, 2.5)
        while asyncio.get_running_loop().time() < until:
            sent += 1
            await prefer(embedded_store, f"u{sent}")
            said = Report(OTHER, 1, f"u{sent}", 0, 1, "side_by_side", "win", 3600)
            await embedded_store.record_preference(said, Result.WIN)
            await asyncio.sleep(0.002)
        running.send_signal(signal.SIGKILL)
        await running.wait()
        for name in (NAME, OTHER):
            path = archive_path(folder, name, "1")
            if path.exists():
                with path.open("ab") as file:
                    file.write(b'{"entry":"9999')
    assert await run("archive", str(folder), "--redis-url", embedded_url) == 0

    redis = connect(embedded_url, timeout_seconds=5)
    for name in (NAME, OTHER):
        stream = await redis.xrange(redis.names.experiment(name).generation(1).log)
        assert entries(folder, name) == [entry for entry, _ in stream]
    await redis.aclose()


async def test_an_archive_of_a_lost_future_is_not_gone_on_with(
    embedded_store: PolicyStore,
    embedded_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a restore the log is another one from there on; the old archive stays what it is."""
    monkeypatch.setattr(command, "configure_logging", lambda *_, **__: None)
    place = ("--redis-url", embedded_url)
    await planned(embedded_store)
    await prefer(embedded_store, "u1")
    folder, backup = str(tmp_path / "archive"), str(tmp_path / "backup")
    assert await run("archive", folder, *place) == 0
    assert await run("backup", backup, *place) == 0
    await prefer(embedded_store, "u2")
    assert await run("archive", folder, *place) == 0
    before = entries(tmp_path / "archive")
    following = asyncio.create_task(run("archive", folder, "--follow", *place))
    redis = connect(embedded_url, timeout_seconds=5)
    store = ArchiveStore(redis, timeout_seconds=5)
    await asyncio.sleep(0.3)
    assert await run("restore", backup, "--replace", "--reason", "try", *place) == 0
    await prefer(embedded_store, "u3")

    assert await following == 1
    assert await run("archive", folder, *place) == 1

    assert (await store.archived(NAME, "1")).entry == before[2]  # as the backup has it
    await redis.aclose()
    assert "put back to an earlier state" in capsys.readouterr().err
    assert entries(tmp_path / "archive") == before
    fresh = str(tmp_path / "fresh")
    assert await run("archive", fresh, *place) == 1
    assert await run("archive", fresh, "--reset", *place) == 0
    assert entries(tmp_path / "fresh")[:3] == before[:3]
    assert entries(tmp_path / "fresh")[3:] != before[3:]
    shutil.copytree(tmp_path / "archive" / NAME, tmp_path / "archive" / OTHER)
    with pytest.raises(ArchiveError, match="is the archive of"):
        entries(tmp_path / "archive", OTHER)


async def test_an_archive_is_written_by_one_process(
    embedded_store: PolicyStore, embedded_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second one is refused, not interleaved."""
    await planned(embedded_store)
    with command._locked(tmp_path):
        assert await run("archive", str(tmp_path), "--redis-url", embedded_url) == 1
    assert "Another `llmpo archive`" in capsys.readouterr().err


def test_files_are_open_only_while_they_are_written(tmp_path: Path) -> None:
    """Every generation and watch has logs of its own, and a process may have a thousand files open."""
    before = len(list(Path("/dev/fd").iterdir()))
    made = [ArchiveWriter(tmp_path, NAME, str(number), None) for number in range(50)]
    assert len(list(Path("/dev/fd").iterdir())) < before + len(made) // 2


@pytest.mark.parametrize("line", ["[]", "null", "5", "{}", "[" * 100_000])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, line: str) -> None:
    """Whatever JSON its first line is."""
    path = archive_path(tmp_path, NAME, "1")
    path.parent.mkdir()
    path.write_text(line + "\n")
    with pytest.raises(ArchiveError, match="line 1, behind entry 0-0, is none of an archive"):
        list(read_archive(tmp_path, NAME, "1"))


def test_a_file_that_something_else_changed_or_removed_is_not_gone_on_with(tmp_path: Path) -> None:
    """What would be written would be no archive, and the store must not be told that it is."""
    writer = ArchiveWriter(tmp_path, NAME, "1", None)
    page = [("1-0", LoggedPlan(1, 1, 0, ((0, 1, 500_000),), 10.0))]
    path = archive_path(tmp_path, NAME, "1")
    with path.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(ArchiveError, match="Something else changed"):
        writer.append(page)
    path.unlink()
    with pytest.raises(ArchiveError, match="cannot be written: No such file"):
        writer.append(page)


async def test_an_archive_that_is_lost_is_begun_anew_only_on_request(
    decide: Callable[..., Any], embedded_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong path looks like a lost folder. With --reset the new one has what the store still has."""
    place = ("--redis-url", embedded_url)
    await decide(most=10)
    await trimmed(embedded_url, tmp_path / "lost", keep=4)
    redis = connect(embedded_url, timeout_seconds=5)
    log = redis.names.experiment(NAME).generation(1).log
    left = [entry for entry, _ in await redis.xrange(log)]
    new = tmp_path / "new"
    assert await run("archive", str(new), *place) == 1
    assert "--reset" in capsys.readouterr().err

    assert await run("archive", str(new), "--reset", *place) == 0
    assert entries(new) == left
    assert f"up to entry {left[-1]} elsewhere" in capsys.readouterr().err
    await decide(first_unit=10)
    for _ in range(2):  # it may stay on the command line
        assert await run("archive", str(new), "--reset", *place) == 0
    assert entries(new) == [entry for entry, _ in await redis.xrange(log)]
    await redis.aclose()

    assert await run("archive", str(tmp_path / "lost"), "--reset", *place) == 1
    assert await run("verify", NAME, *place, "--archive", str(new)) == 2
    assert "Comparisons 1 to" in capsys.readouterr().err


async def test_an_archiver_says_once_that_the_store_is_away_and_once_that_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A follower that stands still for a night must not look like one that works, nor fill the log."""
    silent, full = StoreUnavailableError("No answer."), StoreRefusedError("The store refused.", word="OOM")
    faults = iter([silent, silent, full, full, None, None, silent, None, ArchiveError("No room.")])

    class Archiving:
        archived = 7

        async def all(self, _: object) -> None:
            if (fault := next(faults)) is not None:
                raise fault

    monkeypatch.setattr(command, "PAUSE_SECONDS", 0.0)
    with structlog.testing.capture_logs() as lines, pytest.raises(ArchiveError):
        await command._follow(Archiving(), ())  # type: ignore[arg-type]

    assert [(line["event"], line.get("error", line.get("archived"))) for line in lines] == [
        ("archive_waits", "No answer."),
        ("archive_waits", "The store refused."),
        ("archive_goes_on", 7),
        ("archive_waits", "No answer."),
        ("archive_goes_on", 7),
    ]
