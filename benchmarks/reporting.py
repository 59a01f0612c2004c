"""What the simulation benchmarks share: progress, and results kept as JSON and Markdown."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import save_page
from gateway.experiments.source_standing import share_interval
from gateway.llm_po.lab.simulate import Summary
from gateway.llm_po.wins import FloatArray
from gateway.simulation.runner import Job, available_cores, run_jobs
from gateway.simulation.state import StateFile

RESULTS = Path(__file__).parent / "results"


def save(stem: str, command: str, rows: list[dict[str, Any]], page: Callable[[str], str]) -> None:
    """Write results/STEM.json and .md; `page` makes the latter from "`command`, date at commit"."""
    date = dt.datetime.now(tz=dt.UTC).date().isoformat()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=RESULTS.parent,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    about = {"command": command, "date": date, "commit": commit, "python": sys.version.split()[0]}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{stem}.json").write_text(
        json.dumps({**about, "rows": rows}, indent=1) + "\n", encoding="utf-8"
    )
    save_page(RESULTS / f"{stem}.md", page(f"`{command}`, {date}" + (commit and f" at {commit}")))


def table(headings: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [
        "| " + " | ".join(headings) + " |",
        "|" + "---|" * len(headings),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def mean_and_error(values: FloatArray) -> tuple[float, float]:
    """The mean of independent values, and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size))


def plus_minus(row: dict[str, Any]) -> str:
    """Mean comparisons with their standard error."""
    return f"{row['mean_comparisons']:,.0f} ± {row['stderr']:,.0f}"


def run_cases(
    stem: str,
    about: str | None,
    seeds: int,
    cases: Iterable[tuple[str, Callable[[int], dict[str, Any]]]],
    cells: Callable[[dict[str, Any]], list[str]],
    page: Callable[[list[dict[str, Any]], str], str],
) -> None:
    """Run cases one after the other as the command line says; all of them are saved, some only printed.

    Args:
        stem: The name of the benchmark and of its results.
        about: What its `--help` says.
        seeds: How many runs each case has by default.
        cases: The name of each one's world, and its row for a number of runs.
        cells: The cells of a row.
        page: The Markdown page from all rows and "`command`, date".
    """
    options = case_options(about, seeds).parse_args()
    command = f"python -m benchmarks.{stem} --seeds {options.seeds}"
    run_chosen(stem, command, options, cases, cells, page)


def case_options(about: str | None, seeds: int) -> argparse.ArgumentParser:
    """The command-line options of benchmarks that run their cases one after the other."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--only", nargs="*", help="worlds to run; writes nothing")
    return parser


def run_chosen(
    stem: str,
    command: str,
    options: argparse.Namespace,
    cases: Iterable[tuple[str, Callable[[int], dict[str, Any]]]],
    cells: Callable[[dict[str, Any]], list[str]],
    page: Callable[[list[dict[str, Any]], str], str],
) -> None:
    """Run cases as `case_options` were chosen; `command` is what the page says of its origin."""
    rows = []
    for world, row in cases:
        if not options.only or world in options.only:
            rows.append(row(options.seeds))
            print(*cells(rows[-1]), sep=" | ", flush=True)
    if not options.only:
        save(stem, command, rows, lambda origin: page(rows, origin))


def options_of(about: str | None, seeds: int) -> argparse.ArgumentParser:
    """The command-line options of every such benchmark."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--processes", type=int, default=available_cores())
    parser.add_argument("--state", type=Path, help="keep finished batches here and continue from them")
    return parser


def finished(work: list[Job], options: argparse.Namespace) -> dict[str, Summary]:
    """Every job's summary, by its name, as `options_of` were chosen."""
    state = None if options.state is None else StateFile(options.state, {"--seeds": options.seeds})
    return run_jobs(work, options.processes, state, reporter(options.seeds * len(work)))


def rows_of(work: list[tuple[dict[str, Any], Job]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each job once all are finished: what it is a case of, and how often it promoted wrongly.

    `low` and `high` are the ends of the 95 % interval of the share of wrong promotions.
    """
    summaries = finished([job for _, job in work], options)
    rows = []
    for case, job in work:
        summary = summaries[job.name]
        low, high = share_interval(summary.wrong, options.seeds)
        rows.append({**summary.to_json(), **case, "low": low, "high": high})
    return rows


def reporter(total: int) -> Callable[[Job, int], None]:
    """Says after every batch how far the runs are and how long the rest will take."""
    started, done = time.monotonic(), 0

    def on_batch(job: Job, runs: int) -> None:
        nonlocal done
        done += runs
        elapsed = time.monotonic() - started
        left = elapsed / done * (total - done)
        print(f"{done} of {total} runs, {elapsed:.0f} s, about {left:.0f} s left: {job.name}", flush=True)

    return on_batch
