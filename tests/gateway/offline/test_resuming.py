"""A run that was stopped or killed goes on exactly as it would have, and no other takes its place."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.offline.errors import RunDirectoryError
from gateway.proof.recorded import read_log
from gateway.proof.verification import verify
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.offline.solving import (
    Silent,
    optimized,
    provider_in_thread,
    rows,
    solver,
    write_config,
    write_tasks,
)
from tests.pace import PATIENCE_SECONDS

SKILLS = {"weak": 25, "fair": 45, "good": 85}  # close enough to take more than thirty comparisons


def course_of(out: Path) -> list[dict[str, Any]]:
    """Plans and comparisons without their times."""
    lines = [row for row in rows(out / "run.jsonl") if row["type"] in {"plan", "comparison"}]
    return [{key: value for key, value in line.items() if key != "at"} for line in lines]


def wait_for_comparisons(out: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Until the run has counted so many."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    journal = out / "run.jsonl"
    while not journal.exists() or journal.read_bytes().count(b'"type":"comparison"') < count:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run counts nothing"
        time.sleep(0.005)


def test_killed_run_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL twice: the same comparisons are counted under the same plans as in an undisturbed run."""
    behaviours = {model: solver(percent, pause_seconds=0.05) for model, percent in SKILLS.items()}
    with provider_in_thread(**behaviours) as upstream:
        config = write_config(tmp_path, upstream.api_base)
        disturbed, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
        command = [sys.executable, "-m", "gateway.cli", "optimize", "--config", str(config), "--no-plots"]
        for counted, more in ((10, []), (25, ["--resume"])):
            process = subprocess.Popen(
                [*command, "--out", str(disturbed), *more], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            wait_for_comparisons(disturbed, counted, process)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        arguments = ["optimize", "--config", str(config), "--no-plots", "--json", "--out"]
        assert main([*arguments, str(disturbed), "--resume"]) == 0
        assert main([*arguments, str(undisturbed)]) == 0

    first, second = map(json.loads, capfd.readouterr().out.splitlines())
    assert course_of(disturbed) == course_of(undisturbed)
    assert first["champion"] == second["champion"] == "good"
    assert verify(read_log((disturbed / "log.jsonl").read_bytes().splitlines())).is_confirmed


async def test_run_cut_off_anywhere_ends_the_same(upstream: FakeUpstream, tmp_path: Path) -> None:
    """The journals may end at any byte; the resumed run has the course of the whole one."""
    for model, percent in SKILLS.items():
        upstream.on(model, solver(percent))
    config, whole = write_config(tmp_path, upstream.api_base), tmp_path / "whole"
    await optimized(config, whole)
    draws = random.Random(5)
    for number in range(5):
        cut = tmp_path / f"cut{number}"
        cut.mkdir()
        for name in ("run.jsonl", "answers.jsonl"):
            content = (whole / name).read_bytes()
            (cut / name).write_bytes(content[: draws.randrange(1, len(content))])
        outcome, _ = await optimized(config, cut, resumes=True)
        assert course_of(cut) == course_of(whole)
        assert verify(read_log(outcome.log)).is_confirmed


@pytest.fixture
async def stopped(upstream: FakeUpstream, tmp_path: Path) -> Path:
    """A run that Ctrl-C stopped after 20 comparisons, in `out`; its file."""
    for model, percent in SKILLS.items():
        upstream.on(model, solver(percent))
    config = write_config(tmp_path, upstream.api_base)
    with pytest.raises(KeyboardInterrupt):
        await optimized(config, tmp_path / "out", watcher=Silent(stop_after=20))
    return config


async def test_interrupted_run_goes_on(stopped: Path, upstream: FakeUpstream, tmp_path: Path) -> None:
    """The resumed run begins with comparison 21 and asks for no answer again that was kept."""
    watcher, asked, kept = Silent(), len(upstream.seen), len(rows(tmp_path / "out" / "answers.jsonl"))
    outcome, _ = await optimized(stopped, tmp_path / "out", resumes=True, watcher=watcher)

    assert watcher.seen[0] == 21
    assert outcome.summary["champion"] == "good"
    assert kept >= 20
    assert len(upstream.seen) - asked == outcome.summary["calls"] - kept


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"delta": 0.01}, "changed: delta"),
        ({"epsilon": 0.1}, "changed: epsilon"),
        ({"seed": 5}, "changed: seed"),
        ({"incumbent": "fair"}, "changed: incumbent"),
        ({"draw": "population"}, "changed: draw"),
        ({"judge": {"exact_match": {"ignore_case": False}}}, "changed: judge"),
        (
            {
                "policies": {
                    name: {"model": name, "params": {"temperature": 0, "top_p": 0.9}} for name in SKILLS
                }
            },
            "changed: policy fair, policy good, policy weak",
        ),
    ],
)
async def test_changed_configuration_is_not_resumed(
    stopped: Path, upstream: FakeUpstream, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    """The refusal names what changed; nothing is asked or counted."""
    before, asked = (tmp_path / "out" / "run.jsonl").read_bytes(), len(upstream.seen)
    changed = write_config(tmp_path, upstream.api_base, **change)

    with pytest.raises(RunDirectoryError, match=named):
        await optimized(changed, tmp_path / "out", resumes=True)
    assert (tmp_path / "out" / "run.jsonl").read_bytes() == before
    assert len(upstream.seen) == asked


async def test_changed_tasks_are_not_resumed(stopped: Path, tmp_path: Path) -> None:
    """One task more is another list."""
    write_tasks(tmp_path / "tasks.jsonl", count=61)
    with pytest.raises(RunDirectoryError, match="changed: tasks"):
        await optimized(stopped, tmp_path / "out", resumes=True)


async def test_limits_may_change(stopped: Path, upstream: FakeUpstream, tmp_path: Path) -> None:
    """Budget, concurrency and number of comparisons decide how far a run goes, not what it means."""
    changed = write_config(
        tmp_path, upstream.api_base, budget={"calls": 10_000}, concurrency=2, max_comparisons=5_000
    )
    outcome, _ = await optimized(changed, tmp_path / "out", resumes=True)

    assert outcome.summary["champion"] == "good"
    assert verify(read_log(outcome.log)).differences == ()


async def test_fewer_comparisons_than_were_counted_are_refused(
    stopped: Path, upstream: FakeUpstream, tmp_path: Path
) -> None:
    """What was counted cannot be taken back."""
    changed = write_config(tmp_path, upstream.api_base, max_comparisons=19)
    with pytest.raises(RunDirectoryError, match="counted 20 comparisons, more than max_comparisons"):
        await optimized(changed, tmp_path / "out", resumes=True)


async def test_torn_last_line_is_dropped(stopped: Path, tmp_path: Path) -> None:
    """A line cut short by a crash never happened: its comparison is made again."""
    journal = tmp_path / "out" / "run.jsonl"
    journal.write_bytes(journal.read_bytes()[:-10])
    watcher = Silent()
    outcome, _ = await optimized(stopped, tmp_path / "out", resumes=True, watcher=watcher)

    assert watcher.seen[0] == 20
    assert verify(read_log(outcome.log)).is_confirmed


async def test_tampered_journal_is_refused(stopped: Path, tmp_path: Path) -> None:
    """A forecast changed afterwards does not follow from the plan before it."""
    journal = tmp_path / "out" / "run.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    next(line for line in lines if line["type"] == "comparison")["probability_millionths"] = 20_000
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    with pytest.raises(RunDirectoryError, match=r"Line \d+ .*comparison 1 was not counted under plan 1"):
        await optimized(stopped, tmp_path / "out", resumes=True)


async def test_run_is_not_begun_over_another(stopped: Path, tmp_path: Path) -> None:
    """A directory that holds a run is left alone without --resume."""
    with pytest.raises(RunDirectoryError, match="holds a run already"):
        await optimized(stopped, tmp_path / "out")


async def test_nothing_to_resume_is_said(stopped: Path, tmp_path: Path) -> None:
    """A mistyped --out does not silently begin anew."""
    with pytest.raises(RunDirectoryError, match="no run to resume"):
        await optimized(stopped, tmp_path / "other", resumes=True)


async def test_one_process_at_a_time(stopped: Path, tmp_path: Path) -> None:
    """A directory at work is held."""

    class Intruder(Silent):
        """Tries to take the run over in the middle of it."""

        refusals: list[str] = []  # noqa: RUF012 - a test's notebook

        def counted(self, course: Any) -> None:
            super().counted(course)
            if len(self.seen) == 1:
                with pytest.raises(RunDirectoryError) as refusal:
                    self._claim()
                self.refusals.append(str(refusal.value))

        def _claim(self) -> None:
            from gateway.offline.checkpoint import RunFiles  # noqa: PLC0415 - used here only

            with RunFiles(tmp_path / "out").claimed(resumes=True):
                pass

    watcher = Intruder()
    await optimized(stopped, tmp_path / "out", resumes=True, watcher=watcher)
    assert "Another process uses" in watcher.refusals[0]


async def test_finished_run_is_only_concluded_again(
    stopped: Path, upstream: FakeUpstream, tmp_path: Path
) -> None:
    """Resuming what has ended asks nothing and says the same."""
    first, _ = await optimized(stopped, tmp_path / "out", resumes=True)
    asked = len(upstream.seen)
    second, _ = await optimized(stopped, tmp_path / "out", resumes=True)

    assert len(upstream.seen) == asked
    assert second.summary == first.summary
    assert verify(read_log(second.log)).is_confirmed
