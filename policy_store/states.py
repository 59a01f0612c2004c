"""The life of an experiment: a table of its states and a table of the moves between them.

    start --> running --promote-------------> promoted
                      --settle--------------> settled
                      --find_no_winner------> no_winner
                      --run_out-------------> inconclusive

This is the one place that says what a state means. The Lua scripts get both tables in front of them
(`scripting.py`); routing, planning, verification, metrics, the console, the demo and the command line ask
here. docs/concepts.md prints the tables, and a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from policy_store.events import EventKind


class ExperimentState(StrEnum):
    """Where a generation of an experiment stands."""

    RUNNING = "running"
    PROMOTED = "promoted"
    SETTLED = "settled"
    NO_WINNER = "no_winner"
    INCONCLUSIVE = "inconclusive"

    @property
    def facts(self) -> StateFacts:
        """What is true of an experiment that stands here."""
        return STATES[self]


class Tone(StrEnum):
    """What kind of news a state is, for pages that colour it."""

    UNDER_WAY = "under_way"
    PROVEN = "proven"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True)
class StateFacts:
    """What is true of an experiment in one state.

    Attributes:
        meaning: What the state means, in a clause for the documentation.
        draws_pairs: Requests take part: the router draws pairs from the plan.
        counts_outcomes: Outcomes of units that have not reported before are counted.
        is_planned: A planner may publish plans.
        may_be_continued: A new generation may go on from the evidence.
        has_certificate: A certificate says how the state was reached.
        serves: The policy that answers ordinary traffic: the incumbent so far, or the certified champion.
        label: The state's name for people, in a word or two.
        tone: What kind of news it is.
        sentence: What people are told once the state is reached. `{incumbent}` is the policy that serves,
            `{counted}` how many comparisons were counted. Empty where a page tells what comes next instead.
    """

    meaning: str
    draws_pairs: bool
    counts_outcomes: bool
    is_planned: bool
    may_be_continued: bool
    has_certificate: bool
    serves: Literal["incumbent", "champion"]
    label: str
    tone: Tone
    sentence: str


STATES: Final[Mapping[ExperimentState, StateFacts]] = {
    ExperimentState.RUNNING: StateFacts(
        meaning="evidence is gathered",
        draws_pairs=True,
        counts_outcomes=True,
        is_planned=True,
        may_be_continued=True,
        has_certificate=False,
        serves="incumbent",
        label="running",
        tone=Tone.UNDER_WAY,
        sentence="",
    ),
    ExperimentState.PROMOTED: StateFacts(
        meaning="a candidate was certified and became the incumbent",
        draws_pairs=False,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=False,
        has_certificate=True,
        serves="champion",
        label="promoted",
        tone=Tone.PROVEN,
        sentence="{incumbent} was promoted after {counted}. It answers all traffic now.",
    ),
    ExperimentState.SETTLED: StateFacts(
        meaning="the incumbent itself was certified: nothing changes",
        draws_pairs=False,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=False,
        has_certificate=True,
        serves="champion",
        label="settled",
        tone=Tone.PROVEN,
        sentence="{incumbent} stays: {counted} showed that nothing here is better. It answers all traffic.",
    ),
    ExperimentState.NO_WINNER: StateFacts(
        meaning="every policy is beaten by another one: preferences run in a circle",
        draws_pairs=False,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=False,
        has_certificate=True,
        serves="incumbent",
        label="no winner",
        tone=Tone.UNPROVEN,
        sentence=(
            "Every policy is beaten by another one ({counted}). Nothing was promoted; {incumbent} stays."
        ),
    ),
    ExperimentState.INCONCLUSIVE: StateFacts(
        meaning="the budget of comparisons was spent without proof",
        draws_pairs=False,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=True,  # no verdict was given on the evidence, so a larger budget goes on
        has_certificate=True,
        serves="incumbent",
        label="inconclusive",
        tone=Tone.UNPROVEN,
        sentence="The budget of {counted} is spent without proof. Nothing was promoted; {incumbent} stays.",
    ),
}

INITIAL: Final = ExperimentState.RUNNING
"""Where every new generation starts."""


class Actor(StrEnum):
    """What may make a move."""

    PLANNER = "planner"  # the replica that holds the planning lease, shown by its fencing number


class Move(StrEnum):
    """A change of state, by name."""

    PROMOTE = "promote"
    SETTLE = "settle"
    FIND_NO_WINNER = "find_no_winner"
    RUN_OUT = "run_out"


@dataclass(frozen=True, slots=True)
class MoveRule:
    """What a move does.

    Attributes:
        sources: The states it may start from.
        target: The state it leads to.
        actor: What may make it.
        event: How the log records it. Each move has its own, so the log says which moves were made.
    """

    sources: frozenset[ExperimentState]
    target: ExperimentState
    actor: Actor
    event: EventKind

    @property
    def installs_champion(self) -> bool:
        """Whether the move names a champion, who serves from then on."""
        return self.target.facts.serves == "champion"


_DECIDED_FROM: Final = frozenset({ExperimentState.RUNNING})

MOVES: Final[Mapping[Move, MoveRule]] = {
    Move.PROMOTE: MoveRule(_DECIDED_FROM, ExperimentState.PROMOTED, Actor.PLANNER, EventKind.PROMOTED),
    Move.SETTLE: MoveRule(_DECIDED_FROM, ExperimentState.SETTLED, Actor.PLANNER, EventKind.SETTLED),
    Move.FIND_NO_WINNER: MoveRule(
        _DECIDED_FROM, ExperimentState.NO_WINNER, Actor.PLANNER, EventKind.NO_WINNER
    ),
    Move.RUN_OUT: MoveRule(
        _DECIDED_FROM, ExperimentState.INCONCLUSIVE, Actor.PLANNER, EventKind.INCONCLUSIVE
    ),
}

_BY_EVENT: Final = {rule.event.value: move for move, rule in MOVES.items()}


def recorded_move(kind: str) -> Move | None:
    """The move an event of that kind records; None for events that are no moves, and for unknown kinds."""
    return _BY_EVENT.get(kind)
