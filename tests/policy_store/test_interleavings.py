"""Planners and a person act on what they once read, in any order, and the store does what the tables say.

Every script is atomic, so what actors can do to each other is the order of their scripts, and how old the
reading is on which each of them rests. Hypothesis draws both, and compares every answer and the standing
after each step with `reference.Reference`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from policy_store.connect import connect
from policy_store.errors import StoreError
from policy_store.log_records import Result
from policy_store.moves import MOVES, Actor, Move
from policy_store.report_records import Report
from policy_store.stage_records import Stage, StageStep
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView
from tests.pace import PATIENCE_SECONDS
from tests.policy_store.building import KEEP_SECONDS, NAME, TERMS, THRESHOLD, experiment, forecasts, plan
from tests.policy_store.reference import Reference, Standing, outcome_of
from tests.servers import RedisServer

STEPS: Final = (StageStep(0.1, approval=True), StageStep(0.3, approval=True), StageStep(0.6), StageStep(1.0))
DEFINITIONS: Final = (
    experiment(),
    experiment(max_comparisons=99),
    experiment(incumbent=1),
    experiment(max_comparisons=99, incumbent=2),
)
PLANNERS: Final = ("planner 1", "planner 2")
ACTORS: Final = (*PLANNERS, "ops")
READ_BEFORE: Final = 0.7
_STEPPING: Final = {Move.ADVANCE, Move.APPROVE_STEP}
DECIDED: Final = [
    move
    for move, each in MOVES.items()
    if each.actor is Actor.PLANNER and move not in {*_STEPPING, Move.WATCH}
]
BY_HAND: Final = [
    move for move, each in MOVES.items() if each.actor is Actor.PERSON and move not in _STEPPING
]
BY_WATCH: Final = [move for move, each in MOVES.items() if each.ends_watch and each.actor is Actor.PERSON]

actors = st.sampled_from(ACTORS)
planners = st.sampled_from(PLANNERS)
champions = st.integers(0, 2)
words = st.sampled_from(("one", "two"))
drawn = st.randoms(use_true_random=False)


class Interleavings(RuleBasedStateMachine):
    """Two planners and a person on one store."""

    url: str
    runner: asyncio.Runner

    def __init__(self) -> None:
        super().__init__()
        self.store = PolicyStore(connect(self.url, timeout_seconds=5), timeout_seconds=PATIENCE_SECONDS)
        self.run(self.store._redis.flushall())
        self.model = Reference()
        self.seen: dict[str, ExperimentView] = {}
        self.fences = dict.fromkeys(PLANNERS, -1)  # none yet
        self.last: dict[str, Callable[[], None]] = {}

    def run(self, call: Awaitable[Any]) -> Any:
        """What the store answers."""
        return self.runner.run(call)

    def step(self, actor: str, call: Callable[[], Awaitable[Any]], reference: Callable[[], Any]) -> None:
        """Make a step on both, and compare what they answer; the actor may make the very same one again."""

        def make() -> None:
            assert self._made(call) == _expected(reference)

        self.last[actor] = make
        make()

    def _made(self, call: Callable[[], Awaitable[Any]]) -> object:
        try:
            answer = self.run(call())
        except StoreError as error:
            return outcome_of(error)
        return standing_of(answer) if isinstance(answer, ExperimentView) else answer

    @initialize()
    def begin(self) -> None:
        """The first definition is registered, and everyone has read it."""
        self.register("ops", 0)
        for actor in ACTORS:
            self.look(actor)
        self.lease(PLANNERS[0])

    @rule(actor=actors)
    def look(self, actor: str) -> None:
        """An actor reads what it will act on."""
        self.seen[actor] = self.run(self.store.view(NAME))
        assert standing_of(self.seen[actor]) == self.model.standing

    @rule(actor=actors)
    def again(self, actor: str) -> None:
        """An actor makes its last step again, because the answer was lost."""
        if actor in self.last:
            self.last[actor]()

    @rule(planner=planners)
    def lease(self, planner: str) -> None:
        """A planner takes or renews the lease."""
        fence = self.run(self.store.acquire_lease(NAME, planner, 600))
        assert fence == self.model.acquire_lease(planner)
        if fence is not None:
            self.fences[planner] = fence

    @rule(planner=planners)
    def take_over(self, planner: str) -> None:
        """The lease ends while its holder sleeps; a planner takes it and reads what there is."""
        self.lapse()
        self.lease(planner)
        self.look(planner)

    @rule()
    def lapse(self) -> None:
        """The lease ends while its holder sleeps."""
        self.run(self.store._redis.delete(self.store._names.experiment(NAME).lease))
        self.model.lapse()

    @rule(planner=planners)
    def release(self, planner: str) -> None:
        """A planner gives the lease back, if it has it."""
        self.run(self.store.release_lease(NAME, planner))
        self.model.release_lease(planner)

    @rule(planner=planners, drawn=drawn, champion=champions, about=words)
    def decide_what_is_due(self, planner: str, drawn: Random, champion: int, about: str) -> None:
        """A planner decides what the state allows, which most planners have just read."""
        if drawn.random() < READ_BEFORE:
            self.take_over(planner)
        self.decide(planner, self._allowed(planner, DECIDED, drawn), champion, about)

    @rule(drawn=drawn, champion=champions, reason=words, rests=st.booleans())
    def move_what_is_due(self, drawn: Random, champion: int, reason: str, *, rests: bool) -> None:
        """A person moves as the state allows, which most people have just read."""
        if drawn.random() < READ_BEFORE:
            self.look("ops")
        self.by_hand(self._allowed("ops", BY_HAND, drawn), champion, reason, rests=rests)

    @rule(planner=planners, number=st.integers(1, 3))
    def go_on(self, planner: str, number: int) -> None:
        """A planner that has just read goes on with what is under way: a step, a watch, a plan."""
        self.take_over(planner)
        standing = self.seen[planner].state.facts
        if standing.is_staged:
            self.advance(planner)
        elif self.seen[planner].state in MOVES[Move.WATCH].sources:
            self.begin_watch(planner)
        else:
            self.publish(planner, number)

    def _allowed(self, actor: str, moves: list[Move], drawn: Random) -> Move:
        allowed = [move for move in moves if self.seen[actor].state in MOVES[move].sources]
        return drawn.choice(allowed or moves)

    @rule(planner=planners, move=st.sampled_from(DECIDED), champion=champions, about=words)
    def decide(self, planner: str, move: Move, champion: int, about: str) -> None:
        """A planner decides."""
        each, generation, fence = MOVES[move], self.seen[planner].generation, self.fences[planner]
        named = champion if each.names_champion else None
        certificate = {"champion": champion, "about": about}
        verdict = {"verdict": about} if each.ends_watch else None
        steps = STEPS if each.target.facts.is_staged else ()
        self.step(
            planner,
            lambda: self.store.decide(
                *(NAME, generation, fence),
                move=move,
                champion=named,
                certificate=certificate,
                verdict=verdict,
                steps=steps,
            ),
            lambda: self.model.decide(generation, fence, move, named, certificate, verdict),
        )

    @rule(move=st.sampled_from(BY_HAND), champion=champions, reason=words, rests=st.booleans())
    def by_hand(self, move: Move, champion: int, reason: str, *, rests: bool) -> None:
        """A person moves, perhaps because of a certificate."""
        seen = self.seen["ops"].certificate if rests else None
        self._by_hand("ops", move, champion, reason, seen, None, None)

    @rule(planner=planners, move=st.sampled_from(BY_WATCH))
    def by_watch(self, planner: str, move: Move) -> None:
        """A watch takes a promotion back."""
        self._by_hand(planner, move, 1, "worse", None, self.fences[planner], {"verdict": "worse"})

    def _by_hand(
        self,
        actor: str,
        move: Move,
        champion: int,
        reason: str,
        seen: dict[str, Any] | None,
        fence: int | None,
        verdict: dict[str, Any] | None,
    ) -> None:
        each, generation = MOVES[move], self.seen[actor].generation
        named = champion if each.names_champion else None
        certificate = {"champion": champion, "reason": reason} if each.certifies else None
        said = f"{actor}: {reason}"
        self.step(
            actor,
            lambda: self.store.move_by_hand(
                *(NAME, generation, move),
                actor=actor,
                reason=reason,
                champion=named,
                certificate=certificate,
                seen=seen,
                fence=fence,
                verdict=verdict,
            ),
            lambda: self.model.move_by_hand(generation, move, named, certificate, seen, said, fence, verdict),
        )

    @rule(planner=planners)
    def advance(self, planner: str) -> None:
        """A planner takes the next step of a staged promotion."""
        view, fence = self.seen[planner], self.fences[planner]
        stage = _stage_of(view)
        self.step(
            planner,
            lambda: self.store.advance(NAME, view.generation, fence, stage=stage, champion=1, comparisons=1),
            lambda: self.model.take_step(view.generation, Move.ADVANCE, stage.step, None, "", fence),
        )

    @rule(reason=words)
    def approve_step(self, reason: str) -> None:
        """A person takes the next step of a staged promotion."""
        view = self.seen["ops"]
        stage, seen = _stage_of(view), view.certificate or {"champion": 0}
        self.step(
            "ops",
            lambda: self.store.approve_step(
                *(NAME, view.generation), stage=stage, comparisons=1, actor="ops", reason=reason, seen=seen
            ),
            lambda: self.model.take_step(
                view.generation, Move.APPROVE_STEP, stage.step, seen, f"ops: {reason}", None
            ),
        )

    @rule(planner=planners)
    def begin_watch(self, planner: str) -> None:
        """A planner begins the watch of a promotion."""
        generation, fence = self.seen[planner].generation, self.fences[planner]
        self.step(
            planner,
            lambda: self.store.begin_watch(NAME, generation, fence, TERMS, THRESHOLD),
            lambda: self.model.begin_watch(generation, fence),
        )

    @rule(planner=planners, number=st.integers(1, 3))
    def publish(self, planner: str, number: int) -> None:
        """A planner publishes a plan, for the watch if it has seen one."""
        view, fence = self.seen[planner], self.fences[planner]
        run = view.watch.run if view.watch else view.generation
        self.step(
            planner,
            lambda: self.store.publish_plan(NAME, run, plan(comparisons=number), forecasts(), fence),
            lambda: self.model.publish_plan(run, fence, number),
        )

    @rule(actor=actors, which=st.integers(0, len(DEFINITIONS) - 1))
    def register(self, actor: str, which: int) -> None:
        """A replica with another file registers its definition."""
        definition = DEFINITIONS[which]
        self.step(
            actor,
            lambda: self.store.register(definition, THRESHOLD),
            lambda: self.model.register(definition),
        )

    @rule(actor=actors, unit=st.integers(0, 4), is_win=st.booleans())
    def report(self, actor: str, unit: int, *, is_win: bool) -> None:
        """A user reports on an answer of the generation, or the watch, that a replica saw."""
        view, result = self.seen[actor], Result.WIN if is_win else Result.LOSS
        run = view.watch.run if view.watch and view.state.facts.is_watched else view.generation
        said = Report(NAME, run, f"u{unit}", 0, 1, "side_by_side", result.value, KEEP_SECONDS)

        async def receipt() -> object:
            return (await self.store.record_preference(said, result)).receipt

        self.step(actor, receipt, lambda: self.model.prefer(run, f"u{unit}", result.value))

    @precondition(lambda self: bool(self.model.runs))
    @invariant()
    def same(self) -> None:
        """Readers get the same, every run has counted the same, and the events are the same."""
        assert standing_of(self.run(self.store.view(NAME))) == self.model.standing
        for number, each in self.model.runs.items():
            assert self.run(self.store.counts(NAME, number)).comparisons == each.comparisons
        told = [event.kind for event in reversed(self.run(self.store.events(NAME, 10_000)))]
        assert told == self.model.events

    def teardown(self) -> None:
        """Close the connections."""
        self.run(self.store.aclose())


def _expected(reference: Callable[[], Any]) -> object:
    try:
        return reference()
    except StoreError as error:
        return outcome_of(error)


def _stage_of(view: ExperimentView) -> Stage:
    return view.stage or Stage(STEPS, 0, 0.0, 0)


def standing_of(view: ExperimentView) -> Standing:
    """The view, as far as the reference knows it."""
    watch = view.watch
    return Standing(
        view.generation,
        view.revision,
        view.state,
        view.incumbent,
        view.certificate,
        view.stage.step if view.stage else None,
        (watch.run, (watch.champion, watch.previous), watch.verdict) if watch else None,
    )


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of this module's own."""
    server = RedisServer(Path(tmp_path_factory.mktemp("interleavings")))
    server.start()
    yield server.url
    server.stop()


def _run(url: str, examples: int, steps: int) -> None:
    with asyncio.Runner() as runner:
        machine = type("Machine", (Interleavings,), {"url": url, "runner": runner})
        run_machine(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_steps_of_several_actors_come_to_what_the_tables_say(url: str) -> None:
    """Some hundred steps in random order."""
    _run(url, examples=20, steps=30)


@pytest.mark.long
def test_many_steps_of_several_actors_come_to_what_the_tables_say(url: str) -> None:
    """More than ten thousand steps."""
    _run(url, examples=600, steps=50)


def test_the_reference_notices_a_store_that_differs(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference that lets a fenced planner decide is told from the store at once."""
    monkeypatch.setattr(
        Reference,
        "_check_planner",
        lambda self, generation, _fence, each: self._check_source(generation, each),
    )
    with pytest.raises(AssertionError):
        _run(url, examples=50, steps=30)
