"""Turns a verdict of the algorithm into a move of the experiment; only this module knows both.

Decision (plan_worker)  ->  move_for  ->  one step of the store
->  full_certificate, which `proof/verification.py` recomputes
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, assert_never

from gateway import __version__
from gateway.experiments.gain import Gain, gain
from gateway.experiments.judge import judge_named
from gateway.experiments.plan_values import Decision
from policy_store.counts import Counts
from policy_store.experiment import Experiment
from policy_store.log_records import Comparison
from policy_store.moves import Move
from policy_store.view import ExperimentView

if TYPE_CHECKING:
    from gateway.experiments.costs import AnswerCosts
    from gateway.llm_po.stopping import Kind  # only for type checking: the server must not load numpy


@dataclass(frozen=True, slots=True)
class Voting:
    """How many voters gave the votes in the comparisons, without those of earlier generations.

    Attributes:
        votes: The number of votes: two for a comparison of two users' outcomes, one if one user saw both
            answers.
        voters: How many voters gave them; each vote of an unknown voter counts as one.
        largest_share: The most votes of one voter, as a share of all votes; 0 if there were none.
    """

    votes: int
    voters: int
    largest_share: float


def voting_of(votes: int, voters: int, largest: int) -> Voting:
    """The `Voting` for these numbers of votes and voters; one voter gave `largest` votes."""
    return Voting(votes, voters, round(largest / votes, 6) if votes else 0.0)


def logged_voting(comparisons: Iterable[Comparison]) -> Voting:
    """The `Voting` computed from a log."""
    given = [voter for comparison in comparisons for voter in comparison.voters]
    known = Counter(voter for voter in given if voter)
    unknown = given.count("")
    return voting_of(len(given), len(known) + unknown, max(*known.values(), min(unknown, 1), 0))


def move_for(kind: Kind, *, is_incumbent: bool, asks_first: bool = False, in_steps: bool = False) -> Move:
    """The move that a verdict leads to.

    Args:
        kind: Kind of the verdict.
        is_incumbent: Whether the champion, if there is one, is the incumbent already.
        asks_first: Whether a champion that is not the incumbent waits for approval, a person's or a hook's.
        in_steps: Whether it is promoted step by step.
    """
    match kind:
        case "winner" | "no_worse":
            if is_incumbent:
                return Move.SETTLE
            if asks_first:
                return Move.CERTIFY
            return Move.STAGE if in_steps else Move.PROMOTE
        case "no_winner":
            return Move.FIND_NO_WINNER
        case "inconclusive":
            return Move.RUN_OUT
        case _:
            assert_never(kind)


def why_it_lapsed(view: ExperimentView, decision: Decision | None, held: Sequence[str]) -> str | None:
    """A sentence that says why the certificate waiting for approval no longer holds; None while it holds.

    The certificate holds as long as everything counted by now leads to the same champion and replaces the
    same incumbent.

    Args:
        view: The experiment, with the certificate.
        decision: The conclusion that all evidence allows now, if any.
        held: The reasons that hold any decision back now.
    """
    certificate = view.certificate or {}
    if certificate.get("incumbent") != view.incumbent:
        return f"{view.experiment.policies[view.incumbent]} serves now, which it was not compared with."
    if decision is not None and decision.champion == certificate.get("champion"):
        return None
    if decision is None or decision.champion is None:
        return " ".join(held) or "With what was counted since, the evidence is below the line again."
    return f"With what was counted since, the evidence is for {view.experiment.policies[decision.champion]}."


def certified_gain(certificate: Mapping[str, Any], experiment: Experiment) -> Gain | None:
    """The gain of a certificate's champion over the incumbent; None unless the two differ."""
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
    integrity: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The decision and its reasons, with everything needed to check it years later."""
    return _placed(
        decision.certificate,
        experiment,
        generation=generation,
        plan_version=plan_version,
        config_hash=config_hash,
        decided_at=decided_at,
        more={
            **({} if voting is None else {"voting": asdict(voting)}),
            **({"policies": list(policies)} if policies else {}),
            **({} if costs is None else {"answer_costs": asdict(costs)}),
            **({} if integrity is None else {"integrity": dict(integrity)}),
        },
    )


def _placed(
    conclusion: Mapping[str, Any],
    experiment: Experiment,
    *,
    generation: int,
    plan_version: int,
    config_hash: str,
    decided_at: float,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """A conclusion, with the experiment it is about, the code version, the time and the gain."""
    champion = conclusion["champion"]
    gained, judge = certified_gain(conclusion, experiment), judge_named(experiment)
    return {
        **conclusion,
        "experiment": json.loads(experiment.to_json()),
        "generation": generation,
        "champion_name": None if champion is None else experiment.policies[champion],
        "plan_version": plan_version,
        "config_hash": config_hash,
        "code_version": __version__,
        "decided_at": decided_at,
        **more,
        **({} if gained is None else {"gain": asdict(gained)}),
        **({} if judge is None else {"judge": judge}),
    }


BY_HAND: Final = "by_hand"
"""The outcome in the record of a promotion by a person."""
_RECORD_SCHEMA: Final = 1


def certificate_by_hand(
    view: ExperimentView,
    counts: Counts,
    champion: int,
    *,
    actor: str,
    reason: str,
    config_hash: str,
    decided_at: float,
    policies: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The record of a person's choice in the form of a certificate: it has the counts and claims nothing."""
    experiment = view.experiment
    record = {
        "schema": _RECORD_SCHEMA,
        "outcome": BY_HAND,
        "champion": champion,
        "decided_by": actor,
        "reason": reason,
        "statistic_nats": None,
        "threshold_nats": None,
        "guarantee": "none",
        "assumption": "A person decided. Nothing is claimed of the evidence.",
        "delta": experiment.delta,
        "epsilon": experiment.epsilon,
        "incumbent": view.incumbent,
        "max_comparisons": experiment.max_comparisons,
        "min_comparisons": experiment.min_comparisons,
        "policies_ever": counts.policies_ever,
        "comparisons": counts.comparisons,
        "wins": [list(row) for row in counts.wins],
        "ties": [list(row) for row in counts.ties],
    }
    return _placed(
        record,
        experiment,
        generation=view.generation,
        plan_version=view.plan.version if view.plan else 0,
        config_hash=config_hash,
        decided_at=decided_at,
        more={"policies": list(policies)},
    )
