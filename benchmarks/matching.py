"""Wrong promotions if users report on policies unequally often and quality changes over time.

    python benchmarks/matching.py [--seeds 200] [--processes N] [--state FILE]

Writes benchmarks/results/matching.json and .md. Policy 0 succeeds .03 more often than policy 1 at every
moment, both rates move by .2 within 40,000 units, and a share of the units report. The cases differ in the
order in which waiting outcomes are taken, and in the probability that the policy with fewer of them answers.
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
RISING = Outcomes((0.63, 0.60), (0.83, 0.80), drift_units=40_000)
FALLING = Outcomes((0.83, 0.80), (0.63, 0.60), drift_units=40_000)
QUALITY = {"rising": RISING, "falling": FALLING}
REPORTED = ((0.15, 0.05), (0.12, 0.08), (0.05, 0.15))
RULES: dict[str, dict[str, Any]] = {
    "oldest first, fair coin, for ever": {"order": "oldest", "lagging_share": 0.5},
    "newest first, fair coin, for ever": {"order": "newest", "lagging_share": 0.5},
    "newest first, lagging drawn .9, 5,000 units": {"wait": 5_000},
}


def report(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    lines = [
        "# Matching of outcomes",
        "",
        f"{origin}. {rows[0]['seeds']} runs each; delta = 0.05, epsilon = {MARGIN}, exact rule.",
        "`reported`: share of the units of the better and of the worse policy that report.",
        "",
    ]
    body = [
        [
            *(row["quality"], row["reported"], row["rule"], plus_minus(row)),
            *(str(row["wrong"]), f"{100 * row['wrong'] / row['seeds']:.1f}"),
        ]
        for row in rows
    ]
    lines += table(["success", "reported", "outcomes are compared", "comparisons", "wrong", "%"], body)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run every case and write both files."""
    options = options_of(__doc__, 200).parse_args()
    cases = [(quality, reported, rule) for quality in QUALITY for reported in REPORTED for rule in RULES]
    work = [
        Job(
            f"{quality}, {reported}, {rule}",
            Trial(
                worlds.matched(quality, replace(QUALITY[quality], reported=reported, **RULES[rule])),
                epsilon=MARGIN,
                max_comparisons=50_000,
            ),
            options.seeds,
            seed=1,
        )
        for quality, reported, rule in cases
    ]
    summaries = finished(work, options)
    rows = [
        {
            **summaries[job.name].to_json(),
            "quality": quality,
            "reported": f"{reported[0]:g} / {reported[1]:g}",
            "rule": rule,
        }
        for job, (quality, reported, rule) in zip(work, cases, strict=True)
    ]
    command = f"python benchmarks/matching.py --seeds {options.seeds}"
    save("matching", command, rows, lambda origin: report(rows, origin))


if __name__ == "__main__":
    main()
