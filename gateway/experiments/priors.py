"""What an experiment knows from elsewhere to forecast with: counts of an offline run, by content of policies.

They are part of its stored definition, so that every replica plans from the same ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

from gateway.config.experiments import ExperimentSpec
from gateway.config.prior import OfflineRun
from gateway.errors import ConfigIssue
from gateway.experiments.collecting import WAYS, Takes
from gateway.experiments.plan_values import InformingSource, Matrix
from policy_store.experiment import Experiment
from policy_store.roles import Role

RUN: Final = "run"
EARLIER: Final = "earlier"
_FEWEST: Final = 2


def prior_of(run: OfflineRun | None, fingerprints: Sequence[str]) -> str:
    """The counts of a run between the policies with these fingerprints, as text; empty without a run."""
    if run is None:
        return ""
    places = [_place(each, run.fingerprints) for each in fingerprints]
    return json.dumps({RUN: _moved(run.wins, places)}, separators=(",", ":"))


def run_of(experiment: Experiment) -> InformingSource | None:
    """The offline run that informs an experiment, if one does."""
    if not experiment.prior:
        return None
    return InformingSource(RUN, tuple(map(tuple, json.loads(experiment.prior)[RUN])))


def earlier_source(
    before: Experiment, wins: Matrix, now: Experiment, *, is_inherited: bool
) -> InformingSource | None:
    """What an earlier definition counted that is no evidence now, by the names of policies.

    Args:
        before: The earlier definition.
        wins: What it counted, in its own order.
        now: The definition in force.
        is_inherited: Whether counts of pairs of which both policies are the same are evidence now; then they
            are left out.
    """
    places = [_place(name, before.policies) for name in now.policies]
    moved = _moved(wins, places)
    kept = [
        is_inherited and place is not None and before.policy_fingerprints[place] == print_
        for place, print_ in zip(places, now.policy_fingerprints, strict=True)
    ]
    informing = tuple(
        tuple(0 if kept[first] and kept[second] else value for second, value in enumerate(row))
        for first, row in enumerate(moved)
    )
    source = InformingSource(EARLIER, informing)
    return source if source.comparisons else None


def informing_roles(spec: ExperimentSpec) -> frozenset[Role]:
    """The roles whose comparisons only inform the experiment's forecasts."""
    if spec.promote_on is None:
        return frozenset()
    return WAYS[spec.traffic.collect].roles(spec.feedback) - frozenset(map(Role, spec.promote_on))


def prior_issues(name: str, spec: ExperimentSpec, fingerprints: Sequence[str]) -> Iterator[ConfigIssue]:
    """Faults of `promote_on` and `prior`."""
    roles = WAYS[spec.traffic.collect].roles(spec.feedback)
    if spec.promote_on is not None and not roles & frozenset(map(Role, spec.promote_on)):
        all_roles = " or ".join(sorted(roles))
        yield ConfigIssue(
            f"experiments.{name}.promote_on",
            f"No feedback would be evidence: what users of this experiment give is {all_roles}.",
            "Leave `promote_on` out, or name what this way of collecting gives.",
        )
    elif Role.EXPLICIT in informing_roles(spec) and WAYS[spec.traffic.collect].takes is Takes.PREFERENCE:
        yield ConfigIssue(
            f"experiments.{name}.promote_on",
            "Which of two answers a user prefers is always evidence, and `explicit` is not listed.",
            "List `explicit`, or leave `promote_on` out.",
        )
    if informing_roles(spec) and spec.traffic.unit == "session" and spec.feedback.hold is None:
        yield ConfigIssue(
            f"experiments.{name}.promote_on",
            "What a session does may only inform once its votes cannot count any more, and without a `hold` "
            "that never is certain.",
            "Give `feedback.hold`, or leave `promote_on` out.",
        )
    if informing_roles(spec) and spec.feedback.spool:
        yield ConfigIssue(
            f"experiments.{name}.promote_on",
            "What is not promoted on may only inform once no vote on the same answer can count any more, and "
            "with `feedback.spool` one may come a week late.",
            "Leave `promote_on` or `spool` out.",
        )
    run = None if spec.prior is None else spec.prior.run
    if run is not None and len(set(run.fingerprints) & set(fingerprints)) < _FEWEST:
        yield ConfigIssue(
            f"experiments.{name}.prior.run",
            f"Fewer than two policies of the run in {run.path!r} are policies of this experiment: model, "
            "prompt and parameters have to be the same.",
            "Name a run with these policies, or leave it out.",
        )


def _place(name: str, among: Sequence[str]) -> int | None:
    return among.index(name) if name in among else None


def _moved(wins: Sequence[Sequence[int]], places: Sequence[int | None]) -> Matrix:
    """The counts in the order of another definition; 0 for policies that have no place."""
    return tuple(
        tuple(
            0 if first is None or second is None or first == second else wins[first][second]
            for second in places
        )
        for first in places
    )
