"""How often policies were asked and failed, and the move that follows for one that fails."""

from __future__ import annotations

import pytest

from policy_store.counts import Trials
from policy_store.decisions import Failing
from policy_store.errors import UnknownExperimentError
from policy_store.events import EventKind, GaveUp
from policy_store.log_records import Result
from policy_store.moves import Move
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from tests.policy_store.building import NAME, THRESHOLD, experiment, planned, prefer, started

DEFINITION = experiment().fingerprint()


async def test_trials_add_up_over_replicas(store: PolicyStore) -> None:
    """Each call adds; the first one says since when."""
    await started(store)
    assert (await store.counts(NAME, 1)).trials is None

    await store.count_trials(NAME, DEFINITION, {0: (5, 0), 2: (3, 3)})
    await store.count_trials(NAME, DEFINITION, {2: (4, 1)})

    counts = await store.counts(NAME, 1)
    assert counts.trials == Trials(counts.trials.since, (5, 0, 7), (0, 0, 4))
    assert counts.started_at <= counts.trials.since <= counts.now


async def test_trials_of_another_definition_are_not_counted(store: PolicyStore) -> None:
    """A policy of the same name may be another one there."""
    await started(store)
    await store.count_trials(NAME, experiment(delta=0.1).fingerprint(), {1: (9, 9)})
    assert (await store.counts(NAME, 1)).trials is None
    with pytest.raises(UnknownExperimentError):
        await store.count_trials("nobody", DEFINITION, {1: (9, 9)})


async def test_giving_up_is_logged_with_its_figures(store: PolicyStore) -> None:
    """The experiment ends without a verdict, and nothing more is counted."""
    fence = await planned(store)
    await store.count_trials(NAME, DEFINITION, {1: (20, 20)})

    ended = await store.decide(
        *(NAME, 1, fence),
        move=Move.GIVE_UP,
        champion=None,
        certificate={},
        failing=Failing(1, 20, 20),
    )

    await store.count_trials(NAME, DEFINITION, {1: (20, 20)})
    event = (await store.events(NAME, 1))[0]
    assert (ended.state, ended.certificate) == (ExperimentState.UNFIT, None)
    assert event.kind == EventKind.GAVE_UP
    assert event.told == GaveUp(None, fence, 1, 1, 20, 20)
    assert (await store.counts(NAME, 1)).trials.asked == (0, 20, 0)


async def test_what_failed_before_is_forgotten_when_a_person_resumes(store: PolicyStore) -> None:
    """Whoever resumes has mended it; the evidence of before goes on."""
    fence = await planned(store)
    await store.count_trials(NAME, DEFINITION, {1: (20, 20)})
    failing = Failing(1, 20, 20)
    await store.decide(NAME, 1, fence, move=Move.GIVE_UP, champion=None, certificate={}, failing=failing)

    view = await store.move_by_hand(NAME, 1, Move.RESUME, actor="ann", reason="the key was wrong")

    assert view.state is ExperimentState.RUNNING
    assert (await store.counts(NAME, 1)).trials is None
    await store.count_trials(NAME, DEFINITION, {1: (1, 0)})
    assert (await store.counts(NAME, 1)).trials.failed == (0, 0, 0)


async def test_without_the_failing_candidate_the_experiment_goes_on_from_its_evidence(
    store: PolicyStore,
) -> None:
    """Ending was no verdict on the evidence, so the next definition inherits it."""
    fence = await planned(store)
    await prefer(store, "one", Result.WIN)
    failing = Failing(2, 20, 20)
    await store.decide(NAME, 1, fence, move=Move.GIVE_UP, champion=None, certificate={}, failing=failing)

    view = await store.register(experiment(policies=2), THRESHOLD)

    counts = await store.counts(NAME, view.generation)
    assert (view.state, counts.inherited_from) == (ExperimentState.RUNNING, 1)
    assert counts.trials is None
