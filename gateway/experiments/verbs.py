"""The verbs for moves by hand: in the API's paths, on the command line, on the console's buttons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

from policy_store.models import ExperimentView
from policy_store.states import MOVES, Installs, Move

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


SUMMARIES: Final[Mapping[Verb, str]] = {
    "pause": "Let the incumbent answer everything until you resume; outcomes of earlier answers still count.",
    "resume": "Continue an experiment that was paused, stopped or rejected.",
    "stop": "End the experiment without a verdict; the incumbent answers everything.",
    "approve": "Promote the certified policy that awaits approval, if its certificate still holds.",
    "reject": "Reject the certified policy that awaits approval; the incumbent stays.",
    "promote": "Promote a policy by a person's decision; the record claims nothing about the evidence.",
    "rollback": "Take a promotion back; the incumbent before it serves again.",
}


def verbs_from(view: ExperimentView) -> list[Verb]:
    """The verbs that a person may use on an experiment."""
    return [verb for verb in get_args(Verb) if may(view, VERBS[verb])]


def may(view: ExperimentView, move: Move) -> bool:
    """Whether a move may start from where an experiment stands.

    A certified incumbent is settled too: then there is no promotion to take back.
    """
    rule, certificate = MOVES[move], view.certificate or {}
    lacks_promotion = certificate.get("champion") == certificate.get("incumbent")
    return view.state in rule.sources and not (rule.installs is Installs.PREVIOUS and lacks_promotion)
