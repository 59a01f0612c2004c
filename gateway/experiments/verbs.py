"""The verbs for moves by hand: in the API's paths, on the command line, on the console's buttons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

from policy_store.moves import MOVES, Installs, Move
from policy_store.view import ExperimentView

LONGEST_REASON: Final = 1_000  # characters, of the reason for a move

Verb = Literal["pause", "resume", "stop", "approve", "reject", "promote", "rollback", "readmit"]

READMIT: Final = "readmit"
"""The verb that changes no state: it admits a policy again that guardrails found worse."""

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
    "approve": "Promote the certified policy that awaits approval, or let it take its next step, if its "
    "certificate still holds.",
    "reject": "Reject the certified policy that awaits approval; the incumbent stays.",
    "promote": "Promote a policy by a person's decision; the record claims nothing about the evidence.",
    "rollback": "Take a promotion back; the incumbent before it serves again.",
    "readmit": "Admit a policy again that guardrails found worse; they count anew for it.",
}


def verbs_from(view: ExperimentView) -> list[Verb]:
    """The verbs that a person may use on an experiment."""
    verbs: list[Verb] = [verb for verb in get_args(Verb) if verb in VERBS and may(view, move_of(verb, view))]
    return [*verbs, READMIT] if found_worse(view) else verbs


def found_worse(view: ExperimentView) -> list[str]:
    """The policies that guardrails found worse, by name."""
    named = zip(view.experiment.policies, view.experiment.policy_fingerprints, strict=True)
    return [name for name, fingerprint in named if view.guards.of(fingerprint)]


def move_of(verb: Verb, view: ExperimentView) -> Move:
    """The move that a verb comes to: in the middle of a staged promotion, one approves of a step."""
    in_the_middle = view.stage is not None and not view.stage.is_last
    return Move.APPROVE_STEP if verb == "approve" and in_the_middle else VERBS[verb]


def may(view: ExperimentView, move: Move) -> bool:
    """Whether a person may make a move from where an experiment stands.

    A certified incumbent is settled too: then there is no promotion to take back. Of the steps of a staged
    promotion, those that wait for a person are approved.
    """
    if view.stage is not None and move in (Move.APPROVE, Move.APPROVE_STEP):
        return view.stage.present.approval
    rule, certificate = MOVES[move], view.certificate or {}
    is_promoted = certificate.get("champion") != certificate.get("incumbent")
    takes_back = rule.installs is Installs.PREVIOUS and view.state.facts.serves == "champion"
    return view.state in rule.sources and (is_promoted or not takes_back)
