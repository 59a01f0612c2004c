"""What people call the moves they make: in the API's paths, on the command line, on the console's buttons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

from policy_store.states import MOVES, ExperimentState, Move

Verb = Literal["pause", "resume", "stop", "approve", "reject", "promote", "rollback"]

VERBS: Final[Mapping[Verb, Move]] = {
    "pause": Move.PAUSE,
    "resume": Move.RESUME,
    "stop": Move.STOP,
    "approve": Move.APPROVE,
    "reject": Move.REJECT,
    "promote": Move.PROMOTE_BY_HAND,
    "rollback": Move.ROLL_BACK,
}


def verbs_from(state: ExperimentState) -> list[Verb]:
    """What a person may do to an experiment that stands there."""
    return [verb for verb in get_args(Verb) if state in MOVES[VERBS[verb]].sources]
