"""How often a wrong policy is promoted, in cases that are hard in different ways: 10,000 runs a case.

    python benchmarks/calibration.py [--sources | --matched | --best] [--runs N] [--processes 2]
                                     [--state FILE] [--only CASE ...] [--before FILE]

Writes benchmarks/results/calibration.json and .md. The promise is a rate of at most delta = 0.05. The same
command gives the same numbers; with --state an interrupted run is resumed. With --sources the cases are one
or more of each source of comparisons, kept in calibration_sources.json and .md. With --matched the cases are
those whose outcomes come late, or unequally while quality changes. They have 1,000 runs a case unless --runs
says otherwise, and are kept in calibration_matched.json and .md. With --best the cases promise no worse than
the best. They are kept in calibration_best.json and .md. --before names the JSON of an earlier
build, whose figures are shown beside these.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.reporting import save, table  # noqa: E402 - after the path is set
from gateway.llm_po.lab.trial import Summary, Trial  # noqa: E402 - after the path is set
from gateway.simulation.runner import Job, run_jobs  # noqa: E402 - after the path is set
from gateway.simulation.state import StateFile  # noqa: E402 - after the path is set
from tests.simulation.calibration import (  # noqa: E402 - after the path is set
    BEST_TRIALS,
    BROKEN_TRIALS,
    DELTA,
    MATCHED_TRIALS,
    SOURCE_TRIALS,
    TRIALS,
)

_KINDS = {
    "sources": "the cases of each source of comparisons",
    "matched": "the cases that match outcomes of units",
    "best": "the cases that promise no worse than the best",
}
_CASES: dict[str, tuple[dict[str, Trial], int]] = {
    "": (TRIALS, 10_000),
    "sources": (SOURCE_TRIALS, 10_000),
    "matched": ({**MATCHED_TRIALS, **BROKEN_TRIALS}, 1_000),
    "best": (BEST_TRIALS, 10_000),
}
_NO_PROMISE = ["Nothing is promised for the last case: the order of outcomes depends on what they are there."]
_NO_BEST = ["Nothing is promised for the cycle, where no policy is preferred to every other."]
_SOURCES = [
    "",
    "In every case the assumptions of the promise hold, and a wrong promotion is likely. Mostly there are",
    "two policies, one of which is preferred in 56.2 % of the comparisons, and a margin that forbids to",
    "promote the other from 56 % on. Verdicts are read every 10 comparisons, with 2 points of margin every",
    "50, and in the first case as a planner does, every 2 %. *Thumbs* are matched one by one, as in the",
    "gateway: users like 70 % and 64.5 % of the answers, and report three times as many of the others. A",
    "*wrong judge* always prefers the policy that users do not, and so does an *offline run that is wrong*,",
    "with 20 comparisons of each pair. With *epsilon 0* there is no margin, and verdicts are read every 100",
    "comparisons. What happens where the assumptions do not hold is in [integrity.md](integrity.md).",
]

_COMPARED = ("date", "seeds", "mean_comparisons", "stderr", "wrong")


def row(name: str, summary: Summary, before: dict[str, Any] | None) -> dict[str, Any]:
    """One line of the report."""
    runs = len(summary.endings)
    earlier = {} if before is None else {"before": {key: before[key] for key in _COMPARED}}
    return earlier | {
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


def report(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    compared = [_before(each) for each in rows]
    dates = sorted({each["before"]["date"] for each in rows if "before" in each})
    headings = ["case", "runs", "comparisons", "wrong", "%", "at most", "outcomes"]
    names = {each["case"] for each in rows}
    lines = [
        "# Wrong promotions",
        "",
        f"{origin}. Promised: at most {100 * DELTA:.0f} % of the runs of each case.",
        "Mean comparisons ± standard error. `at most` is the upper end of a 95 % interval of the rate.",
        *(_NO_PROMISE if names & BROKEN_TRIALS.keys() else []),
        *(_NO_BEST if names <= BEST_TRIALS.keys() else []),
        *(_SOURCES if names <= SOURCE_TRIALS.keys() else []),
        *([f"*before*: the same with the build of {' and '.join(dates)}."] if dates else []),
        "",
        *table(
            [*headings, *(["before"] if dates else [])],
            [
                [*_cells(each), *([before] if dates else [])]
                for each, before in zip(rows, compared, strict=True)
            ],
        ),
    ]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        *(row["case"], str(row["seeds"]), f"{row['mean_comparisons']:.0f} ± {row['stderr']:.1f}"),
        *(str(row["wrong"]), f"{row['wrong_percent']:.2f}", f"{row['at_most_percent']:.2f}"),
        ", ".join(f"{count} {kind}" for kind, count in row["outcomes"].items() if count),
    ]


def _before(row: dict[str, Any]) -> str:
    """The comparisons and wrong promotions of the earlier build; empty if it did not have the case."""
    if "before" not in row:
        return ""
    before = row["before"]
    wrong = f"{before['wrong']} of {before['seeds']} wrong"
    return f"{before['mean_comparisons']:.0f} ± {before['stderr']:.1f}, {wrong}"


def _earlier(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of an earlier build by their cases, each with its date."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return {each["case"]: {**each, "date": document["date"]} for each in document["rows"]}


def main() -> None:
    """Run every case and write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_mutually_exclusive_group()
    for kind, about in _KINDS.items():
        kinds.add_argument(f"--{kind}", dest="kind", action="store_const", const=kind, help=about)
    parser.add_argument("--runs", type=int)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--state", type=Path, help="keep finished batches here and continue from them")
    parser.add_argument("--only", nargs="*", help="start of the cases to run; writes nothing")
    parser.add_argument("--before", type=Path, help="results of an earlier build to show beside these")
    options = parser.parse_args()
    kind = options.kind or ""
    cases, usual = _CASES[kind]
    runs = options.runs or usual
    state = StateFile(options.state, {"runs": runs}) if options.state else None
    before = _earlier(options.before) if options.before else {}
    rows = []
    for name, trial in cases.items():
        if options.only and not name.startswith(tuple(options.only)):
            continue
        job = Job(name, trial, runs, seed=12)
        rows.append(row(name, run_jobs([job], options.processes, state)[name], before.get(name)))
        print(
            f"{name:<48} {rows[-1]['wrong']:>4} of {runs} wrong, "
            f"{rows[-1]['mean_comparisons']:.0f} ± {rows[-1]['stderr']:.1f} comparisons",
            flush=True,
        )
    if options.only:
        return
    command = f"python benchmarks/calibration.py {f'--{kind} ' if kind else ''}--runs {runs}"
    save(
        f"calibration_{kind}" if kind else "calibration",
        command,
        rows,
        lambda origin: report(rows, origin),
    )


if __name__ == "__main__":
    main()
