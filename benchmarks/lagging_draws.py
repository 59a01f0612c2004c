"""How many outcomes wait, and how evenly comparisons come, if routers know late how many wait.

    python -m benchmarks.lagging_draws [--seeds 20]

Writes benchmarks/results/lagging_draws.json and .md. Units of one pair come as a Poisson process and are
drawn by three routers. A share of each policy's units reports after a while. Once a second a planner
publishes how many outcomes wait, and a quarter of a second later at most each router draws by that. Coins,
queues and the outcomes under way are the gateway's own (`gateway/experiments/coins.py`,
`gateway/llm_po/lab/matching.py`, `gateway/learning/under_way.py`).
By what waits alone, the policy that lags answers nine times in ten.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass
from functools import partial
from statistics import fmean, pvariance
from typing import Any, Final

from benchmarks.reporting import run_cases, table
from benchmarks.spreads import spread
from gateway.experiments.coins import CHANCES, coin_for
from gateway.learning.under_way import under_way
from gateway.llm_po.lab.matching import Queues
from policy_store.log_records import Comparison, Result

PAIR: Final = (0, 1)
ROUTERS: Final = 3
PLAN_SECONDS: Final = 1.0
REFRESH_SECONDS: Final = 0.25
WINDOW_SECONDS: Final = 86_400.0
BEGUN_AT: Final = 1_000.0  # a time of 0 is an unknown one
OUTCOMES: Final = 10_000
BIN_OUTCOMES: Final = 20  # the length of a bin of time: in which so many outcomes come on average
READ: Final = 32  # about as many comparisons as the planner reads


@dataclass(frozen=True)
class Case:
    """Traffic of a pair: units a second, the share of each policy's units that reports, the mean delay."""

    rate: float
    reported: tuple[float, float]
    delay: float
    is_held: bool = False  # until exactly that age; otherwise delays are exponential

    def __str__(self) -> str:
        one, other = self.reported
        shares = f"{one:g}" if one == other else f"{one:g} / {other:g}"
        when = f"exactly {self.delay:g} s (a hold)" if self.is_held else f"{self.delay:g} s"
        return f"{self.rate:g} a second, {shares} report after {when}"


CASES: Final = (
    Case(1, (1.0, 1.0), 0),
    Case(60, (1.0, 1.0), 0),
    Case(60, (0.1, 0.1), 30),
    Case(60, (0.15, 0.05), 30),
    Case(60, (0.1, 0.1), 60, is_held=True),
    Case(600, (0.1, 0.1), 120),
)


class Run:
    """One run of a case, with the rule before or with the present one."""

    def __init__(self, case: Case, rng: random.Random, *, is_damped: bool) -> None:
        self._case, self._rng, self._is_damped = case, rng, is_damped
        self._queues = Queues(WINDOW_SECONDS, "newest")
        self._seen: list[tuple[tuple[int, int], float]] = [((0, 0), 0.0)] * ROUTERS
        self._latest: deque[Comparison] = deque(maxlen=READ)
        self.waiting: list[int] = []
        self.compared_at: list[float] = []

    def result(self) -> dict[str, float]:
        """Serve units until enough outcomes have come."""
        case, rng, now, outcomes = self._case, self._rng, BEGUN_AT, 0
        due: list[tuple[float, int, float]] = []
        publish_at, swaps = BEGUN_AT + PLAN_SECONDS, list[tuple[float, int, tuple[tuple[int, int], float]]]()
        while outcomes < OUTCOMES:
            now += rng.expovariate(case.rate)
            while publish_at <= now:
                outcomes += self._reports(due, publish_at)
                published = self._published(publish_at)
                swaps += [
                    (publish_at + rng.random() * REFRESH_SECONDS, one, published) for one in range(ROUTERS)
                ]
                publish_at += PLAN_SECONDS
            outcomes += self._reports(due, now)
            for _, router, published in (each for each in swaps if each[0] <= now):
                self._seen[router] = published
            swaps = [each for each in swaps if each[0] > now]
            side = self._draw(rng.randrange(ROUTERS))
            if rng.random() < case.reported[side]:
                heapq.heappush(due, (now + self._delay(), side, now))
        return self._summary(now - BEGUN_AT)

    def _delay(self) -> float:
        case = self._case
        return case.delay if case.is_held or not case.delay else self._rng.expovariate(1 / case.delay)

    def _draw(self, router: int) -> int:
        waiting, on_the_way = self._seen[router]
        return int(self._rng.random() < CHANCES[coin_for(waiting, on_the_way, self._rng.random)])

    def _published(self, now: float) -> tuple[tuple[int, int], float]:
        waiting = self._queues.lengths().get(PAIR, (0, 0))
        return waiting, under_way([*self._latest], now, PLAN_SECONDS) if self._is_damped else 0.0

    def _reports(self, due: list[tuple[float, int, float]], now: float) -> int:
        before = len(self.waiting)
        while due and due[0][0] <= now:
            at, side, given = heapq.heappop(due)
            if self._queues.take(PAIR, side, 1.0, at) is not None:
                self.compared_at.append(at)
                self._latest.appendleft(_compared(at, given))
            self.waiting.append(sum(self._queues.lengths().get(PAIR, (0, 0))))
        return len(self.waiting) - before

    def _summary(self, seconds: float) -> dict[str, float]:
        width = seconds * BIN_OUTCOMES / len(self.waiting)
        bins = [0] * (int(seconds / width) + 1)
        for at in self.compared_at:
            bins[int((at - BEGUN_AT) / width)] += 1
        return {
            "waiting": fmean(self.waiting),
            "most": float(max(self.waiting)),
            "comparisons": 1000 * len(self.compared_at) / len(self.waiting),
            "empty": 100 * sum(not each for each in bins) / len(bins),
            "bursts": pvariance(bins) / fmean(bins),
        }


def _compared(at: float, given: float) -> Comparison:
    return Comparison(
        1, *PAIR, Result.WIN, 500_000, 1, "matched:thumb", at, given_at=(int(given), int(given))
    )


CELLS: Final = ("case", "drawn", "waiting", "most", "comparisons", "empty", "bursts")


def cells(row: dict[str, Any]) -> list[str]:
    """The cells of a row."""
    return [row[name] for name in CELLS]


def report(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    lines = [
        "# Draws that know late how many outcomes wait",
        "",
        f"{origin}. {rows[0]['seeds']} runs of {OUTCOMES:,} outcomes each; median (range) of the runs.",
        "`waiting`: outcomes that wait, on average over all outcomes; `most`: at most. `comparisons`: for",
        f"each 1,000 outcomes. `empty`: per cent of the stretches, each of {BIN_OUTCOMES} expected outcomes,",
        "in which no comparison came. `bursts`: the variance of the comparisons in a stretch over the mean.",
        "",
    ]
    titles = ["units", "drawn", "waiting", "most", "comparisons", "empty, %", "bursts"]
    return "\n".join([*lines, *table(titles, [cells(row) for row in rows])]) + "\n"


def _row(case: Case, seeds: int, *, is_damped: bool) -> dict[str, Any]:
    found = [Run(case, random.Random(seed), is_damped=is_damped).result() for seed in range(seeds)]
    figures = {name: spread([each[name] for each in found], 1) for name in found[0]}
    drawn = "by what is under way, too" if is_damped else "by what waits alone"
    return {"case": str(case), "drawn": drawn, "seeds": seeds, **figures}


def main() -> None:
    """Run every case and write both files."""
    cases = [
        (str(case), partial(_row, case, is_damped=is_damped)) for case in CASES for is_damped in (False, True)
    ]
    run_cases("lagging_draws", __doc__, 20, cases, cells, report)


if __name__ == "__main__":
    main()
