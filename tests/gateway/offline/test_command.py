"""`llmpo optimize` as people and scripts run it: what it prints, writes, draws, and how it ends."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from gateway.cli import main
from gateway.offline.calls import Spending
from gateway.offline.view import ProgressView, rough_duration
from tests.gateway.fake_upstream import FakeUpstream, stall
from tests.gateway.offline.solving import optimized, provider_in_thread, rows, solver, write_config
from tests.pace import PATIENCE_SECONDS


@pytest.fixture
def provider() -> Iterator[FakeUpstream]:
    """Models of known skill, for a command that brings its own event loop."""
    with provider_in_thread(weak=solver(20), fair=solver(50), good=solver(95)) as upstream:
        yield upstream


def test_json_is_one_object(
    provider: FakeUpstream, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Standard output is for machines; progress goes to standard error."""
    config = write_config(tmp_path, provider.api_base)
    assert main(["optimize", "--config", str(config), "--json"]) == 0

    out, err = capfd.readouterr()
    summary = json.loads(out)
    assert (summary["outcome"], summary["champion"]) == ("no_worse", "good")
    assert {"comparisons", "calls", "answers", "answers_of_full_evaluation", "policies", "wins"} <= set(
        summary
    )
    assert "comparisons" in err
    assert Path(summary["log"]).is_file()


def test_files_of_a_run(provider: FakeUpstream, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The directory has report, certificate, log and pictures, and `llmpo verify` confirms the log."""
    out = tmp_path / "out"
    assert (
        main(["optimize", "--config", str(write_config(tmp_path, provider.api_base)), "--out", str(out)]) == 0
    )
    assert main(["verify", "sums", "--log", str(out / "log.jsonl")]) == 0

    printed = capfd.readouterr().out
    assert "no other policy is preferred to good by more than 2 points in 100" in printed
    assert "confirmed" in printed
    assert json.loads((out / "certificate.json").read_text())["champion_name"] == "good"
    for name in ("evidence", "preferences"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (out / f"{name}.svg").read_bytes()


def test_report_says_what_was_found_and_what_it_means(provider: FakeUpstream, tmp_path: Path) -> None:
    """The report has outcome, promise, table, effort and pictures, and says how to check the result."""
    out = tmp_path / "out"
    main(["optimize", "--config", str(write_config(tmp_path, provider.api_base)), "--out", str(out)])

    report = (out / "report.md").read_text()
    assert report.startswith("# sums: no other policy is preferred to good by more than 2 points in 100\n")
    assert "Here delta is 0.05, epsilon 0.02." in report
    assert "| good | good |" in report
    assert "![evidence](evidence.png)" in report
    assert "Models without a known price, not included: fair, good, weak." in report
    assert "llmpo verify sums --log log.jsonl" in report


def test_inconclusive_run_ends_with_status_3(
    provider: FakeUpstream, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Scripts can tell "no decision" from "failed"; the report claims nothing."""
    config = write_config(tmp_path, provider.api_base, budget={"calls": 12})
    out = tmp_path / "out"
    assert main(["optimize", "--config", str(config), "--out", str(out), "--no-plots"]) == 3

    assert "inconclusive, the budget of calls was spent" in capfd.readouterr().out
    assert "Nothing is claimed" in (out / "report.md").read_text()
    assert not (out / "evidence.png").exists()


def test_failed_run_ends_with_status_1_and_shows_no_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line that says what failed and how to go on; neither key nor prompt in it."""
    with provider_in_thread() as upstream:
        api_base = upstream.api_base
    config = write_config(tmp_path, api_base, attempts=1)
    assert main(["optimize", "--config", str(config)]) == 1

    error = capfd.readouterr().err
    assert "The provider could not be reached. Correct this and continue with --resume" in error
    assert "none" not in error.splitlines()[-1]


def test_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    """Ctrl-C: status 130, what was counted is there, the command to resume is printed."""
    with provider_in_thread() as upstream:
        for model, percent in (("weak", 40), ("fair", 50), ("good", 60)):
            # After some answers they fall silent, so that the run cannot end by itself.
            upstream.on(model, *[solver(percent)] * 12, stall())
        config, out = write_config(tmp_path, upstream.api_base), tmp_path / "out"
        command = [
            sys.executable,
            "-m",
            "gateway.cli",
            "optimize",
            "--config",
            str(config),
            "--out",
            str(out),
        ]
        # What a shell runs in the background is deaf to Ctrl-C, and so are its children unless it is caught.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        signal.signal(signal.SIGINT, before)
        deadline = time.monotonic() + PATIENCE_SECONDS
        journal = out / "run.jsonl"
        while not journal.exists() or b'"type":"comparison"' not in journal.read_bytes():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        _, error = process.communicate()

    assert process.returncode == 130
    assert f"llmpo optimize --config {config} --out {out} --resume" in error
    assert "Traceback" not in error
    assert rows(journal, "comparison")


async def test_evidence_path_ends_where_the_certificate_does(upstream: FakeUpstream, tmp_path: Path) -> None:
    """What is drawn is the evidence of every plan, from nothing to the statistic that decided."""
    for model, percent in (("weak", 20), ("fair", 50), ("good", 95)):
        upstream.on(model, solver(percent))
    outcome, _ = await optimized(write_config(tmp_path, upstream.api_base), tmp_path / "out")

    champion = [row["name"] for row in outcome.summary["policies"]].index("good")
    comparisons, nats = outcome.evidence[-1]
    assert outcome.evidence[0] == (0, (0.0, 0.0, 0.0))
    assert comparisons == outcome.certificate["comparisons"]
    assert nats[champion] == pytest.approx(outcome.certificate["statistic_nats"])


async def test_terminal_shows_a_bar_per_policy(upstream: FakeUpstream, tmp_path: Path) -> None:
    """Names, evidence and the line, calls, who is ahead, time left."""
    for model, percent in (("weak", 20), ("fair", 50), ("good", 95)):
        upstream.on(model, solver(percent))
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=160)
    seconds = iter(range(1_000_000))
    with ProgressView(console, Spending(calls=12, usd=0.5), timer=lambda: float(next(seconds))) as view:
        await optimized(write_config(tmp_path, upstream.api_base), tmp_path / "out", watcher=view)

    shown = screen.getvalue()
    for expected in (
        "weak",
        "fair",
        "good",
        "of 4.09 nats for it",
        "12 calls",
        "0.5000 USD",
    ):
        assert expected in shown
    assert "ahead: good, about" in shown


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (89, "89 s"), (120, "2 min"), (7_200, "2.0 h")])
def test_durations_are_for_people(seconds: float, text: str) -> None:
    """Durations are shown in seconds, minutes or hours."""
    assert rough_duration(seconds) == text
