"""What comparisons of answers to repeated questions measure, compared with asking every user.

    python benchmarks/regenerate.py [--seeds 60] [--processes N] [--state FILE]

Writes benchmarks/results/regenerate.json and .md. How much a user likes an answer depends on the question,
the policy and chance (all normal). A user who likes the first answer too little asks again and then
continues from the answer that they like better; the second answer has a head start of `recency`. A fair coin
decides which policy comes first. The observed preference then decides simulated experiments of two policies.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from reporting import finished, options_of, plus_minus, save, table

from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.simulate import Trial
from gateway.simulation.runner import Job

USERS: Final = 4_000_000
PREFERRED: Final = (0.5, 0.55, 0.6, 0.7)
EVERYBODY: Final = "everybody is asked"
MARGIN: Final = 0.02
MOST: Final = 20_000


@dataclass(frozen=True)
class Users:
    """How users behave.

    Attributes:
        asks_below: A user who likes the first answer less than this asks again; None: asking is by chance.
        recency: Head start of the second answer when both are compared.
        leaves_above: A user who likes the kept answer more than this leaves, so it is not seen as kept.
    """

    asks_below: float | None = None
    recency: float = 0.0
    leaves_above: float | None = None


BEHAVIOURS: Final = {
    "ask again by chance": Users(),
    "ask again if dissatisfied": Users(-1.5),
    "and prefer what is new": Users(-1.5, recency=1.0),
    "and nearly always take what is new": Users(-1.5, recency=3.0),
    "and rather stay with the first": Users(-1.5, recency=-1.0),
    "ask again by chance, prefer what is new": Users(recency=1.0),
    "ask again by chance, nearly always take what is new": Users(recency=3.0),
    "ask again if dissatisfied, leave once content": Users(-1.5, leaves_above=-0.5),
    "ask again by chance, leave once content": Users(leaves_above=-0.5),
}


@dataclass(frozen=True)
class Seen:
    """The share who ask again, what they are seen to prefer, and how often it is the second answer."""

    asks_again: float
    prefers_better: float
    keeps_second: float


def seen(users: Users, preferred: float, rng: np.random.Generator) -> Seen:
    """What is observed of this many users if, in this share of the comparisons, they prefer policy 0."""
    gap = 2**0.5 * NormalDist().inv_cdf(preferred)
    ease = rng.standard_normal(USERS)
    better, worse = ease + gap + rng.standard_normal(USERS), ease + rng.standard_normal(USERS)
    is_better_first = rng.random(USERS) < 0.5
    first, second = np.where(is_better_first, better, worse), np.where(is_better_first, worse, better)
    asks = rng.random(USERS) < 0.1 if users.asks_below is None else first < users.asks_below
    takes_second = second + users.recency > first
    goes_on = asks
    if users.leaves_above is not None:
        goes_on = asks & (np.where(takes_second, second, first) <= users.leaves_above)
    return Seen(
        float(asks.mean()),
        float((takes_second != is_better_first)[goes_on].mean()),
        float(takes_second[goes_on].mean()),
    )


def trial(name: str, preferred: float) -> Trial:
    """An experiment of two policies, the first being preferred so often."""
    matrix = [[0.5, preferred], [1 - preferred, 0.5]]
    return Trial(worlds.named(name, matrix), epsilon=MARGIN, max_comparisons=MOST)


def report(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    lines = [
        "# Comparing the answers of those who ask again",
        "",
        f"{origin}. Shares are of {USERS:,} simulated users, so their standard errors are at most .001;",
        f"{rows[0]['seeds']} simulated experiments each: delta = 0.05, epsilon = {MARGIN}, exact rule.",
        "`times` is relative to asking every user; `wrong` counts promotions of the policy that fewer users",
        "prefer.",
        "",
        "For equal policies .500 is observed, whatever users do: a fair coin decides which policy comes",
        "first, so recency and dissatisfaction favour both policies equally. For unequal policies,",
        "dissatisfaction saves comparisons, because users ask again more often after the worse policy's",
        "first answers. A habit of taking the newer answer, or of staying with the first one, takes that",
        "gain away. If users ask again by chance, it costs comparisons, because the habit decides instead",
        "of the answers. Users who leave once they are content cost more comparisons, because the answers",
        "that satisfied them are not seen as kept. If the observed preference is within the margin (.505,",
        ".511), promoting either policy keeps the promise about what is observed. This explains the wrong",
        "promotions in these rows: a habit can hide a difference, but it cannot create one.",
        "",
    ]
    body = [
        [
            *(row["behaviour"], f"{row['all_prefer']:.2f}", f"{100 * row['asks_again']:.1f} %"),
            *(f"{100 * row['keeps_second']:.0f} %", f"{row['prefers_better']:.3f}"),
            *(plus_minus(row), f"{row['times']:.1f}", str(row["wrong"])),
        ]
        for row in rows
    ]
    headings = ["users", "all prefer the better", "ask again", "keep the second", "seen to prefer the better"]
    return "\n".join([*lines, *table([*headings, "comparisons", "times", "wrong"], body)]) + "\n"


def main() -> None:
    """Run every case and write both files."""
    options = options_of(__doc__, 60).parse_args()
    rng = np.random.default_rng(1)
    found = {
        (behaviour, preferred): seen(users, preferred, rng)
        for behaviour, users in BEHAVIOURS.items()
        for preferred in PREFERRED
    }
    shown = {(EVERYBODY, preferred): Seen(1.0, preferred, 0.5) for preferred in PREFERRED} | found
    work = [
        Job(f"{behaviour}, {preferred}", trial(behaviour, each.prefers_better), options.seeds, seed=1)
        for (behaviour, preferred), each in shown.items()
    ]
    summaries = finished(work, options)
    rows = []
    for job, ((behaviour, preferred), each) in zip(work, shown.items(), strict=True):
        summary = summaries[job.name].to_json()
        promoted = [ending.promoted for ending in summaries[job.name].endings]
        wrong = 0 if preferred == 0.5 else promoted.count(1)
        everybody = summaries[f"{EVERYBODY}, {preferred}"].to_json()["mean_comparisons"]
        rows.append(
            {
                **summary,
                "behaviour": behaviour,
                "all_prefer": preferred,
                "asks_again": each.asks_again,
                "prefers_better": each.prefers_better,
                "keeps_second": each.keeps_second,
                "times": summary["mean_comparisons"] / everybody,
                "wrong": wrong,
            }
        )
    command = f"python benchmarks/regenerate.py --seeds {options.seeds}"
    save("regenerate", command, rows, lambda origin: report(rows, origin))


if __name__ == "__main__":
    main()
