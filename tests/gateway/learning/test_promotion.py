"""A decision: where it leaves the experiment, what it says, and that it is taken once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from gateway import __version__
from gateway.experiments.conclusions import Voting
from gateway.experiments.costs import AnswerCosts
from gateway.experiments.plan_values import Decision
from gateway.experiments.policy_content import descriptions
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import DecisionTaken, GatewayEvent
from gateway.learning.promotion import Promoter
from policy_store.counts import Counts
from policy_store.errors import StaleFenceError
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView
from tests.gateway.building import NAME, catalogue_holder, definition

WARM = 1
COUNTED = {
    "comparisons": 7,
    "incumbent": 0,
    "delta": 0.05,
    "policies_ever": 2,
    "wins": [[0, 1], [5, 0]],
    "epsilon": 0.0,
    "evidence_nano_nats": [[0, 9], [2, 0]],
}
COSTS = AnswerCosts("measured", (0.001, None), (9, 0))
VOTING = Voting(votes=14, voters=12, largest_share=0.142857)


def decision(kind: Any = "no_worse", champion: int | None = WARM) -> Decision:
    """A conclusion with a little of its certificate."""
    return Decision(kind, champion, {**COUNTED, "outcome": kind, "champion": champion})


async def started(store: PolicyStore) -> tuple[ExperimentView, int, Counts]:
    """A running experiment, the right to decide it, and what it counted until 1,000 s (store's clock)."""
    about = definition()
    view = await store.register(about.experiment, about.elimination_nano_nats)
    fence = await store.acquire_lease(NAME, "a", 60)
    assert fence is not None
    return view, fence, replace(await store.counts(NAME, view.generation), now=1_000.0)


@pytest.mark.parametrize(
    ("kind", "champion", "expected"),
    [
        ("winner", 1, ExperimentState.PROMOTED),
        ("no_worse", 1, ExperimentState.PROMOTED),
        ("winner", 0, ExperimentState.SETTLED),
        ("no_winner", None, ExperimentState.NO_WINNER),
        ("inconclusive", None, ExperimentState.INCONCLUSIVE),
    ],
)
async def test_conclusion_fixes_where_the_experiment_ends(
    embedded_store: PolicyStore, kind: Any, champion: int | None, expected: ExperimentState
) -> None:
    """Policy 0 serves at first, so only another certified policy changes the incumbent."""
    view, fence, counts = await started(embedded_store)
    promoter = Promoter(embedded_store, catalogue_holder(), Hooks())

    await promoter.decide(
        view, decision(kind, champion), VOTING, COSTS, plan_version=1, fence=fence, counts=counts
    )

    after = await embedded_store.view(NAME)
    assert (after.state, after.incumbent) == (expected, champion or 0)


async def test_certificate_names_everything_needed_to_check_it(embedded_store: PolicyStore) -> None:
    """Years later a certificate still names the experiment, plan, configuration, code and time."""
    view, fence, counts = await started(embedded_store)
    events: list[GatewayEvent] = []
    promoter = Promoter(embedded_store, catalogue_holder(), Hooks(events.append))
    await promoter.decide(view, decision(), VOTING, COSTS, plan_version=3, fence=fence, counts=counts)

    after = await embedded_store.view(NAME)
    assert after.certificate is not None
    gain = after.certificate["gain"]
    assert after.certificate == {
        **COUNTED,
        "outcome": "no_worse",
        "champion": WARM,
        "experiment": json.loads(view.experiment.to_json()),
        "generation": 1,
        "champion_name": "warm",
        "plan_version": 3,
        "config_hash": "c0ffee",
        "code_version": __version__,
        "decided_at": 1_000.0,
        "voting": {"votes": 14, "voters": 12, "largest_share": 0.142857},
        "policies": descriptions(view.experiment, {}, "names"),
        "answer_costs": {"source": "measured", "per_answer": [0.001, None], "answers": [9, 0]},
        "gain": gain,
    }
    assert (gain["policy"], gain["incumbent"], gain["preference"]) == ("warm", "plain", 0.833333)
    assert after.incumbent == WARM
    assert events == [DecisionTaken(NAME, 1, "promoted", "warm")]


async def test_of_competing_decisions_one_is_taken(embedded_store: PolicyStore) -> None:
    """The others find it done: no error, no second promotion, no other certificate."""
    view, fence, counts = await started(embedded_store)
    events: list[GatewayEvent] = []
    promoters = [
        Promoter(
            embedded_store,
            catalogue_holder(f"replica {number}"),
            Hooks(events.append),
        )
        for number in range(6)
    ]
    await asyncio.gather(
        *(
            promoter.decide(view, decision(), VOTING, COSTS, plan_version=1, fence=fence, counts=counts)
            for promoter in promoters
        )
    )

    kinds = [event.kind for event in await embedded_store.events(NAME)]
    assert kinds.count("promoted") == 1
    assert len(events) == 1


async def test_overtaken_planner_decides_nothing(embedded_store: PolicyStore) -> None:
    """The evidence of a planner that was replaced may be out of date."""
    view, fence, counts = await started(embedded_store)
    await embedded_store.release_lease(NAME, "a")
    await embedded_store.acquire_lease(NAME, "b", 60)

    promoter = Promoter(embedded_store, catalogue_holder(), Hooks())
    with pytest.raises(StaleFenceError):
        await promoter.decide(view, decision(), VOTING, COSTS, plan_version=1, fence=fence, counts=counts)
    assert (await embedded_store.view(NAME)).state is ExperimentState.RUNNING
