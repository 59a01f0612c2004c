"""Turns a verdict of the algorithm into a move of the experiment: the one place where the two meet.

Decision (plan_worker)  ->  move_for  ->  one step of the store
->  full_certificate, which `proof/verification.py` recomputes
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, assert_never

from gateway import __version__
from gateway.experiments.gain import Gain, gain
from policy_store.models import Comparison, Experiment
from policy_store.states import Move

if TYPE_CHECKING:
    from gateway.experiments.costs import AnswerCosts
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


@dataclass(frozen=True, slots=True)
class Voting:
    """How many voters gave the votes that were compared, without those of an earlier generation.

    Attributes:
        votes: How many: two for a comparison of two users' outcomes, one for that of a user who saw both.
        voters: How many voters gave them; each vote of an unknown voter counts as one.
        largest_share: The most votes of one voter, as a share of all; 0 where there were none.
    """

    votes: int
    voters: int
    largest_share: float


def voting_of(votes: int, voters: int, largest: int) -> Voting:
    """The voting of so many votes and voters, of which one gave `largest`."""
    return Voting(votes, voters, round(largest / votes, 6) if votes else 0.0)


def logged_voting(comparisons: Iterable[Comparison]) -> Voting:
    """The voting in a log."""
    given = [voter for comparison in comparisons for voter in comparison.voters]
    known = Counter(voter for voter in given if voter)
    unknown = given.count("")
    return voting_of(len(given), len(known) + unknown, max(*known.values(), min(unknown, 1), 0))


def move_for(kind: Kind, *, is_incumbent: bool) -> Move:
    """The move a verdict leads to.

    Args:
        kind: Kind of the verdict.
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


def certified_gain(certificate: Mapping[str, Any], experiment: Experiment) -> Gain | None:
    """What a certificate's champion gains over the incumbent; None without one, or where it is the same."""
    champion, incumbent = certificate["champion"], certificate["incumbent"]
    if champion is None:
        return None
    return gain(
        experiment.policies,
        certificate["wins"],
        champion,
        incumbent,
        delta=certificate["delta"],
        policies_ever=certificate.get("policies_ever") or len(experiment.policies),
    )


def full_certificate(
    decision: Decision,
    experiment: Experiment,
    *,
    generation: int,
    plan_version: int,
    config_hash: str,
    decided_at: float,
    voting: Voting | None = None,
    policies: Sequence[Mapping[str, Any]] = (),
    costs: AnswerCosts | None = None,
) -> dict[str, Any]:
    """What was decided and why, with everything needed to check it years later."""
    gained = certified_gain(decision.certificate, experiment)
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
        **({} if voting is None else {"voting": asdict(voting)}),
        **({"policies": list(policies)} if policies else {}),
        **({} if costs is None else {"answer_costs": asdict(costs)}),
        **({} if gained is None else {"gain": asdict(gained)}),
    }
