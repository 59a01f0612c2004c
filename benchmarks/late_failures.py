"""Wrong promotions where failures become known later than successes, with and without a hold.

    python benchmarks/late_failures.py [--seeds 30] [--processes N] [--state FILE]

Writes benchmarks/results/late_failures.json and .md. As with the signal `abandoned`, a success is reported at
once, and a failure only after some more units were answered. Policy 0 always succeeds .03 more often than
policy 1; both rates are constant, or rise by .2 within 40,000 units. With a hold each unit counts at that
age.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reporting import finished, options_of, plus_minus, save, table

from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.matching import Outcomes
from gateway.llm_po.lab.simulate import Trial
from gateway.simulation.runner import Job

MARGIN = 0.02
QUALITY = {
    "steady": Outcomes((0.33, 0.30), wait=5_000),
    "rising": Outcomes((0.33, 0.30), (0.53, 0.50), drift_units=40_000, wait=5_000),
}
# Units until a failure is known, and the hold.
COUNTED: tuple[tuple[int, int | None], ...] = ((0, None), (200, None), (200, 200), (500, None), (500, 500))


def report(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    lines = [
        "# Failures that are known late",
        "",
        f"{origin}. {rows[0]['seeds']} runs each; delta = 0.05, epsilon = {MARGIN}, exact rule. Policy 0",
        "succeeds in .33 of the units and policy 1 in .30; promoting policy 1 is wrong.",
        "",
    ]
    body = [
        [
            *(row["quality"], str(row["known_after"]), "-" if row["hold"] is None else str(row["hold"])),
            *(plus_minus(row), str(row["wrong"]), f"{100 * row['wrong'] / row['seeds']:.0f}"),
        ]
        for row in rows
    ]
    headings = ["success", "failures known after (units)", "hold (units)", "comparisons", "wrong", "%"]
    return "\n".join([*lines, *table(headings, body)]) + "\n"


def main() -> None:
    """Run every case and write both files."""
    options = options_of(__doc__, 30).parse_args()
    cases = [(quality, *counted) for quality in QUALITY for counted in COUNTED]
    work = [
        Job(
            f"{quality}, failures known after {known_after}, hold {hold}",
            Trial(
                worlds.matched(quality, replace(QUALITY[quality], delays=(known_after, 0), hold=hold)),
                epsilon=MARGIN,
                max_comparisons=50_000,
            ),
            options.seeds,
            seed=1,
        )
        for quality, known_after, hold in cases
    ]
    summaries = finished(work, options)
    rows = [
        {**summaries[job.name].to_json(), "quality": quality, "known_after": known_after, "hold": hold}
        for job, (quality, known_after, hold) in zip(work, cases, strict=True)
    ]
    command = f"python benchmarks/late_failures.py --seeds {options.seeds}"
    save("late_failures", command, rows, lambda origin: report(rows, origin))


if __name__ == "__main__":
    main()
