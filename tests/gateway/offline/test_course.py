"""Which comparison comes next and how it is counted: a function of the seed and the verdicts so far."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import numpy as np
import pytest

from gateway.llm_po.evidence import ComparisonResult
from gateway.offline.course import Course, Pairing
from policy_store.experiment import Experiment

TASKS = 20


def experiment(policies: int = 3, **changes: Any) -> Experiment:
    """An experiment of `policies` policies."""
    names = tuple(f"p{number}" for number in range(policies))
    fields: dict[str, Any] = {
        "name": "run",
        "policies": names,
        "policy_fingerprints": names,
        "costs": (0.0,) * policies,
        "incumbent": 0,
        "delta": 0.05,
        "epsilon": 0.02,
        "max_comparisons": 400,
        "min_comparisons": 0,
        "min_duration_seconds": 0.0,
        "collect": "offline",
        "outcome_rules": "{}",
        **changes,
    }
    return Experiment(**fields)


def course(
    *,
    window: int = 4,
    seed: int = 1,
    draw: Literal["list", "population"] = "list",
    repeatable: bool = True,
    **changes: Any,
) -> Course:
    """A course at its beginning."""
    about = experiment(**changes)
    repeatables = [repeatable] * len(about.policies)
    return Course(about, TASKS, repeatables, draw=draw, seed=seed, window=window)


def outcome_of(assigned: Pairing) -> ComparisonResult:
    """A fixed verdict for each pair and task: mostly the higher index wins."""
    value = (assigned.first * 7 + assigned.second * 5 + assigned.task * 3) % 10
    return "tie" if value == 0 else "win" if value < 4 else "loss"


def advance(run: Course, until: int | None = None) -> list[Pairing]:
    """Count comparisons to the end or to a number of them; every assignment made."""
    waiting: list[Pairing] = []
    made: list[Pairing] = []
    while run.counted != until:
        if run.is_plan_due:
            run.make_plan(0.0)
        if run.decision is not None:
            break
        while run.may_assign:
            waiting.append(run.assign())
            made.append(waiting[-1])
        if not waiting:
            break
        assigned = waiting.pop(0)
        run.count(assigned, outcome_of(assigned), "test", 0.0)
    return made


def test_equal_seeds_give_equal_courses() -> None:
    """Another seed gives another course."""
    assert advance(course(seed=1)) == advance(course(seed=1))
    assert advance(course(seed=1), until=20) != advance(course(seed=2), until=20)


def test_window_bounds_what_is_under_way() -> None:
    """No more comparisons are begun than may be under way."""
    run = course(window=3)
    run.make_plan(0.0)
    begun = 0
    while run.may_assign:
        run.assign()
        begun += 1
    assert begun == 3


def test_verdicts_are_counted_in_the_order_of_assignment() -> None:
    """A verdict that is there early waits: how long one takes must not matter."""
    run = course(window=3)
    run.make_plan(0.0)
    run.assign()
    second = run.assign()
    with pytest.raises(ValueError, match="comparison 2 cannot follow 0"):
        run.count(second, "win", "test", 0.0)


def test_no_verdict_is_counted_while_a_plan_is_due() -> None:
    """A forecast must not be older than the rule allows."""
    run = course()
    run.make_plan(0.0)
    first, second = run.assign(), run.assign()
    run.count(first, "win", "test", 0.0)
    with pytest.raises(ValueError, match="plan is due after 1"):
        run.count(second, "win", "test", 0.0)


def test_forecasts_are_those_of_the_plan_in_force() -> None:
    """A comparison is counted with the newest plan's forecast, not that of the plan it was drawn from."""
    run = course(window=4)
    run.make_plan(0.0)
    assigned = [run.assign() for _ in range(4)]
    run.count(assigned[0], "win", "test", 0.0)
    logged, _ = run.make_plan(0.0)
    forecasts = {(first, second): q for first, second, q, *_ in logged.forecasts}
    counted = run.count(assigned[1], "win", "test", 0.0)
    assert counted.plan_version == 2
    assert counted.probability_millionths == forecasts[counted.first, counted.second]


def test_tasks_are_drawn_evenly() -> None:
    """About a task drawn at random, so each comes up about as often: chi-squared over 20 tasks."""
    made = advance(course(epsilon=0.0, delta=1e-30, max_comparisons=1_000), until=1_000)
    assert len(made) >= 1_000  # no decision comes before
    counts = np.bincount([assigned.task for assigned in made[:1_000]], minlength=TASKS)
    statistic = float(((counts - 50.0) ** 2 / 50.0).sum())
    assert statistic < 43.8  # the 99.9 % point for 19 degrees of freedom


def test_population_takes_each_task_once() -> None:
    """The seed fixes the order of the tasks, and nothing more can be assigned after the last one."""
    run = course(draw="population", epsilon=0.0, delta=1e-9)
    made = advance(run)
    assert sorted(assigned.task for assigned in made) == list(range(TASKS))
    assert run.is_out_of_tasks
    assert not run.may_assign


def test_repeatable_policies_have_one_repetition() -> None:
    """Answers of repeatable policies can be used again."""
    made = advance(course(repeatable=True), until=60)
    assert {(one.first_repetition, one.second_repetition) for one in made} == {(0, 0)}


def test_sampling_policies_never_reuse_an_answer() -> None:
    """Every use of a policy on a task is a repetition of its own, counted from 0."""
    made = advance(course(repeatable=False), until=60)
    uses = Counter(
        (policy, assigned.task, repetition)
        for assigned in made
        for policy, repetition in (
            (assigned.first, assigned.first_repetition),
            (assigned.second, assigned.second_repetition),
        )
    )
    assert max(uses.values()) == 1
    assert max(repetition for _, _, repetition in uses) > 0


def test_budget_of_comparisons_ends_in_a_decision() -> None:
    """The last one is followed by a plan, however far the last plan is."""
    run = course(epsilon=0.0, delta=1e-9, max_comparisons=7)
    advance(run)
    assert run.counted == 7
    assert run.decision is not None
    assert run.decision.kind == "inconclusive"


def test_early_end_claims_no_more_than_was_counted() -> None:
    """What could not be decided is inconclusive, with as many comparisons allowed as were counted."""
    run = course(epsilon=0.0, delta=1e-9)
    advance(run, until=12)
    decision = run.ended_early()
    assert (decision.kind, decision.certificate["max_comparisons"]) == ("inconclusive", 12)


def test_early_end_keeps_a_decision_the_evidence_supports() -> None:
    """Evidence that suffices by then decides, though the last plan did not know of it."""
    run = course(window=1, policies=2, delta=0.2)
    results: list[ComparisonResult] = ["tie"] * 100  # from here on every second one is planned after
    decided = None
    while decided is None:
        results.append("loss")
        run = course(window=1, policies=2, delta=0.2)
        for result in results:
            _count_one(run, result)
        decided = run.ended_early().champion
    assert (decided, run.experiment.max_comparisons) == (1, 400)


def _count_one(run: Course, result: ComparisonResult) -> None:
    if run.is_plan_due:
        run.make_plan(0.0)
    run.count(run.assign(), result, "test", 0.0)


def test_course_keeps_the_evidence_its_promise_needs() -> None:
    """Counted beside the other from the same forecasts, and part of what is planned from and certified."""
    run, usual = course(promise="no_worse_than_best"), course()
    advance(run)
    advance(usual)

    assert run.decision is not None
    assert run.decision.certificate["promise"] == "no_worse_than_best"
    at_half = run.counts().evidence_at_half_nano_nats
    assert run.decision.certificate["evidence_at_half_nano_nats"] == [list(row) for row in at_half]
    assert any(map(any, at_half))
    assert usual.counts().evidence_at_half_nano_nats == ()
