"""How wrong experiments get if a voter votes on several pairs, always alike, and what a cap in all does.

    python -m benchmarks.voter_caps [--seeds 1000] [--processes N] [--state FILE]

Writes benchmarks/results/voter_caps.json and .md. Each voter votes several times in a row: for the incumbent
in every comparison with it, or against it in every one. So the votes of one voter on different pairs are
the same opinion. `no_worse_than_best` adds evidence up over pairs.
"""

from __future__ import annotations

from typing import Any, Final

from benchmarks.reporting import options_of, plus_minus, rows_of, save, table
from gateway.llm_po.lab.simulate import Trial
from gateway.simulation.runner import Job
from tests.simulation.calibration import NEAR, decided

DELTA: Final = 0.05
MARGIN: Final = 0.06
VOTES: Final = {3: 4}  # how many votes each voter gives, by the number of policies


def jobs(seeds: int) -> list[tuple[dict[str, Any], Job]]:
    """Every number of policies with each cap."""
    return [
        (
            {"policies": policies, "votes": votes, "in_all": in_all},
            Job(f"{policies} {in_all}", _trial(policies, votes, in_all), seeds, seed=12),
        )
        for policies, votes in VOTES.items()
        for in_all in (None, 1)
    ]


def _trial(policies: int, votes: int, in_all: int | None) -> Trial:
    """Verdicts are read after every tenth voter, so that both caps are looked at as often."""
    world = decided(NEAR, votes, 1, policies, cap_in_all=in_all)
    promised: dict[str, Any] = {"epsilon": MARGIN, "promise": "no_worse_than_best", "delta": DELTA}
    return Trial(world, refresh_every=10 * votes, **promised)


def report(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    headings = [
        "policies",
        "votes of each voter",
        "what counts",
        "comparisons",
        "wrong promotions",
        "at most",
    ]
    cells = [
        [
            *(str(row["policies"]), str(row["votes"])),
            "1 in all (`voter_cap_per_experiment: 1`)"
            if row["in_all"]
            else "1 on each pair (`voter_cap: 1`)",
            *(plus_minus(row), f"{row['wrong']} of {row['seeds']}", f"{100 * row['high']:.1f} %"),
        ]
        for row in rows
    ]
    return "\n".join(
        [
            "# Voters who vote on several pairs",
            "",
            f"{origin}. delta = {DELTA}, `no_worse_than_best`, a margin of {MARGIN}. {100 * NEAR:.1f} % of",
            "the voters prefer the incumbent to every other policy, the rest every other policy to it, in",
            "all their votes. So every promotion of another policy is wrong. Comparisons include votes that",
            "do not count. *At most*: the upper end of a 95 % interval. With three policies a voter's",
            "opinion counts against one policy at most twice; how wrong it gets if one opinion counts five",
            "or twenty times is in [integrity.md](integrity.md).",
            "",
            *table(headings, cells),
            "",
        ]
    )


def main() -> None:
    """Run every case and write both files."""
    options = options_of(__doc__, 1_000).parse_args()
    rows = rows_of(jobs(options.seeds), options)
    command = f"python -m benchmarks.voter_caps --seeds {options.seeds}"
    save("voter_caps", command, rows, lambda origin: report(rows, origin))


if __name__ == "__main__":
    main()
