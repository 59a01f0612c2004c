"""From a verdict of the algorithm to a move of the experiment: the one place where the two meet.

Decision (plan_worker)  ->  move_for  ->  one step of the store
->  full_certificate, which `proof/verification.py` recomputes
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, assert_never

from gateway import __version__
from policy_store.models import Experiment
from policy_store.states import Move

if TYPE_CHECKING:
    from gateway.llm_po.stopping import Kind  # for the name alone: the server must not load numpy


@dataclass(frozen=True, slots=True)
class Decision:
    """What the evidence allows to conclude.

    Attributes:
        kind: `winner` and `no_worse` name a champion, the others none.
        champion: Index of the certified policy.
        certificate: The conclusion and everything it follows from, in plain values.
    """

    kind: Kind
    champion: int | None
    certificate: dict[str, Any]


def move_for(kind: Kind, *, is_incumbent: bool) -> Move:
    """The move a verdict leads to.

    Args:
        kind: Of the verdict.
        is_incumbent: Whether the champion, if there is one, serves already.
    """
    match kind:
        case "winner" | "no_worse":
            return Move.SETTLE if is_incumbent else Move.PROMOTE
        case "no_winner":
            return Move.FIND_NO_WINNER
        case "inconclusive":
            return Move.RUN_OUT
        case _:
            assert_never(kind)


def full_certificate(
    decision: Decision,
    experiment: Experiment,
    *,
    generation: int,
    plan_version: int,
    config_hash: str,
    decided_at: float,
) -> dict[str, Any]:
    """What was decided and why, with everything needed to check it years later."""
    champion = decision.champion
    return {
        **decision.certificate,
        "experiment": json.loads(experiment.to_json()),
        "generation": generation,
        "champion_name": None if champion is None else experiment.policies[champion],
        "plan_version": plan_version,
        "config_hash": config_hash,
        "code_version": __version__,
        "decided_at": decided_at,
    }
