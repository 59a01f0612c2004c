"""The table of the moves between an experiment's states.

    start --> running --promote--------------------------> promoted --roll_back--> rolled_back
                      --certify--> awaiting_approval --approve--^ --watch--> watching --roll_back--^
                      --stage----> staged --promote-------------^            watching --confirm--> settled
                      <--withdraw--                  --reject----------------> rejected
                      --settle---------------------------> settled
                      --find_no_winner-------------------> no_winner
                      --run_out--------------------------> inconclusive
                      --give_up--------------------------> unfit
                      --pause--> paused, --stop--> stopped; --resume--> back

What a state means is said in `states.py`; the Lua scripts get both tables in front of them (`scripting.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from policy_store.events import EventKind
from policy_store.states import ExperimentState


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
    GIVE_UP = "give_up"
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
        guards: A planner makes it too, if a guardrail found a policy worse.
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
    guards: bool = False
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
_SET_ASIDE: Final = _PAUSED | {
    ExperimentState.STOPPED,
    ExperimentState.REJECTED,
    ExperimentState.UNFIT,
}

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
    Move.GIVE_UP: MoveRule(_RUNNING, ExperimentState.UNFIT, Actor.PLANNER, EventKind.GAVE_UP),
    Move.PAUSE: MoveRule(_OPEN, ExperimentState.PAUSED, Actor.PERSON, EventKind.PAUSED, guards=True),
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
        guards=True,
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
