"""The snapshot follows the store, and survives it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gateway.experiments.catalogue import Catalogue, CatalogueHolder
from gateway.experiments.snapshot import LiveExperiment
from gateway.experiments.store_history import Loss, StoreHistory
from gateway.learning.refreshing import Refresher
from gateway.llm_po.lines import elimination_nano_nats
from gateway.running.background import background, stop
from gateway.running.store_health import StoreHealth
from policy_store.errors import NewerVersionError, StoreUnavailableError
from policy_store.experiment import Experiment
from policy_store.log_records import Result
from policy_store.moves import Move
from policy_store.report_records import Report
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView
from tests.gateway.building import NAME, catalogue, definition
from tests.pace import PATIENCE_SECONDS


@dataclass
class Flaky:
    """The store, until told to be away or to have lost everything."""

    store: PolicyStore
    is_away: bool = False
    has_lost: bool = False
    silent_about: str = ""
    unreadable: tuple[str, Exception] = ("", ValueError())
    meanwhile: Callable[[], None] = lambda: None
    calls: list[str] = field(default_factory=list)

    async def register(self, experiment: Experiment, elimination_nano_nats: int) -> ExperimentView:
        self._called("register")
        self.has_lost = False
        return await self.store.register(experiment, elimination_nano_nats)

    async def keep_contents(self, name: str, contents: Mapping[str, Mapping[str, Any]]) -> None:
        await self.store.keep_contents(name, contents)

    async def revisions(self, names: Sequence[str]) -> Mapping[str, int]:
        self._called("revisions")
        found = {} if self.has_lost else await self.store.revisions(names)
        self.meanwhile()
        return found

    async def view(self, name: str) -> ExperimentView:
        self._called("view")
        if name == self.silent_about:
            raise StoreUnavailableError("silent")
        if name == self.unreadable[0]:
            raise self.unreadable[1]
        return await self.store.view(name)

    def _called(self, method: str) -> None:
        if self.is_away:
            raise StoreUnavailableError("away")
        self.calls.append(method)


def refresher(store: Any, configured: Catalogue, history: StoreHistory | None = None) -> Refresher:
    """A replica's refresher; nothing has been read yet."""
    return Refresher(
        store, CatalogueHolder(configured), StoreHealth(), history or StoreHistory(), interval_seconds=0.001
    )


def live(refresher: Refresher) -> LiveExperiment:
    """What requests see."""
    return refresher.holder.current.experiments[NAME]


def test_before_the_store_answers_the_configured_incumbent_serves(embedded_store: PolicyStore) -> None:
    """A gateway can always answer."""
    found = live(refresher(embedded_store, catalogue()))
    assert found.incumbent_policy.name == "plain"
    assert not found.matches_store
    assert found.plan is None


async def test_unchanged_experiment_costs_one_small_read(embedded_store: PolicyStore) -> None:
    """Every replica makes this read several times a second."""
    store = Flaky(embedded_store)
    replica = refresher(store, catalogue())
    await replica.refresh()
    snapshot = replica.holder.current
    store.calls.clear()

    await replica.refresh()

    assert store.calls == ["revisions"]
    assert replica.holder.current is snapshot


async def test_decision_of_another_replica_is_followed(embedded_store: PolicyStore) -> None:
    """State and incumbent change in one swap."""
    replica = refresher(embedded_store, catalogue())
    await replica.refresh()
    fence = await embedded_store.acquire_lease(NAME, "other", 60)
    assert fence is not None
    await embedded_store.decide(NAME, 1, fence, move=Move.PROMOTE, champion=1, certificate={})

    await replica.refresh()

    assert live(replica).incumbent_policy.name == "warm"
    assert live(replica).state is ExperimentState.PROMOTED


async def test_last_snapshot_is_kept_while_the_store_is_away(embedded_store: PolicyStore) -> None:
    """An outage changes nothing for users."""
    store = Flaky(embedded_store)
    replica = refresher(store, catalogue())
    await replica.refresh()
    before = replica.holder.current
    store.is_away = True

    await replica.refresh()

    assert replica.holder.current is before


async def test_what_was_read_before_the_store_failed_is_shown(embedded_store: PolicyStore) -> None:
    """The store fails between two experiments, and the first one's promotion is still served."""
    one = catalogue()
    both = replace(one, definitions={**one.definitions, **catalogue(name="later").definitions})
    store = Flaky(embedded_store)
    replica = refresher(store, both)
    await replica.refresh()
    for name in both.definitions:
        fence = await embedded_store.acquire_lease(name, "other", 60)
        assert fence is not None
        await embedded_store.decide(name, 1, fence, move=Move.PROMOTE, champion=1, certificate={})
    store.silent_about = "later"

    await replica.refresh()

    assert live(replica).incumbent_policy.name == "warm"
    assert replica.holder.current.experiments["later"].incumbent_policy.name == "plain"


@pytest.mark.parametrize("fault", [NewerVersionError("a state of tomorrow"), ValueError("no JSON")])
async def test_an_experiment_that_cannot_be_read_stops_no_other(
    embedded_store: PolicyStore, fault: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    """Those after it are followed, it is served as before, and the log says so once while that lasts."""
    one = catalogue(name="damaged")
    both = replace(one, definitions={**one.definitions, **catalogue().definitions})
    store = Flaky(embedded_store)
    replica = refresher(store, both)
    await replica.refresh()
    for name in both.definitions:
        fence = await embedded_store.acquire_lease(name, "other", 60)
        assert fence is not None
        await embedded_store.decide(name, 1, fence, move=Move.PROMOTE, champion=1, certificate={})
    store.unreadable = "damaged", fault

    await replica.refresh()
    await replica.refresh()

    found = replica.holder.current.experiments
    assert live(replica).incumbent_policy.name == "warm"
    assert found["damaged"].incumbent_policy.name == "plain"
    assert "".join(capfd.readouterr()).count("experiment_unreadable") == 1
    store.unreadable = "", fault
    await replica.refresh()
    assert replica.holder.current.experiments["damaged"].incumbent_policy.name == "warm"


async def test_an_answer_that_a_later_one_overtakes_is_no_loss(embedded_store: PolicyStore) -> None:
    """Answers come over several connections: another task may have taken in a later revision meanwhile."""
    history, store = StoreHistory(), Flaky(embedded_store)
    replica = refresher(store, catalogue(), history)
    await replica.refresh()

    store.meanwhile = lambda: history.saw_revision(NAME, 7)
    await replica.refresh()
    assert history.held is None

    await replica.refresh()
    assert history.held is Loss.OLDER


async def test_store_that_lost_its_data_is_not_followed_until_accepted(embedded_store: PolicyStore) -> None:
    """Users get what they got before; a new start is an operator's to make."""
    store = Flaky(embedded_store)
    replica = refresher(store, catalogue())
    await replica.refresh()
    before = replica.holder.current
    store.has_lost = True
    store.calls.clear()

    await replica.refresh()

    assert store.calls == ["revisions"]
    assert replica.holder.current is before
    replica.forget()
    await replica.refresh()
    assert live(replica).matches_store


async def test_replica_with_another_definition_serves_its_incumbent_only(
    embedded_store: PolicyStore,
) -> None:
    """While replicas are upgraded one after the other, indices must not be mixed up."""
    old = refresher(embedded_store, catalogue())
    await old.refresh()
    new = refresher(embedded_store, catalogue(policies=("plain", "new", "warm")))
    await new.refresh()

    await old.refresh()

    assert not live(old).matches_store
    assert live(old).plan is None
    assert live(old).incumbent_policy.name == "plain"
    assert live(new).matches_store


async def test_replica_with_another_definition_follows_a_promotion_it_has_the_policy_for(
    embedded_store: PolicyStore,
) -> None:
    """The promoted policy is found by name and content, not by its place."""
    old = refresher(embedded_store, catalogue())
    await old.refresh()
    new = definition(policies=("plain", "new", "warm"))
    view = await embedded_store.register(new.experiment, new.elimination_nano_nats)
    fence = await embedded_store.acquire_lease(NAME, "other", 60)
    assert fence is not None
    champion = new.experiment.policies.index("warm")
    await embedded_store.decide(
        NAME, view.generation, fence, move=Move.PROMOTE, champion=champion, certificate={}
    )

    await old.refresh()

    assert live(old).incumbent_policy.name == "warm"


def test_policies_may_be_moved_around_in_the_file() -> None:
    """Order in the file means nothing: the same experiment, the same evidence."""
    one = definition(policies=("plain", "warm"), incumbent="warm")
    other = definition(policies=("warm", "plain"), incumbent="warm")
    assert one.experiment == other.experiment
    assert one.is_same_as(replace(other.experiment, incumbent=0))


@pytest.mark.parametrize("delta", [0.01, 0.05, 0.1, 0.5])
def test_store_eliminates_at_the_line_the_algorithm_names(delta: float) -> None:
    """The threshold is written twice, so that the server need not load the algorithm: they must agree."""
    assert definition(delta=delta).elimination_nano_nats == elimination_nano_nats(delta)


async def test_background_task_that_fails_is_started_again() -> None:
    """A fault must not leave the gateway without its refresher."""
    runs = 0
    is_done = asyncio.Event()

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ZeroDivisionError
        is_done.set()
        await asyncio.Event().wait()

    async with background("test", run, restart_seconds=0.0):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await is_done.wait()
    assert runs == 2


async def test_task_that_misses_a_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11 can lose one; closing must not hang on it."""
    monkeypatch.setattr("gateway.running.background.CANCEL_AGAIN_SECONDS", 0.01)

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await stop(task)
    assert task.cancelled()


async def test_replica_with_another_policy_goes_on_from_what_was_counted(embedded_store: PolicyStore) -> None:
    """A file with one more policy keeps the evidence; the store's current generation is the new one."""
    old = refresher(embedded_store, catalogue())
    await old.refresh()
    await embedded_store.record_preference(Report(NAME, 1, "unit", 0, 1, "side_by_side", "x", 60), Result.WIN)
    new = refresher(embedded_store, catalogue(policies=("plain", "new", "warm")))

    await new.refresh()

    assert live(new).generation == 2
    assert live(new).matches_store
    counts = await embedded_store.counts(NAME, 2)
    assert (counts.comparisons, counts.inherited, counts.policies_ever) == (1, 1, 3)
    plain, warm = 1, 2  # sorted by name
    assert counts.wins[plain][warm] == 1
