"""A person's hand on an experiment: what it rests on, what it is refused for, how `verify` replays it."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from gateway.errors import ConflictError, InvalidRequestError, StoreHeldError
from gateway.experiments.agreement import Agreement
from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.store_history import Loss, StoreHistory
from gateway.experiments.verbs import VERBS, Verb
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import GatewayEvent, MovedByHand
from gateway.learning.plan_worker import PlanJob, PlanResult, compute_plan
from gateway.learning.planning import Planner
from gateway.learning.promotion import Promoter
from gateway.learning.steering import Steering, Wish
from gateway.proof.experiment_log import ExperimentLog
from gateway.proof.recorded import read_log
from gateway.proof.verification import UndecidedError, verify
from policy_store.log_records import Result
from policy_store.moves import MOVES, Actor, Move
from policy_store.replicas import ReplicaRecord
from policy_store.report_records import Report
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from tests.gateway.building import DECIDES_AT_ONCE, NAME, catalogue

CERTIFIED_AT = 10
APPROVAL = {**DECIDES_AT_ONCE, "min_comparisons": CERTIFIED_AT, "mode": "approval"}


async def compute(job: PlanJob) -> PlanResult:
    """The plan, in this process."""
    return compute_plan(job)


class Bench:
    """An experiment of `plain`, which serves, and `warm`; its planner and a person."""

    def __init__(self, store: PolicyStore) -> None:
        self.store = store
        self.history = StoreHistory()
        self.agreement = Agreement()
        self.events: list[GatewayEvent] = []
        self.holder = CatalogueHolder(catalogue(promotion=APPROVAL))
        hooks = Hooks(self.events.append)
        promoter = Promoter(store, self.holder, hooks)
        self.planner = Planner(
            store,
            self.holder,
            compute,
            promoter,
            history=self.history,
            agreement=self.agreement,
            holder="a",
            interval_seconds=0.01,
            lease_seconds=30,
            hooks=hooks,
            rng=random.Random(7),
        )
        self.steering = Steering(store, self.holder, compute, self.history, self.agreement, hooks)
        self._units = 0

    async def register(self) -> None:
        """Make the store run what the file says."""
        definition = self.holder.current.definitions[NAME]
        await self.store.register(definition.experiment, definition.elimination_nano_nats)

    def use(self, **changes: Any) -> None:
        """Another file."""
        self.holder.current = catalogue(**changes)

    async def prefer(self, result: Result, times: int) -> None:
        """Users compare both answers; WIN is for `plain`."""
        for _ in range(times):
            self._units += 1
            said = Report(NAME, 1, f"unit{self._units}", 0, 1, "side_by_side", "x", 3600)
            await self.store.record_preference(said, result)

    async def certify(self) -> None:
        """`warm` awaits approval."""
        await self.like_warm()
        assert await self.state() is ExperimentState.AWAITING_APPROVAL

    async def like_warm(self) -> None:
        """So many prefer `warm`, with a plan now and then, that this is certain."""
        for _ in range(8):
            await self.planner.plan_all()
            await self.prefer(Result.LOSS, 5)
        await self.planner.plan_all()

    async def state(self) -> ExperimentState:
        """Where the experiment stands."""
        return (await self.store.view(NAME)).state

    async def do(self, verb: Verb, reason: str = "because", policy: str | None = None) -> str:
        """The person `ops` does it; who serves then."""
        view = await self.steering.move(NAME, Wish(verb, "ops", reason, policy))
        return view.experiment.policies[view.incumbent]

    async def log(self) -> list[bytes]:
        """The exported log."""
        return [line async for line in ExperimentLog(self.store).lines(NAME)]


@pytest.fixture
async def bench(embedded_store: PolicyStore) -> Bench:
    """A registered experiment whose file asks for approval."""
    bench = Bench(embedded_store)
    await bench.register()
    return bench


def test_every_move_of_a_person_has_a_verb() -> None:
    """What the table allows can be done."""
    by_hand = {move for move, rule in MOVES.items() if rule.actor is Actor.PERSON}
    assert set(VERBS.values()) | {Move.APPROVE_STEP} == by_hand  # approving comes to two moves


async def test_an_approved_certificate_is_promoted_and_verified(bench: Bench) -> None:
    """The certificate waits while evidence is still gathered, and `verify` says who approved."""
    await bench.certify()
    await bench.prefer(Result.LOSS, 20)
    await bench.planner.plan_all()
    view = await bench.store.view(NAME)
    assert (view.state, view.incumbent) == (ExperimentState.AWAITING_APPROVAL, 0)
    assert view.plan is not None
    assert view.plan.proposal.comparisons == 60

    assert await bench.do("approve", "ready for it", "warm") == "warm"

    assert bench.events[-1] == MovedByHand(NAME, 1, "approve", "ops", "ready for it", "promoted", "warm")
    found = verify(read_log(await bench.log()))
    assert (found.differences, found.champion, found.comparisons) == ((), "warm", CERTIFIED_AT)
    assert [(move["move"], move["actor"], move["reason"]) for move in found.by_hand] == [
        ("approve", "ops", "ready for it")
    ]


async def test_a_certificate_that_holds_no_more_is_neither_approved_nor_kept(bench: Bench) -> None:
    """The users changed their minds while it waited."""
    await bench.certify()
    await bench.prefer(Result.WIN, 25)

    with pytest.raises(ConflictError, match=r"no longer holds.*below the line"):
        await bench.do("approve")
    await bench.planner.plan_all()
    assert await bench.state() is ExperimentState.RUNNING
    assert (await bench.store.events(NAME, 1))[0].kind == "withdrawn"
    assert (await bench.store.view(NAME)).certificate is None
    with pytest.raises(UndecidedError, match="running"):
        verify(read_log(await bench.log()))


async def test_what_the_file_asks_for_meanwhile_is_asked_of_an_approval(bench: Bench) -> None:
    """The reason is the one that pages show."""
    await bench.certify()
    bench.use(promotion={**APPROVAL, "min_voters": 500})
    with pytest.raises(ConflictError, match=r"promotion\.min_voters asks for 500"):
        await bench.do("approve")


async def test_a_certificate_against_another_incumbent_is_not_approved(bench: Bench) -> None:
    """The certificate compares with the incumbent of its time only."""
    await bench.certify()
    definition = bench.holder.current.definitions[NAME].experiment
    bench.use(promotion=APPROVAL, policies=("warm", "plain"))
    await bench.register()
    assert (await bench.store.view(NAME)).incumbent == definition.policies.index("warm")

    with pytest.raises(ConflictError, match="warm serves now"):
        await bench.do("approve")
    for _ in range(2):
        await bench.planner.plan_all()
    assert await bench.state() is ExperimentState.SETTLED


async def test_an_approval_of_another_policy_than_was_seen_is_refused(bench: Bench) -> None:
    """The person looked at a page of some time ago."""
    await bench.certify()
    for verb in ("approve", "reject"):
        with pytest.raises(ConflictError, match="warm awaits approval, not plain"):
            await bench.do(verb, policy="plain")
    assert await bench.state() is ExperimentState.AWAITING_APPROVAL


async def test_a_file_that_asks_no_more_promotes_what_waits(bench: Bench) -> None:
    """The waiting policy is promoted without another comparison, in the same generation."""
    await bench.certify()
    bench.use(promotion={**APPROVAL, "mode": "automatic"})
    await bench.register()
    await bench.planner.plan_all()
    view = await bench.store.view(NAME)
    assert (view.generation, view.state, view.incumbent) == (1, ExperimentState.PROMOTED, 1)
    assert verify(read_log(await bench.log())).is_confirmed


async def test_what_was_rejected_stays_so_until_a_person_resumes(bench: Bench) -> None:
    """After a person resumes, the same evidence asks for approval again."""
    await bench.certify()
    assert await bench.do("reject", "too friendly") == "plain"
    await bench.planner.plan_all()
    assert await bench.state() is ExperimentState.REJECTED
    assert verify(read_log(await bench.log())).is_confirmed

    await bench.do("resume", "on second thoughts")
    await bench.planner.plan_all()
    assert await bench.state() is ExperimentState.AWAITING_APPROVAL


async def test_nothing_is_decided_while_an_experiment_is_paused(bench: Bench) -> None:
    """A paused experiment is not decided even with enough evidence, and held reports still count."""
    await bench.planner.plan_all()
    await bench.prefer(Result.LOSS, 10)
    await bench.planner.plan_all()
    await bench.do("pause")
    await bench.prefer(Result.LOSS, 30)
    await bench.planner.plan_all()
    assert await bench.state() is ExperimentState.PAUSED
    assert (await bench.store.counts(NAME, 1)).comparisons == 40

    await bench.do("resume")
    await bench.planner.plan_all()
    assert await bench.state() is ExperimentState.AWAITING_APPROVAL


async def test_a_promotion_by_hand_claims_nothing(bench: Bench) -> None:
    """The record says who decided and what had been counted, and `verify` repeats that."""
    await bench.planner.plan_all()
    await bench.prefer(Result.WIN, 7)
    assert await bench.do("promote", "the boss likes it", "warm") == "warm"

    certificate = (await bench.store.view(NAME)).certificate
    assert certificate is not None
    told = {
        name: certificate[name] for name in ("outcome", "decided_by", "reason", "guarantee", "comparisons")
    }
    assert told == {
        "outcome": "by_hand",
        "decided_by": "ops",
        "reason": "the boss likes it",
        "guarantee": "none",
        "comparisons": 7,
    }
    found = verify(read_log(await bench.log()))
    assert (found.differences, found.outcome, found.champion) == ((), "by_hand", "warm")
    assert found.is_by_hand


async def test_a_rolled_back_promotion_is_not_promoted_again(bench: Bench) -> None:
    """The evidence is what it was, and the planner leaves it."""
    await bench.certify()
    await bench.do("approve")
    assert await bench.do("rollback", "refunds rose") == "plain"
    await bench.register()
    await bench.planner.plan_all()
    view = await bench.store.view(NAME)
    assert (view.generation, view.state, view.incumbent) == (1, ExperimentState.ROLLED_BACK, 0)
    found = verify(read_log(await bench.log()))
    assert found.differences == ()
    assert [(move["before"], move["after"]) for move in found.by_hand] == [
        ("awaiting_approval", "promoted"),
        ("promoted", "rolled_back"),
    ]


async def test_the_policy_to_promote_is_another_one_of_the_experiment(bench: Bench) -> None:
    """A name that is none is a mistake; the one that serves needs no promotion."""
    with pytest.raises(InvalidRequestError, match="There are: plain, warm"):
        await bench.do("promote", policy="hot")
    with pytest.raises(ConflictError, match="serves already"):
        await bench.do("promote", policy="plain")


async def test_a_move_that_does_not_fit_is_refused_with_where_things_stand(bench: Bench) -> None:
    """Nothing is changed, and the person learns what the move is for."""
    for verb in ("approve", "reject", "rollback", "resume"):
        with pytest.raises(ConflictError, match=f"'support' is running .generation 1.; {verb} is for"):
            await bench.do(verb)
    assert bench.events == []


async def test_the_same_wish_again_finds_itself_fulfilled(bench: Bench) -> None:
    """A person who got no answer asks again: one move, one event, no error."""
    await bench.certify()
    for _ in range(2):
        assert await bench.do("approve", "go") == "warm"
    for _ in range(2):
        assert await bench.do("rollback", "no") == "plain"
    for _ in range(2):
        assert await bench.do("promote", "yes", "warm") == "warm"
    kinds = [event.kind for event in await bench.store.events(NAME, 3)]
    assert kinds == ["promoted_by_hand", "rolled_back", "approved"]
    assert sum(isinstance(event, MovedByHand) for event in bench.events) == 3


async def test_nothing_is_moved_in_a_store_that_lost_something(bench: Bench) -> None:
    """What a person sees may not be what was."""
    bench.history.hold(Loss.OLDER, epoch=bench.history.epoch)
    with pytest.raises(StoreHeldError):
        await bench.do("pause")
    assert await bench.state() is ExperimentState.RUNNING


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("rolled_back", {"before": "running"}),
        ("rolled_back", {"incumbent": 1}),
        ("approved", {"incumbent": 0}),
        ("approved", None),
        ("rolled_back", None),
        ("promoted_by_hand", {"reason": "no reason"}),
        ("promoted_by_hand", {"actor": "somebody"}),
    ],
)
async def test_a_changed_move_in_the_log_is_found(
    bench: Bench, kind: str, change: dict[str, Any] | None
) -> None:
    """A line taken away or altered does not pass for what happened."""
    await bench.certify()
    await bench.do("approve")
    await bench.do("rollback")
    await bench.do("promote", "once more", "warm")
    rows = [json.loads(line) for line in await bench.log()]
    assert verify(read_log(map(json.dumps, rows))).is_confirmed
    row = next(row for row in rows if row.get("kind") == kind)
    if change is None:
        rows.remove(row)
    else:
        row["detail"] |= change
    assert not verify(read_log(map(json.dumps, rows))).is_confirmed


async def test_a_certificate_is_left_alone_while_replicas_differ(bench: Bench) -> None:
    """Until replicas agree, the certificate is neither approved nor withdrawn, whatever is counted."""
    await bench.certify()
    bench.agreement.replicas = [ReplicaRecord(f"host:{word}:x", word, 0, 0) for word in ("c0ffee", "decaf")]
    await bench.prefer(Result.WIN, 80)
    await bench.planner.plan_all()

    with pytest.raises(ConflictError, match=r"different configurations: c0ffee on host:c0ffee; decaf"):
        await bench.do("approve")
    assert await bench.state() is ExperimentState.AWAITING_APPROVAL

    bench.agreement.replicas = []
    await bench.planner.plan_all()
    assert await bench.state() is ExperimentState.RUNNING
