"""How often an offline run certifies a policy that another is preferred to by more than epsilon."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.llm_po.evidence import ComparisonResult
from gateway.offline.course import Course
from tests.gateway.offline.test_course import experiment

TASKS = 50
DELTA = 0.2
RUNS = 200
MOST_WRONG = 58  # binomial(200, 0.2) exceeds it with probability 0.001


def table_of_results() -> list[ComparisonResult]:
    """Policy 1 is preferred on 14 of 25 decisive tasks, 0.56: just beyond epsilon. The others are ties."""
    results: list[ComparisonResult] = [*["win"] * 11, *["loss"] * 14, *["tie"] * 25]
    return results


def certified(seed: int) -> int | None:
    """The champion of a run on a list whose every answer is fixed."""
    results = table_of_results()
    about = experiment(policies=2, delta=DELTA, epsilon=0.05, max_comparisons=1_500)
    run = Course(about, TASKS, (True, True), draw="list", seed=seed, window=8)
    run.make_plan(0.0)
    waiting = [run.assign() for _ in range(8)]
    while run.decision is None:
        assigned = waiting.pop(0)
        run.count(assigned, results[assigned.task], "test", 0.0)
        if run.is_plan_due:
            run.make_plan(0.0)
        if run.may_assign:
            waiting.append(run.assign())
    return run.decision.champion


@pytest.mark.long
def test_wrong_policy_is_certified_within_delta() -> None:
    """Tasks come up again and again, answers never change, comparisons overlap: the promise holds."""
    champions = [certified(seed) for seed in range(RUNS)]
    wrong = sum(champion == 0 for champion in champions)
    assert wrong <= MOST_WRONG
    assert np.mean([champion == 1 for champion in champions]) > 0.5
