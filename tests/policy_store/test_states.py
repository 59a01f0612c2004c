"""The life of an experiment is the table of states and moves, and the store keeps to it."""

from __future__ import annotations

import ast
import asyncio
import re
from dataclasses import asdict, dataclass
from itertools import combinations_with_replacement, product
from pathlib import Path
from string import Formatter

import pytest

from policy_store.connect import connect
from policy_store.errors import (
    DecisionConflictError,
    ExperimentFinishedError,
    NewerVersionError,
    StoreError,
)
from policy_store.events import ByHand
from policy_store.moves import MOVES, Actor, Installs, Move, recorded_move
from policy_store.names import Names
from policy_store.report_records import Receipt
from policy_store.stage_records import Stage, StageStep
from policy_store.states import INITIAL, STATES, ExperimentState
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView
from tests.policy_store.building import NAME, TERMS, THRESHOLD, forecasts, plan, planned, prefer, started

ROOT = Path(__file__).parents[2]
CHAMPION = 1
STEPS = tuple(StageStep(share) for share in (0.1, 0.2, 0.3, 1.0))
STAGE = Stage(STEPS, 0, 0.0, 0)


async def restarted(store: PolicyStore) -> None:
    """The store empty again."""
    await store._redis.flushall()


def way_to(state: ExperimentState) -> tuple[Move, ...]:
    """The shortest moves from the start to a state."""
    ways: dict[ExperimentState, tuple[Move, ...]] = {INITIAL: ()}
    pending = [INITIAL]
    while pending:
        here = pending.pop(0)
        for move, rule in MOVES.items():
            if here in rule.sources and rule.target not in ways:
                ways[rule.target] = (*ways[here], move)
                pending.append(rule.target)
    return ways[state]


async def make(store: PolicyStore, move: Move, fence: int, about: str = "") -> ExperimentView:
    """The move as its actor makes it; `about` tells one move, and its certificate, from another."""
    rule = MOVES[move]
    champion = CHAMPION if rule.names_champion else None
    certificate = {"move": move.value, "about": about}
    if move in (Move.ADVANCE, Move.APPROVE_STEP):
        stage, seen = (await store.view(NAME)).stage or STAGE, (await store.view(NAME)).certificate or {}
        if move is Move.ADVANCE:
            return await store.advance(NAME, 1, fence, stage=stage, champion=CHAMPION, comparisons=1)
        return await store.approve_step(
            NAME, 1, stage=stage, comparisons=1, actor="ops", reason=about or "seen", seen=seen
        )
    if rule.target.facts.is_watched:
        return await store.begin_watch(NAME, 1, fence, TERMS, THRESHOLD)
    if rule.actor is Actor.PLANNER:
        steps = STEPS if rule.target.facts.is_staged else ()
        return await store.decide(
            NAME, 1, fence, move=move, champion=champion, certificate=certificate, steps=steps
        )
    return await store.move_by_hand(
        NAME, 1, move, actor="ops", reason=about or "seen", champion=champion, certificate=certificate
    )


async def standing(store: PolicyStore, state: ExperimentState) -> int:
    """An experiment with a comparison, brought to a state by the moves of the table; the planner's fence."""
    fence = await planned(store)
    await prefer(store, "early")
    for move in way_to(state):
        await make(store, move, fence, "on the way")
    assert (await store.view(NAME)).state is state
    return fence


@dataclass
class Standing:
    """What a table alone says of an experiment: an independent reading of the rules."""

    state: ExperimentState = INITIAL
    incumbent: int = 0
    before: int = 0
    certificate: dict[str, str] | None = None

    def make(self, move: Move, about: str) -> None:
        """Make a move, allowed or not."""
        rule = MOVES[move]
        assert self.state in rule.sources
        self.state = rule.target
        if rule.installs is Installs.CHAMPION:
            self.before, self.incumbent = self.incumbent, CHAMPION
        elif rule.installs is Installs.PREVIOUS:
            self.incumbent = self.before
        if rule.certifies:
            self.certificate = {"move": move.value, "about": about}
        elif not rule.target.facts.has_certificate:
            self.certificate = None


@pytest.mark.parametrize(("state", "move"), list(product(ExperimentState, Move)), ids=str)
async def test_a_move_is_made_from_its_sources_and_from_nowhere_else(
    store: PolicyStore, state: ExperimentState, move: Move
) -> None:
    """Every state with every move: allowed, it changes all at once; refused, it changes nothing."""
    fence = await standing(store, state)
    before, log = await store.view(NAME), await store.log(NAME, 1)
    rule = MOVES[move]

    if state not in rule.sources:
        with pytest.raises(DecisionConflictError, match=state.value):
            await make(store, move, fence)
        assert (await store.view(NAME), await store.log(NAME, 1)) == (before, log)
        return
    expected = Standing()
    for step in way_to(state):
        expected.make(step, "on the way")
    expected.make(move, "")
    after = await make(store, move, fence)
    assert (after.state, after.incumbent, after.certificate) == (
        expected.state,
        expected.incumbent,
        expected.certificate,
    )
    assert after.revision == before.revision + 1
    event = (await store.events(NAME, 1))[0]
    assert event.kind == rule.event
    if rule.actor is Actor.PERSON:
        told = ByHand("ops", "seen", state, after.state, before.incumbent, after.incumbent, 1)
        assert asdict(told).items() <= event.detail.items()
        assert isinstance(event.told, ByHand)


@pytest.mark.parametrize("state", ExperimentState, ids=str)
async def test_of_two_moves_at_once_the_table_allows_what_happens(
    store: PolicyStore, state: ExperimentState
) -> None:
    """The second starts from where the first led to, or is refused: every pair that can change anything."""
    for one, other in combinations_with_replacement(Move, 2):
        if state not in MOVES[one].sources | MOVES[other].sources:
            continue  # both are refused, and each alone is tried above
        await restarted(store)
        fence = await standing(store, state)

        ended = await asyncio.gather(
            make(store, one, fence, "one"), make(store, other, fence, "other"), return_exceptions=True
        )

        assert all(isinstance(each, ExperimentView | DecisionConflictError) for each in ended), (one, other)
        found = await store.view(NAME)
        logged = [move for event in reversed(await store.events(NAME)) if (move := recorded_move(event.kind))]
        expected = Standing()
        for move in logged:
            expected.make(move, "")
        assert (found.state, found.incumbent) == (expected.state, expected.incumbent), (one, other)
        made = sum(isinstance(each, ExperimentView) for each in ended)
        assert len(logged) == len(way_to(state)) + made, (one, other)


@pytest.mark.parametrize("state", ExperimentState)
async def test_the_store_does_in_each_state_what_the_table_says(
    store: PolicyStore, state: ExperimentState
) -> None:
    """Outcomes are counted, plans published, evidence handed on and certificates kept, or not."""
    fence = await standing(store, state)
    facts = STATES[state]

    async def is_refused(call: object) -> bool:
        try:
            await call
        except ExperimentFinishedError:
            return True
        return False

    assert await is_refused(prefer(store, "late")) is not facts.counts_outcomes
    publication = store.publish_plan(NAME, 1, plan(comparisons=9), forecasts(), fence)
    assert await is_refused(publication) is not facts.is_planned
    view = await store.view(NAME)
    assert (view.certificate is not None) is facts.has_certificate
    assert view.incumbent == (CHAMPION if facts.serves == "champion" else 0)

    successor = await started(store, max_comparisons=99)
    assert successor.state is (state if facts.is_kept else INITIAL)
    went_on = (await store.counts(NAME, successor.generation)).inherited_from is not None
    assert went_on is facts.may_be_continued


async def test_state_of_a_newer_version_is_named_and_counts_nothing(
    store: PolicyStore, store_url: str
) -> None:
    """During an upgrade an older replica serves what it knows, and says what it does not understand."""
    fence = await planned(store)
    assert (await prefer(store, "early")).receipt is Receipt.COUNTED
    redis = connect(store_url)
    await redis.hset(Names().experiment(NAME).control, "1:state", "levitating")
    await redis.aclose()

    with pytest.raises(NewerVersionError, match="levitating"):
        await store.view(NAME)
    with pytest.raises(ExperimentFinishedError):
        await prefer(store, "late")
    with pytest.raises(ExperimentFinishedError):
        await store.publish_plan(NAME, 1, plan(comparisons=9), forecasts(), fence)
    for move in (Move.PROMOTE, Move.PAUSE):
        with pytest.raises(StoreError):
            await make(store, move, fence)


def test_table_is_whole() -> None:
    """Every state has facts and can be reached, and the log tells every move from every other."""
    assert set(STATES) == set(ExperimentState)
    assert set(MOVES) == set(Move)
    assert all(way_to(state) or state is INITIAL for state in ExperimentState)
    assert {recorded_move(rule.event) for rule in MOVES.values()} == set(Move)
    assert recorded_move("started") is None


@pytest.mark.parametrize("state", ExperimentState)
def test_sentences_for_people_can_be_filled(state: ExperimentState) -> None:
    """Pages know three words to put in, and have something to say of every state but the first."""
    facts = STATES[state]
    named = {name for _, name, _, _ in Formatter().parse(facts.sentence) if name}
    assert named <= {"incumbent", "counted", "champion"}
    assert "champion" not in named or facts.has_certificate
    assert bool(facts.sentence) is (state is not INITIAL)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _table(*rows: tuple[str, ...]) -> str:
    heading, *others = rows
    return "\n".join(f"| {' | '.join(row)} |" for row in (heading, ("---",) * len(heading), *others)).replace(
        "| --- ", "|---"
    )


def test_documentation_prints_the_tables() -> None:
    """docs/concepts.md holds what the code holds: copy the expected text from the failure."""
    states = _table(
        (
            "state",
            "meaning",
            "draws pairs",
            "counts",
            "is planned",
            "may be continued",
            "keeps sessions",
            "serves",
        ),
        *(
            (
                f"`{state}`",
                facts.meaning,
                _yes(facts.draws_pairs),
                _yes(facts.counts_outcomes),
                _yes(facts.is_planned),
                _yes(facts.may_be_continued),
                _yes(facts.keeps_sessions),
                f"the {facts.serves}",
            )
            for state, facts in STATES.items()
        ),
    )
    moves = _table(
        ("move", "from", "to", "who may", "event"),
        *(
            (
                f"`{move}`",
                ", ".join(f"`{state}`" for state in sorted(rule.sources)),
                f"`{rule.target}`",
                f"the {rule.actor}"
                if rule.actor is Actor.PLANNER
                else f"a {rule.actor}"
                + (", or the confirm hook" if rule.asks_hook else "")
                + (", or a watch" if rule.ends_watch else "")
                + (", or a guardrail" if rule.guards else ""),
                f"`{rule.event}`",
            )
            for move, rule in MOVES.items()
        ),
    )
    page = (ROOT / "docs/concepts.md").read_text()
    for table in (states, moves):
        assert re.sub(r"\|-+", "|---", table) in re.sub(r"\|-+", "|---", page), f"expected:\n{table}"


def test_rules_and_dashboards_name_states_there_are() -> None:
    """An alert on a state that is never reached would never fire."""
    files = [*(ROOT / "deploy/prometheus").rglob("*.yml"), *(ROOT / "deploy/grafana").rglob("*.json")]
    named = {
        state
        for file in files
        for match in re.findall(r'llmpo_experiment_state\{[^}]*?state=~?\\?"([^"\\]+)', file.read_text())
        for state in match.split("|")
    }
    assert named
    assert named <= {state.value for state in ExperimentState}


def test_no_other_file_compares_with_a_states_name() -> None:
    """A new state touches the table, and whatever asks the table follows."""
    words = {
        "running",
        "promoted",
        "settled",
        "awaiting_approval",
        "rolled_back",
    }  # the others are words of the algorithm's verdicts as well
    homes = {"policy_store/states.py", "policy_store/events.py"}
    for path in sorted([*(ROOT / "gateway").rglob("*"), *(ROOT / "policy_store").rglob("*")]):
        if str(path.relative_to(ROOT)) in homes or path.suffix not in {".py", ".lua", ".js"}:
            continue
        text = path.read_text()
        if path.suffix == ".py":
            constants = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
            assert words.isdisjoint(value for value in constants if isinstance(value, str)), path
        else:
            assert not re.findall(rf"""(["'])({"|".join(words)})\1""", text), path
