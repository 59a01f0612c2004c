"""The decision for one request: shares, pairs and sides as declared and planned."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from gateway.experiments.exposure import ExposureCaps
from gateway.experiments.snapshot import LiveExperiment
from gateway.serving.routing import Duel, Incumbent, Single, UnitDraws, UnitKey, draw_part, unseen_beside
from policy_store.states import ExperimentState
from tests.gateway.judging.judges import compiled_judge
from tests.gateway.live import NOW, experiment, plan

DRAWS = 20_000
PAIRS = ((0, 1, 0.6), (0, 2, 0.0), (1, 2, 0.4))


def three(**changes: object) -> LiveExperiment:
    """Three policies, pairs drawn 60 : 0 : 40."""
    policies = {name: {"model": "small", "system": name} for name in "abc"}
    return experiment("http://127.0.0.1:9/v1", policies, **{"plan": plan(PAIRS), **changes})


@pytest.mark.parametrize("has_plan", [True, False])
def test_router_keeps_the_caps_whatever_the_plan(has_plan: bool) -> None:
    """If the drawn pairs would break a cap, the incumbent answers the difference alone."""
    caps = ExposureCaps(share=0.5, answers_per_unit=1, max_shares={"b": 0.05}, min_share=0.0)
    pairs = ((0, 1, 0.8), (1, 2, 0.2))
    live = three(share=0.5, caps=caps, plan=plan(pairs) if has_plan else None)
    rng = random.Random(5)

    routed = [draw_part(live, None, rng, NOW) for _ in range(DRAWS)]

    answered = Counter(one.policy for one in routed if isinstance(one, Single))
    why = Counter(one.reason for one in routed if isinstance(one, Incumbent))
    assert answered[1] / DRAWS == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / DRAWS) ** 0.5)
    assert why["share"] / DRAWS == pytest.approx(0.5, abs=0.015)
    assert why["caps"] + answered.total() == DRAWS - why["share"]


@pytest.mark.parametrize(("before", "share"), [(0.3, 0.05), (0.05, 0.3), (0.6, 0.1)])
def test_a_watch_mixes_votes_and_verdicts_as_the_experiment_did(before: float, share: float) -> None:
    """With another share, the judge compares as many requests for each one that takes part as before."""
    judge = compiled_judge(share=0.05)
    running = three(share=before, judge=judge, counts_verdicts=True)
    watch = replace(running, state=ExperimentState.WATCHING, share=share, watched=(0, 1), share_before=before)

    assert _verdicts_for_each_part(watch) == pytest.approx(_verdicts_for_each_part(running), rel=0.25)


def _verdicts_for_each_part(live: LiveExperiment) -> float:
    rng, parts, verdicts = random.Random(4), 0, 0
    for _ in range(40_000):
        part = draw_part(live, None, rng, NOW)
        if isinstance(part, Incumbent):
            verdicts += unseen_beside(live, part, rng, NOW) is not None
        else:
            parts += 1
    return verdicts / parts


@pytest.mark.parametrize(("counts", "is_asked"), [(True, True), (False, False)])
def test_a_watch_asks_a_judge_that_is_evidence(counts: bool, is_asked: bool) -> None:
    """What the promotion rests on guards it; forecasts of a watch take nothing else in."""
    judge = compiled_judge(share=1.0)
    watch = three(
        judge=judge,
        counts_verdicts=counts,
        state=ExperimentState.WATCHING,
        share=0.2,
        watched=(0, 1),
        share_before=0.2,
        plan=None,
    )
    asked = unseen_beside(watch, Incumbent("share"), random.Random(3), NOW)
    assert (asked is not None) is is_asked
    if asked is not None:
        assert (asked.first, asked.second) == (0, 1)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_takes_part(share: float) -> None:
    """The share is within four standard errors of the declared one, and exact for 0 and 1."""
    rng, live = random.Random(1), three(share=share)
    routed = [draw_part(live, None, rng, NOW) for _ in range(DRAWS)]
    taking_part = sum(isinstance(one, Single) for one in routed) / DRAWS
    assert abs(taking_part - share) <= 4 * (share * (1 - share) / DRAWS) ** 0.5


def test_pairs_come_as_planned_and_sides_by_a_fair_coin() -> None:
    """Pairs come with their probability, never if it is zero, and each side half of the time."""
    rng, live = random.Random(2), three()
    drawn = Counter[tuple[int, int, int]]()
    for _ in range(DRAWS):
        one = draw_part(live, None, rng, NOW)
        assert isinstance(one, Single)
        assert one.policy == (one.assignment.first, one.assignment.second)[one.assignment.side]
        drawn[one.assignment.first, one.assignment.second, one.assignment.side] += 1
    assert {pair[:2] for pair in drawn} == {(0, 1), (1, 2)}
    for (first, _, _), count in drawn.items():
        expected = (0.6 if first == 0 else 0.4) / 2
        assert abs(count / DRAWS - expected) < 0.015


@pytest.mark.parametrize(("waiting", "share"), [((5, 2), 0.9), ((0, 1), 0.1), ((3, 3), 0.5)])
def test_the_policy_with_fewer_outcomes_waiting_answers_more(waiting: tuple[int, int], share: float) -> None:
    """The second policy of a pair is drawn by how many outcomes of each wait, as of the plan."""
    lagging = replace(plan(((0, 1, 1.0),)), waiting={(0, 1): waiting, (0, 2): (0, 9)})
    rng, live = random.Random(9), three(plan=lagging)
    drawn = [draw_part(live, None, rng, NOW) for _ in range(DRAWS)]
    seconds = sum(one.assignment.side for one in drawn if isinstance(one, Single))
    assert abs(seconds / DRAWS - share) < 0.015


def test_rounding_in_the_plan_never_loses_a_request() -> None:
    """Probabilities that add up to less than 1 by rounding still give a pair at the far end."""
    almost = plan(((0, 1, 1 / 3), (0, 2, 1 / 3), (1, 2, 1 / 3 - 1e-12)))

    class Last(random.Random):
        def random(self) -> float:
            return 1 - 2**-53

    one = draw_part(three(plan=almost, share=1.0), None, Last(), NOW)
    assert isinstance(one, Single)
    assert (one.assignment.first, one.assignment.second) == (1, 2)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"matches_store": False}, "other_definition"),
        ({"state": ExperimentState.PROMOTED}, "not_running"),
        ({"state": ExperimentState.INCONCLUSIVE}, "not_running"),
        ({"plan": plan(())}, "no_plan"),
        ({"share": 0.0}, "share"),
    ],
)
def test_the_incumbent_answers_whenever_there_is_nothing_to_compare(
    changes: dict[str, object], reason: str
) -> None:
    """Each such answer has a reason."""
    assert draw_part(three(**changes), None, random.Random(3), NOW) == Incumbent(reason)


def test_before_the_first_plan_every_pair_is_drawn_alike() -> None:
    """A new experiment does not wait for a planner: within four standard errors of a third each."""
    rng, live = random.Random(8), three(plan=None)
    routed = [draw_part(live, None, rng, NOW) for _ in range(DRAWS)]
    drawn = Counter(
        (one.assignment.first, one.assignment.second) for one in routed if isinstance(one, Single)
    )
    assert drawn.total() == DRAWS
    assert {one.assignment.plan_version for one in routed if isinstance(one, Single)} == {0}
    assert drawn.keys() == {(0, 1), (0, 2), (1, 2)}
    assert all(abs(count / DRAWS - 1 / 3) <= 4 * (2 / 9 / DRAWS) ** 0.5 for count in drawn.values())


def test_a_duel_shows_the_pair_in_the_order_the_side_says() -> None:
    """Side 0 shows the first policy first."""
    rng = random.Random(4)
    for _ in range(50):
        one = draw_part(three(collect="side_by_side"), None, rng, NOW)
        assert isinstance(one, Duel)
        pair = (one.assignment.first, one.assignment.second)
        assert one.shown == (pair if one.assignment.side == 0 else pair[::-1])


def test_the_assignment_carries_what_feedback_needs() -> None:
    """The assignment has a generation, a plan version, an expiry and a unit of its own."""
    live = replace(three(), generation=4, window_seconds=90.0)
    one = draw_part(live, None, random.Random(5), NOW)
    assert isinstance(one, Single)
    assert (one.assignment.experiment, one.assignment.generation) == ("support", 4)
    assert (one.assignment.plan_version, one.assignment.expires_at) == (3, int(NOW) + 90)
    assert len(one.assignment.unit) == 16


def test_a_unit_is_routed_alike_on_every_replica() -> None:
    """A unit gets the same draw under the same plan, and units are drawn independently and fairly."""
    keys = [UnitKey(random.Random(i).randbytes(16)) for i in range(2000)]
    live, other_replica = three(share=0.5), three(share=0.5)
    first = [draw_part(live, key, UnitDraws(key), NOW) for key in keys]
    second = [draw_part(other_replica, key, UnitDraws(key), NOW) for key in keys]
    assert first == second
    assigned = [one for one in first if isinstance(one, Single)]
    assert abs(len(assigned) / 2000 - 0.5) < 0.05
    assert abs(sum(one.assignment.side for one in assigned) / len(assigned) - 0.5) < 0.07
    assert all(one.assignment.unit in keys for one in assigned)


def test_unit_draws_are_uniform() -> None:
    """Every tenth of [0, 1) gets its tenth."""
    draws = [UnitDraws(UnitKey(i.to_bytes(16))).random() for i in range(DRAWS)]
    assert all(0 <= draw < 1 for draw in draws)
    counts = Counter(int(draw * 10) for draw in draws)
    assert all(abs(counts[tenth] / DRAWS - 0.1) < 0.01 for tenth in range(10))
