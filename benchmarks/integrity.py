"""How wrong experiments get if voters collude or vote again, or if what is reported depends on what it is.

    python -m benchmarks.integrity [--seeds 200] [--processes N] [--state FILE]

Writes benchmarks/results/integrity.json and .md. The candidate is worse than the incumbent, so that every
promotion of it is wrong. What is observed of it decides simulated experiments of two policies; the
sample-ratio check sees as many reports as an experiment takes on average. Wrong promotions where the
assumptions hold are counted in 10,000 runs by benchmarks/calibration.py --sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchmarks.reporting import finished, options_of, plus_minus, save, table
from gateway.llm_po.balance import TOLERANCE, Reported, imbalance_line, imbalance_nats, reporting_ratio
from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.simulate import Trial
from gateway.llm_po.lab.worlds import World
from gateway.simulation.runner import Job
from tests.simulation.calibration import decided

MARGIN: Final = 0.02
MOST: Final = 20_000
PREFERRED: Final = 0.45  # how often honest voters prefer the candidate
MANY_VOTES: Final = 20  # what a colluder gives where nothing caps votes; others give one
GOOD: Final = (0.70, 0.65)  # share of the incumbent's and of the candidate's answers that users like
STREAMS: Final = 200
FINDINGS: Final = (
    "The promise holds where its assumptions do. With one vote per voter a conspiracy has to be as",
    "large as the lead that it hides: one voter in ten turns 45:55 around. Without a cap one in",
    "fifty suffices. If bad answers are reported more often, whichever policy gave them, the order",
    "of the policies is kept. If that depends on the policy, the wrong one is promoted nearly",
    "always.",
    "",
    "Votes of one voter are alike. If all voters vote five times, each always alike, and all five are",
    "counted, two experiments in five promote the worse policy, and at twenty each chance decides. With",
    "one counted the promise holds. Groups who vote together, one vote each, are like one voter whose",
    "votes all count: no cap helps against them.",
    "",
    "The sample-ratio check is no remedy for that: such experiments end after some forty to a",
    "hundred comparisons, and so few reports prove no imbalance beyond the tolerance. It finds",
    "faults: where reports come for one policy only, sixteen of them suffice, and at ten times as",
    "often a few dozen.",
    "",
    "The reporting ratio that people are shown lies beside 1 in 21 to 98 % of the experiments in which",
    "missing reports depend on the policy, and in 4 to 9 % of those in which reports come alike. It is",
    "a place to look, and no proof. Let users be asked alike, whichever policy answered.",
)


@dataclass(frozen=True)
class Observed:
    """What is seen of the candidate.

    Attributes:
        case: What happens.
        prefers: How often the candidate is preferred in what is counted.
        ratio: How many times as often its answers are reported.
        world: Who votes how often; None if every vote is another voter's.
    """

    case: str
    prefers: float
    ratio: float = 1.0
    world: World | None = None


def colluding(share: float, votes: int) -> Observed:
    """A share of the voters votes for the candidate, so often each."""
    weight = share * votes / (share * votes + 1 - share)
    how = "one vote each (`voter_cap: 1`)" if votes == 1 else f"{votes} votes each (no cap)"
    return Observed(f"{100 * share:.0f} % collude, {how}", (1 - weight) * PREFERRED + weight)


def again(votes: int, cap: int) -> Observed:
    """Voters who vote so often, and always alike."""
    counted = "1 counts" if cap == 1 else f"{cap} count"
    case = f"all vote {votes} times, each always alike; {counted} (`voter_cap: {cap}`)"
    return Observed(case, PREFERRED, world=decided(1 - PREFERRED, votes, cap))


def missing(case: str, incumbent: tuple[float, float], candidate: tuple[float, float]) -> Observed:
    """Thumbs come with other rates after good and after bad answers, of each policy."""
    shown, rates = [], []
    for good, (after_good, after_bad) in zip(GOOD, (incumbent, candidate), strict=True):
        praise, blame = good * after_good, (1 - good) * after_bad
        shown.append(praise / (praise + blame))
        rates.append(praise + blame)
    won, lost = shown[1] * (1 - shown[0]), shown[0] * (1 - shown[1])
    return Observed(case, won / (won + lost), rates[1] / rates[0])


CASES: Final = (
    *(colluding(share, votes) for votes in (1, MANY_VOTES) for share in (0.0, 0.02, 0.05, 0.1, 0.2)),
    missing("thumbs come alike", (1, 1), (1, 1)),
    missing("bad answers are reported 3 times as often, of both", (1, 3), (1, 3)),
    missing("bad answers are reported 1.5 times as often, of the incumbent only", (1, 1.5), (1, 1)),
    missing("bad answers are reported 3 times as often, of the incumbent only", (1, 3), (1, 1)),
    missing("good answers are reported twice as often, of the candidate only", (1, 1), (2, 1)),
    missing("a third of the candidate's bad answers is reported", (1, 1), (1, 1 / 3)),
    *(again(votes, cap) for votes, cap in ((5, 1), (5, 5), (20, 20))),
)


def noticed(ratio: float, reports: int, rng: np.random.Generator) -> float:
    """In which share of streams of so many reports the check ever speaks up."""
    chance = ratio / (1 + ratio)
    second = np.cumsum(rng.random((STREAMS, reports)) < chance, axis=1)
    looks = range(19, reports, 20)
    found = [any(_is_unlike(at + 1, int(stream[at])) for at in looks) for stream in second]
    return float(np.mean(found))


def _is_unlike(reports: int, second: int) -> bool:
    return imbalance_nats([Reported(0.5, reports - second, second)]) >= imbalance_line(1)


def shown(ratio: float, reports: int, rng: np.random.Generator) -> float:
    """In which share of streams the interval that people see lies beside 1 after so many reports."""
    found = [
        reporting_ratio([Reported(0.5, reports - int(second), int(second))])
        for second in rng.binomial(reports, ratio / (1 + ratio), STREAMS)
    ]
    return float(np.mean([each is not None and not each.low <= 1 <= each.high for each in found]))


def trial(observed: Observed) -> Trial:
    """An experiment in which the candidate, the second policy, is seen to be preferred so often."""
    matrix = [[0.5, 1 - observed.prefers], [observed.prefers, 0.5]]
    world = observed.world or worlds.named(observed.case, matrix)
    return Trial(world, epsilon=MARGIN, max_comparisons=MOST)


def report(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    lines = [
        "# What rigged votes and missing feedback do",
        "",
        f"{origin}. {rows[0]['seeds']} simulated experiments each: delta = 0.05,",
        f"epsilon = {MARGIN}, exact rule. Honest voters prefer the candidate in {PREFERRED:.2f} of the",
        f"comparisons; users like {GOOD[0]:.2f} of the incumbent's answers and {GOOD[1]:.2f} of the",
        "candidate's. So every promotion of the candidate is wrong. *Noticed*: in how many of",
        f"{STREAMS} streams with as many reports as the experiment takes on average the sample-ratio",
        f"check (p < .001, tolerance {TOLERANCE}) holds decisions. *Shown*: in how many of as many",
        "streams the 95 % interval of the reporting ratio, which the console shows, lies beside 1.",
        "",
        *FINDINGS,
        "",
    ]
    body = [
        [
            *(row["case"], f"{row['prefers']:.3f}", f"{row['ratio']:.2f}", plus_minus(row)),
            f"{row['wrong']} of {row['seeds']}",
            *(f"{100 * row[share]:.0f} %" for share in ("noticed", "shown")),
        ]
        for row in rows
    ]
    headings = [
        "what happens",
        "candidate seen to be preferred",
        "reports, candidate / incumbent",
        "comparisons",
    ]
    return "\n".join([*lines, *table([*headings, "wrong promotions", "noticed", "shown"], body)]) + "\n"


def main() -> None:
    """Run every case and write both files."""
    options = options_of(__doc__, 200).parse_args()
    rng = np.random.default_rng(1)
    work = [Job(each.case, trial(each), options.seeds, seed=1) for each in CASES]
    summaries = finished(work, options)
    rows = []
    for each in CASES:
        summary = summaries[each.case].to_json()
        reports = min(4_000, max(20, round(2 * summary["mean_comparisons"])))
        rows.append(
            {
                **summary,
                "case": each.case,
                "prefers": each.prefers,
                "ratio": each.ratio,
                "noticed": noticed(each.ratio, reports, rng),
                "shown": shown(each.ratio, reports, rng),
                "wrong": [ending.promoted for ending in summaries[each.case].endings].count(1),
            }
        )
    save(
        "integrity",
        f"python -m benchmarks.integrity --seeds {options.seeds}",
        rows,
        lambda origin: report(rows, origin),
    )


if __name__ == "__main__":
    main()
