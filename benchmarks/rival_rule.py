"""Wrong promotions on good-or-bad outcomes: matched comparisons with the exact rule, and another rule.

    python benchmarks/rival_rule.py [--seeds 4000] [--processes N]

Writes benchmarks/results/rival_rule.json and .md. Two policies succeed at known rates, one better than the
other by more than the margin; promoting the other is wrong. Ours: the outcomes of two units, one of each
policy, make a win, a tie or a loss, counted by the ledger of production. Theirs: the stopping rule of
TensorZero's track-and-stop (crates/tensorzero-core/src/experimentation/track_and_stop of its public source),
implemented again. From 10 outcomes of each variant on, it takes at every update the gap of the means plus the
margin, squared, and divides by twice the sum of the squared standard errors, with variances of at least
1e-12. It compares the result with log((1 + log t) / delta). For two variants the best proportions under a
normal model are those of the standard deviations, so it samples in these proportions.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import numpy as np
from reporting import reporter, save, table

from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.simulate import Trial
from gateway.simulation.runner import Job, available_cores, run_jobs

DELTA = 0.05
CASES = (((0.85, 0.95), 0.03), ((0.90, 0.97), 0.03), ((0.02, 0.06), 0.01))
FEWEST = 10  # outcomes per variant before their rule is asked
VARIANCE_FLOOR = 1e-12
UPDATES = (2, 20, 200)  # outcomes between two updates: what arrives in one period, at three traffics
MOST = 100_000  # outcomes, then undecided
LEAST_SHARE = 1e-6


def their_rule(counts: np.ndarray, successes: np.ndarray, epsilon: float) -> np.ndarray:
    """Which of R experiments their rule stops, shape (R,); counts and successes have shape (R, 2)."""
    means, variances = _moments(counts, successes)
    gap = np.abs(means[:, 0] - means[:, 1]) + epsilon
    statistic = gap**2 / (2 * (variances / counts).sum(axis=1))
    threshold = np.log((1 + np.log(counts.sum(axis=1))) / DELTA)
    return np.asarray((statistic > threshold) & (counts.min(axis=1) >= FEWEST))


def their_leader(counts: np.ndarray, successes: np.ndarray) -> np.ndarray:
    """The policy it promotes: the highest mean, then the smaller variance per outcome, then the first."""
    means, variances = _moments(counts, successes)
    doubt = variances / counts
    is_equal = np.abs(means[:, 0] - means[:, 1]) < 1e-10
    return np.where(is_equal, doubt[:, 1] < doubt[:, 0], means[:, 1] > means[:, 0]).astype(np.int64)


def _moments(counts: np.ndarray, successes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    means = successes / counts
    variances = np.maximum(means * (1 - means) * counts / (counts - 1), VARIANCE_FLOOR)
    return means, variances


def run_theirs(
    rates: tuple[float, float], epsilon: float, every: int, runs: int, seed: int
) -> dict[str, Any]:
    """Many experiments by their rule, the two variants in random order in each."""
    rng = np.random.default_rng(seed)
    better = rng.integers(2, size=runs)
    chances = np.where(np.arange(2)[None, :] == better[:, None], rates[1], rates[0])
    # Until the first update that finds enough of each, the variants take turns.
    at_first = math.ceil(2 * FEWEST / every) * every // 2
    counts = np.full((runs, 2), at_first)
    successes = rng.binomial(at_first, chances)
    wrong, taken = 0, []
    while counts.size and counts[0].sum() < MOST:
        stopped = their_rule(counts, successes, epsilon)
        wrong += int((their_leader(counts, successes) != better)[stopped].sum())
        taken += counts[stopped].sum(axis=1).tolist()
        going = ~stopped
        counts, successes, better, chances = (part[going] for part in (counts, successes, better, chances))
        deviations = np.maximum(np.sqrt(_moments(counts, successes)[1]), LEAST_SHARE)
        first = rng.binomial(every, deviations[:, 0] / deviations.sum(axis=1))
        more = np.stack([first, every - first], axis=1)
        counts, successes = counts + more, successes + rng.binomial(more, chances)
    undecided = runs - len(taken)
    mean = float(np.mean([*taken, *[MOST] * undecided]))
    return {"wrong": wrong, "mean_outcomes": mean, "undecided": undecided}


def row(job: Job, summary: Any, seed: int) -> list[dict[str, Any]]:
    """Every rule in one case."""
    rates, epsilon = CASES[int(job.name)]
    common = {"rates": rates, "epsilon": epsilon, "runs": job.seeds}
    ours = {
        "wrong": summary.wrong,
        "mean_outcomes": 2 * summary.mean,
        "undecided": summary.outcomes["inconclusive"],
    }
    theirs = [
        {"rule": f"track-and-stop, every {every}", **run_theirs(rates, epsilon, every, job.seeds, seed)}
        for every in UPDATES
    ]
    return [{**common, **each} for each in ({"rule": "ours", **ours}, *theirs)]


def report(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    lines = [
        "# Wrong promotions on good-or-bad outcomes",
        "",
        f"{origin}. {rows[0]['runs']:,} runs each, delta = {DELTA}: at most {DELTA:.0%} may be wrong.",
        "Ours: `matched` comparisons and the exact rule. Track-and-stop: the stopping rule of TensorZero,",
        "re-implemented from its public source, asked every so many outcomes. Its margin is on success",
        "rates, ours on preferences among decisive comparisons.",
        "",
    ]
    headings = ["success rates", "epsilon", "rule", "wrong", "share", "mean outcomes", "undecided"]
    body = []
    for each in rows:
        share = each["wrong"] / each["runs"]
        spread = math.sqrt(share * (1 - share) / each["runs"])
        body.append(
            [
                f"{each['rates'][0]:g} and {each['rates'][1]:g}",
                *(f"{each['epsilon']:g}", each["rule"], str(each["wrong"])),
                *(f"{share:.1%} ± {spread:.1%}", f"{each['mean_outcomes']:,.0f}", str(each["undecided"])),
            ]
        )
    return "\n".join([*lines, *table(headings, body)]) + "\n"


def main() -> None:
    """Run both rules in every case and write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=4_000)
    parser.add_argument("--processes", type=int, default=available_cores())
    options = parser.parse_args()
    work = [
        Job(
            str(index),
            Trial(
                worlds.success_rates(f"rates {rates}", rates),
                delta=DELTA,
                epsilon=epsilon,
                max_comparisons=MOST // 2,
            ),
            options.seeds,
            seed=1,
        )
        for index, (rates, epsilon) in enumerate(CASES)
    ]
    summaries = run_jobs(work, options.processes, on_batch=reporter(options.seeds * len(work)))
    rows = [line for job in work for line in row(job, summaries[job.name], seed=1)]
    command = f"python benchmarks/rival_rule.py --seeds {options.seeds}"
    save("rival_rule", command, rows, lambda origin: report(rows, origin))


if __name__ == "__main__":
    main()
