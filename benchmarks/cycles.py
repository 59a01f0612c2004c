"""How often a policy is promoted where preferences run in a circle, which a check is to prevent.

    python -m benchmarks.cycles [--seeds 1000] [--processes N] [--state FILE]

Writes benchmarks/results/cycles.json and .md. A circle of three policies, each preferred to the next with the
same probability. `epsilon: 0` and `no_worse_than_best` assume that there is a best policy, so their proofs
say nothing here; the check (docs/decisions/0013-survivor-check.md) is what holds promotions back. Every
promotion is wrong, because some other policy is preferred to the promoted one by more than the margin.
"""

from __future__ import annotations

from typing import Any, Final

from benchmarks.reporting import options_of, plus_minus, rows_of, save, table
from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.simulate import Trial
from gateway.simulation.runner import Job

DELTA: Final = 0.05
MARGIN: Final = 0.02
PREFERRED: Final = (0.6,)  # how often each policy is preferred to the next
PROMISES: Final[dict[str, dict[str, Any]]] = {
    "`epsilon: 0`": {},
    "`no_worse_than_best`": {"epsilon": MARGIN, "promise": "no_worse_than_best"},
}


def jobs(seeds: int) -> list[tuple[dict[str, Any], Job]]:
    """Every promise in every circle."""
    return [
        (
            {"promised": name, "preferred": preferred},
            Job(f"{name} {preferred}", _trial(preferred, promised), seeds, seed=4),
        )
        for name, promised in PROMISES.items()
        for preferred in PREFERRED
    ]


def _trial(preferred: float, promised: dict[str, Any]) -> Trial:
    return Trial(worlds.cycle("circle", 3, preferred), delta=DELTA, **promised)


def report(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    headings = ["promise", "each preferred to the next", "promoted", "%", "95 % interval", "comparisons"]
    cells = [
        [
            *(row["promised"], f"{row['preferred']:.2f}", f"{row['wrong']} of {row['seeds']}"),
            f"{100 * row['wrong'] / row['seeds']:.1f}",
            f"{100 * row['low']:.1f} to {100 * row['high']:.1f}",
            plus_minus(row),
        ]
        for row in rows
    ]
    return "\n".join(
        [
            "# Promotions where preferences run in a circle",
            "",
            f"{origin}. Circles of three policies, delta = {DELTA}; with `no_worse_than_best` a margin of",
            f"{MARGIN}. Every promotion is wrong. The proofs assume a best policy, so they say nothing here;",
            "a [check](../../docs/decisions/0013-survivor-check.md), which is not a proof, holds promotions",
            "back.",
            "",
            *table(headings, cells),
            "",
        ]
    )


def main() -> None:
    """Run every case and write both files."""
    options = options_of(__doc__, 1_000).parse_args()
    rows = rows_of(jobs(options.seeds), options)
    command = f"python -m benchmarks.cycles --seeds {options.seeds}"
    save("cycles", command, rows, lambda origin: report(rows, origin))


if __name__ == "__main__":
    main()
