"""The life of an experiment: a table of its states and a table of the moves between them.

    start --> running --promote--------------------------> promoted --roll_back--> rolled_back
                      --certify--> awaiting_approval --approve--^ --watch--> watching --roll_back--^
                      --stage----> staged --promote-------------^            watching --confirm--> settled
                      <--withdraw--                  --reject----------------> rejected
                      --settle---------------------------> settled
                      --find_no_winner-------------------> no_winner
                      --run_out--------------------------> inconclusive
                      --pause--> paused, --stop--> stopped; --resume--> back

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
    """The state of a generation of an experiment."""

    RUNNING = "running"
    PAUSED = "paused"
    AWAITING_APPROVAL = "awaiting_approval"
    STAGED = "staged"
    PROMOTED = "promoted"
    WATCHING = "watching"
    ROLLED_BACK = "rolled_back"
    REJECTED = "rejected"
    SETTLED = "settled"
    NO_WINNER = "no_winner"
    INCONCLUSIVE = "inconclusive"
    STOPPED = "stopped"

    @property
    def facts(self) -> StateFacts:
        """What is true of an experiment in this state."""
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
        draws_pairs: Requests take part: the router draws pairs from the plan, or from that of the watch.
        counts_outcomes: Outcomes of units that have not reported before are counted in the generation. While
            a promotion is watched, those of the watch's own run are, and none in the generation.
        is_planned: A planner may publish plans for the generation.
        may_be_continued: A new generation may continue from the evidence.
        is_kept: The next generation begins in this state too, instead of the usual one.
        has_certificate: A certificate says how the state was reached, or what a person has to approve.
        is_staged: The certified policy answers the share of ordinary traffic that a step says.
        is_watched: The champion and the policy before it are compared, in the run of a watch.
        keeps_sessions: Conversations go on with the policy that began them; otherwise the incumbent answers
            them too.
        serves: The policy that answers ordinary traffic: the incumbent so far, or the champion.
        label: The state's name for people, in a word or two.
        tone: What kind of news it is.
        sentence: What pages say once the state is reached. `{incumbent}` is the policy that serves,
            `{counted}` the number of comparisons counted. Empty if pages show what comes next instead.
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
    is_kept: bool = False
    is_staged: bool = False
    is_watched: bool = False
    keeps_sessions: bool = True

    @property
    def counts_reports(self) -> bool:
        """Whether outcomes of units drawn now are counted, in the generation or in the run of a watch."""
        return self.counts_outcomes or self.is_watched


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
    ExperimentState.PAUSED: StateFacts(
        meaning="a person paused it: the incumbent answers everything, and outcomes of earlier answers "
        "still count",
        draws_pairs=False,
        counts_outcomes=True,
        is_planned=False,
        may_be_continued=True,
        is_kept=True,
        has_certificate=False,
        keeps_sessions=False,
        serves="incumbent",
        label="paused",
        tone=Tone.UNPROVEN,
        sentence="Paused after {counted}. {incumbent} answers all traffic until it is resumed.",
    ),
    ExperimentState.AWAITING_APPROVAL: StateFacts(
        meaning="a candidate was certified and awaits a person; evidence is gathered meanwhile",
        draws_pairs=True,
        counts_outcomes=True,
        is_planned=True,
        may_be_continued=True,
        has_certificate=True,
        serves="incumbent",
        label="awaiting approval",
        tone=Tone.PROVEN,
        sentence=(
            "{champion} was certified after {counted} and awaits approval. Until then {incumbent} answers "
            "ordinary traffic."
        ),
    ),
    ExperimentState.STAGED: StateFacts(
        meaning="a certified candidate answers a growing share of ordinary traffic, step by step",
        draws_pairs=True,
        counts_outcomes=True,
        is_planned=True,
        may_be_continued=True,
        is_staged=True,
        has_certificate=True,
        serves="incumbent",
        label="staged",
        tone=Tone.PROVEN,
        sentence=(
            "{champion} was certified after {counted} and is promoted step by step. {incumbent} answers the "
            "rest of ordinary traffic."
        ),
    ),
    ExperimentState.PROMOTED: StateFacts(
        meaning="a candidate was certified, or chosen by a person, and became the incumbent",
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
    ExperimentState.WATCHING: StateFacts(
        meaning="the promoted policy serves, and a share of the traffic compares it with the one before",
        draws_pairs=True,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=False,
        is_watched=True,
        has_certificate=True,
        serves="champion",
        label="watching",
        tone=Tone.PROVEN,
        sentence=(
            "{incumbent} was promoted after {counted}. It answers ordinary traffic; a share of the traffic "
            "compares it with the policy before it."
        ),
    ),
    ExperimentState.ROLLED_BACK: StateFacts(
        meaning="a promotion was taken back, by a person or a watch: the incumbent before it serves again",
        draws_pairs=False,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=False,  # otherwise the old evidence would promote the policy again
        has_certificate=True,
        keeps_sessions=False,
        serves="incumbent",
        label="rolled back",
        tone=Tone.UNPROVEN,
        sentence="The promotion of {champion} was taken back. {incumbent} answers all traffic again.",
    ),
    ExperimentState.REJECTED: StateFacts(
        meaning="a person rejected the certified candidate: nothing changes",
        draws_pairs=False,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=False,  # a person decided against the evidence
        has_certificate=True,
        serves="incumbent",
        label="rejected",
        tone=Tone.UNPROVEN,
        sentence="{champion} was certified after {counted} and rejected. {incumbent} stays.",
    ),
    ExperimentState.SETTLED: StateFacts(
        meaning="the incumbent itself was certified, or a watched promotion stands: nothing changes",
        draws_pairs=False,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=False,
        has_certificate=True,
        serves="champion",
        label="settled",
        tone=Tone.PROVEN,
        sentence="{incumbent} stays: after {counted} no other policy is known to be better. It answers all "
        "traffic.",
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
        may_be_continued=True,  # there was no verdict on the evidence, so a larger budget continues from it
        has_certificate=True,
        serves="incumbent",
        label="inconclusive",
        tone=Tone.UNPROVEN,
        sentence="The budget of {counted} is spent without proof. Nothing was promoted; {incumbent} stays.",
    ),
    ExperimentState.STOPPED: StateFacts(
        meaning="a person ended it without a verdict",
        draws_pairs=False,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=True,  # there was no verdict on the evidence
        has_certificate=False,
        keeps_sessions=False,
        serves="incumbent",
        label="stopped",
        tone=Tone.UNPROVEN,
        sentence="Stopped after {counted}, without a verdict. {incumbent} answers all traffic.",
    ),
}

INITIAL: Final = ExperimentState.RUNNING
"""The state in which a new generation starts."""


class Actor(StrEnum):
    """The kind of actor that may make a move."""

    PLANNER = "planner"  # the replica that holds the planning lease, shown by its fencing number
    PERSON = "person"  # with an admin key and a reason


class Move(StrEnum):
    """A change of state, by name."""

    PROMOTE = "promote"
    CERTIFY = "certify"
    STAGE = "stage"
    ADVANCE = "advance"
    APPROVE_STEP = "approve_step"
    WITHDRAW = "withdraw"
    SETTLE = "settle"
    FIND_NO_WINNER = "find_no_winner"
    RUN_OUT = "run_out"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    APPROVE = "approve"
    REJECT = "reject"
    PROMOTE_BY_HAND = "promote_by_hand"
    ROLL_BACK = "roll_back"
    WATCH = "watch"
    CONFIRM = "confirm"


class Installs(StrEnum):
    """Which policy answers ordinary traffic after a move."""

    NOTHING = "nothing"  # the same one as before
    CHAMPION = "champion"  # the one that the certificate names
    PREVIOUS = "previous"  # the one that served before the champion


@dataclass(frozen=True, slots=True)
class MoveRule:
    """The rule for one move.

    Attributes:
        sources: The states it may start from.
        target: The state it leads to.
        actor: The kind of actor that may make it.
        event: The event that records it. Each move has an event of its own, so the log shows every move.
        certifies: It comes with a certificate, which is stored. Other moves keep the stored certificate if
            their target state has one, and otherwise drop it.
        names_champion: It comes with the policy that the certificate is about.
        asks_hook: A planner makes it too, if the experiment's confirm hook answers so.
        ends_watch: A planner makes it too, if a watch over the promotion came to that.
        installs: Which policy answers ordinary traffic after the move.
    """

    sources: frozenset[ExperimentState]
    target: ExperimentState
    actor: Actor
    event: EventKind
    certifies: bool = False
    names_champion: bool = False
    asks_hook: bool = False
    ends_watch: bool = False
    installs: Installs = Installs.NOTHING

    @property
    def is_promotion(self) -> bool:
        """Whether a candidate becomes the incumbent."""
        return self.target is ExperimentState.PROMOTED


_RUNNING: Final = frozenset({ExperimentState.RUNNING})
_AWAITING: Final = frozenset({ExperimentState.AWAITING_APPROVAL})
_STAGED: Final = frozenset({ExperimentState.STAGED})
_OPEN: Final = _RUNNING | _AWAITING | _STAGED
_PAUSED: Final = frozenset({ExperimentState.PAUSED})
_PROMOTED: Final = frozenset({ExperimentState.PROMOTED})
_WATCHING: Final = frozenset({ExperimentState.WATCHING})
_SET_ASIDE: Final = _PAUSED | {ExperimentState.STOPPED, ExperimentState.REJECTED}

MOVES: Final[Mapping[Move, MoveRule]] = {
    Move.PROMOTE: MoveRule(
        _OPEN,  # awaiting approval: if the file no longer asks anyone
        ExperimentState.PROMOTED,
        Actor.PLANNER,
        EventKind.PROMOTED,
        certifies=True,
        names_champion=True,
        installs=Installs.CHAMPION,
    ),
    Move.CERTIFY: MoveRule(
        _RUNNING,
        ExperimentState.AWAITING_APPROVAL,
        Actor.PLANNER,
        EventKind.CERTIFIED,
        certifies=True,
        names_champion=True,
    ),
    Move.STAGE: MoveRule(
        _RUNNING | _AWAITING,
        ExperimentState.STAGED,
        Actor.PLANNER,
        EventKind.STAGED,
        certifies=True,
        names_champion=True,
    ),
    Move.ADVANCE: MoveRule(
        _STAGED, ExperimentState.STAGED, Actor.PLANNER, EventKind.ADVANCED, names_champion=True
    ),
    Move.APPROVE_STEP: MoveRule(
        _STAGED, ExperimentState.STAGED, Actor.PERSON, EventKind.STEP_APPROVED, names_champion=True
    ),
    Move.WITHDRAW: MoveRule(
        _AWAITING | _STAGED,
        ExperimentState.RUNNING,
        Actor.PLANNER,
        EventKind.WITHDRAWN,
        names_champion=True,
    ),
    Move.SETTLE: MoveRule(
        _RUNNING,
        ExperimentState.SETTLED,
        Actor.PLANNER,
        EventKind.SETTLED,
        certifies=True,
        names_champion=True,
        installs=Installs.CHAMPION,
    ),
    Move.FIND_NO_WINNER: MoveRule(
        _RUNNING, ExperimentState.NO_WINNER, Actor.PLANNER, EventKind.NO_WINNER, certifies=True
    ),
    Move.RUN_OUT: MoveRule(
        _RUNNING, ExperimentState.INCONCLUSIVE, Actor.PLANNER, EventKind.INCONCLUSIVE, certifies=True
    ),
    Move.PAUSE: MoveRule(_OPEN, ExperimentState.PAUSED, Actor.PERSON, EventKind.PAUSED),
    Move.RESUME: MoveRule(_SET_ASIDE, ExperimentState.RUNNING, Actor.PERSON, EventKind.UNPAUSED),
    Move.STOP: MoveRule(_OPEN | _PAUSED, ExperimentState.STOPPED, Actor.PERSON, EventKind.STOPPED),
    Move.APPROVE: MoveRule(
        _AWAITING | _STAGED,  # staged: at the last step before the promotion
        ExperimentState.PROMOTED,
        Actor.PERSON,
        EventKind.APPROVED,
        names_champion=True,
        asks_hook=True,
        installs=Installs.CHAMPION,
    ),
    Move.REJECT: MoveRule(
        _AWAITING | _STAGED, ExperimentState.REJECTED, Actor.PERSON, EventKind.REJECTED, asks_hook=True
    ),
    Move.PROMOTE_BY_HAND: MoveRule(
        frozenset(ExperimentState) - _PROMOTED - _WATCHING,  # a promotion is rolled back first
        ExperimentState.PROMOTED,
        Actor.PERSON,
        EventKind.PROMOTED_BY_HAND,
        certifies=True,
        names_champion=True,
        installs=Installs.CHAMPION,
    ),
    Move.ROLL_BACK: MoveRule(
        _PROMOTED | _WATCHING | _STAGED | {ExperimentState.SETTLED},  # settled: if a watch confirmed it
        ExperimentState.ROLLED_BACK,
        Actor.PERSON,
        EventKind.ROLLED_BACK,
        ends_watch=True,
        installs=Installs.PREVIOUS,
    ),
    Move.WATCH: MoveRule(_PROMOTED, ExperimentState.WATCHING, Actor.PLANNER, EventKind.WATCH_STARTED),
    Move.CONFIRM: MoveRule(
        _WATCHING,
        ExperimentState.SETTLED,
        Actor.PLANNER,
        EventKind.CONFIRMED,
        names_champion=True,
        ends_watch=True,
    ),
}

_BY_EVENT: Final = {rule.event.value: move for move, rule in MOVES.items()}


def recorded_move(kind: str) -> Move | None:
    """The move that an event of this kind records; None for other events and for unknown kinds."""
    return _BY_EVENT.get(kind)
