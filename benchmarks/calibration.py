"""How often a wrong policy is promoted, in cases that are hard in different ways: 10,000 runs a case.

    python benchmarks/calibration.py [--matched | --best] [--runs N] [--processes 2] [--state FILE]
                                     [--only CASE ...]

Writes benchmarks/results/calibration.json and .md. The promise is a rate of at most delta = 0.05. The same
command gives the same numbers; with --state an interrupted run is resumed. With --matched the cases are those
whose outcomes are reported, wait and are matched one by one. They have 1,000 runs a case unless --runs says
otherwise, and are kept in calibration_matched.json and .md. With --best the cases promise no worse than the
best. They have 1,000 runs a case and are kept in calibration_best.json and .md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.pages import save_page  # noqa: E402 - after the path is set
from gateway.llm_po.lab.trial import Summary, Trial  # noqa: E402 - after the path is set
from gateway.simulation.runner import Job, run_jobs  # noqa: E402 - after the path is set
from gateway.simulation.state import StateFile  # noqa: E402 - after the path is set
from tests.simulation.calibration import (  # noqa: E402 - after the path is set
    BEST_TRIALS,
    BROKEN_TRIALS,
    DELTA,
    MATCHED_TRIALS,
    TRIALS,
)

RESULTS = ROOT / "benchmarks" / "results"
_CASES: dict[str, tuple[dict[str, Trial], int]] = {
    "": (TRIALS, 10_000),
    "matched": ({**MATCHED_TRIALS, **BROKEN_TRIALS}, 1_000),
    "best": (BEST_TRIALS, 1_000),
}
_NO_PROMISE = ["Nothing is promised for the last case: the order of outcomes depends on what they are there."]


def row(name: str, summary: Summary) -> dict[str, Any]:
    """One line of the report."""
    runs = len(summary.endings)
    return {
        **summary.to_json(),
        "case": name,
        "wrong_percent": 100 * summary.wrong / runs,
        "at_most_percent": 100 * _upper(summary.wrong, runs),
    }


def _upper(wrong: int, runs: int) -> float:
    """Wilson's upper 97.5 % limit of the rate."""
    z, rate = 1.96, wrong / runs
    centre = rate + z * z / (2 * runs)
    spread = z * math.sqrt(rate * (1 - rate) / runs + z * z / (4 * runs * runs))
    return (centre + spread) / (1 + z * z / runs)


def report(rows: list[dict[str, Any]], command: str, date: str) -> str:
    """The Markdown page."""
    lines = [
        "# Wrong promotions",
        "",
        f"`{command}`, {date}. Promised: at most {100 * DELTA:.0f} % of the runs of each case.",
        "Mean comparisons ± standard error. `at most` is the upper end of a 95 % interval of the rate.",
        *(_NO_PROMISE if any(each["case"] in BROKEN_TRIALS for each in rows) else []),
        "",
        "| case | runs | comparisons | wrong | % | at most | outcomes |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in rows:
        ended = ", ".join(f"{count} {kind}" for kind, count in each["outcomes"].items() if count)
        lines.append(
            f"| {each['case']} | {each['seeds']} | {each['mean_comparisons']:.0f} ± {each['stderr']:.1f} "
            f"| {each['wrong']} | {each['wrong_percent']:.2f} | {each['at_most_percent']:.2f} | {ended} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run every case and write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--matched", action="store_true", help="the cases that match outcomes of units")
    parser.add_argument("--best", action="store_true", help="the cases that promise no worse than the best")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--state", type=Path, help="keep finished batches here and continue from them")
    parser.add_argument("--only", nargs="*", help="start of the cases to run; writes nothing")
    options = parser.parse_args()
    kind = "matched" if options.matched else "best" if options.best else ""
    cases, usual = _CASES[kind]
    runs = options.runs or usual
    state = StateFile(options.state, {"runs": runs}) if options.state else None
    rows = []
    for name, trial in cases.items():
        if options.only and not name.startswith(tuple(options.only)):
            continue
        job = Job(name, trial, runs, seed=12)
        rows.append(row(name, run_jobs([job], options.processes, state)[name]))
        print(
            f"{name:<48} {rows[-1]['wrong']:>4} of {runs} wrong, "
            f"{rows[-1]['mean_comparisons']:.0f} ± {rows[-1]['stderr']:.1f} comparisons",
            flush=True,
        )
    if options.only:
        return
    stem = f"calibration_{kind}" if kind else "calibration"
    command = f"python benchmarks/calibration.py {f'--{kind} ' if kind else ''}--runs {runs}"
    date = dt.datetime.now(tz=dt.UTC).date().isoformat()
    document = {"command": command, "date": date, "rows": rows}
    (RESULTS / f"{stem}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    save_page(RESULTS / f"{stem}.md", report(rows, command, date))


if __name__ == "__main__":
    main()
