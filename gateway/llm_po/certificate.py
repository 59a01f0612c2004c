"""The certificate of a decision in plain values, and its recomputation from the comparison log alone.

    certificate(verdict, tally, design, eliminated_at)  ->  dict that is stored with the decision
    recompute(comparisons, stored, start)               ->  whether the log gives these numbers, or others

The comparison is of the ledger's integers, so its result does not depend on the machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.llm_po.errors import ReplayError
from gateway.llm_po.evidence import RESULTS, ComparisonResult, Ledger, Tally
from gateway.llm_po.last_look import with_last_look
from gateway.llm_po.lines import UNSTATED_PROMISE
from gateway.llm_po.logged import LoggedComparison
from gateway.llm_po.rules import GUARANTEES
from gateway.llm_po.rules import reached as rule_verdict
from gateway.llm_po.scalars import whole_number
from gateway.llm_po.stopping import Design, Kind, Verdict, no_worse_verdict, verdict
from gateway.llm_po.structured.features import Features
from gateway.llm_po.structured.goodness_of_fit import goodness_of_fit
from gateway.llm_po.succession import GenerationStanding

SCHEMA_VERSION: Final = 1

ASSUMPTION_WINNER: Final = (
    "With probability at least 1 - delta the winner is not eliminated, if some policy is preferred to every"
    " other more often than not and how late an outcome arrives does not depend on what it is."
)
ASSUMPTION_NO_WINNER: Final = (
    "With probability at least 1 - delta every policy is beaten by another by more than epsilon, if how late"
    " an outcome arrives does not depend on what it is."
)
ASSUMPTION_NO_WORSE: Final = (
    "With probability at least 1 - delta no policy is preferred to the champion by more than epsilon, if how"
    " late an outcome arrives does not depend on what it is."
)
ASSUMPTION_NO_WORSE_THAN_BEST: Final = (
    "If some policy is preferred to every other more often than not, then with probability at least 1 - delta"
    " it is not preferred to the champion by more than epsilon, provided that how late an outcome arrives"
    " does not depend on what it is. Nothing is promised about other policies, or where preferences run in a"
    " circle."
)
ASSUMPTION_NO_BEST: Final = (
    "With probability at least 1 - delta no policy is preferred to every other more often than not, if how"
    " late an outcome arrives does not depend on what it is."
)

ASSUMPTION_ASYMPTOTIC: Final = (
    "In the limit of many comparisons the champion is a wrong choice with probability at most delta, if"
    " preferences follow linear Bradley-Terry in the features given and how late an outcome arrives does not"
    " depend on what it is. Asymptotic: no promise is made for any finite number of comparisons."
)
ASSUMPTION_ASYMPTOTIC_WINNER: Final = (
    "In the limit of many comparisons any one policy that is not the best is taken for better than the best"
    " with probability at most delta, if preferences follow linear Bradley-Terry in the features given and"
    " how late an outcome arrives does not depend on what it is. That the champion, ahead of all others, is"
    " wrong with probability at most delta was simulated, not proven; no promise is made for any finite"
    " number of comparisons."
)


ASSUMPTION_LAST_LOOK: Final = (
    " Decided by the last look at the end of the budget: in addition, the random number that lowered the line"
    " did not influence the budget, or what was counted."
)


@dataclass(frozen=True, slots=True)
class Recomputation:
    """The result of replaying the log.

    Attributes:
        verdict: The verdict the replayed ledger supports, or None.
        differences: One sentence for each statement of the certificate that the log contradicts.
        comparisons: How many comparisons were counted in the end, including those inherited.
    """

    verdict: Verdict | None
    differences: tuple[str, ...]
    comparisons: int

    @property
    def is_confirmed(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def certificate(
    reached: Verdict, tally: Tally, design: Design, eliminated_at: Sequence[int | None]
) -> dict[str, Any]:
    """The decision and everything it follows from, as values for JSON.

    Args:
        reached: The verdict `plan` returned.
        tally: The tally that plan was computed from.
        design: The design it was computed for.
        eliminated_at: Per policy the comparison that eliminated it, or None.
    """
    return {
        "schema": SCHEMA_VERSION,
        "outcome": reached.kind,
        "champion": reached.champion,
        "cycle": list(reached.cycle),
        "statistic_nats": reached.statistic_nats,
        "threshold_nats": reached.threshold_nats,
        "delta": design.delta,
        "epsilon": design.epsilon,
        "incumbent": design.incumbent,
        "costs": list(design.costs),
        "max_comparisons": design.max_comparisons,
        "min_comparisons": design.min_comparisons,
        "policies_ever": design.ever,
        "stopping": design.stopping,
        "guarantee": GUARANTEES[design.stopping],
        "assumption": _assumed(reached.kind, design, by_last_look=reached.by_last_look),
        **({} if design.last_look is None else {"last_look": _look(design.last_look, reached)}),
        **_promised(tally, design),
        **_structure(tally, design),
        **_counted(tally, eliminated_at),
    }


def recompute(
    comparisons: Iterable[LoggedComparison],
    stored: Mapping[str, Any],
    start: GenerationStanding | None = None,
) -> Recomputation:
    """Replay the log up to the decision and compare every number of the certificate.

    Args:
        comparisons: The experiment's comparisons in the order they were counted; later ones are ignored.
        stored: What `certificate` returned (further keys are ignored).
        start: What the generation inherited, or None if it started without evidence.

    Raises:
        ReplayError: If the certificate lacks a field or the log is malformed.
    """
    design = _design(stored, start)
    end = replay(comparisons, design, until=stored["comparisons"], start=start)
    reached = _supported(stored, end.tally, design)
    found = {
        "schema": SCHEMA_VERSION,
        **_counted(end.tally, end.eliminated_at),
        **_promised(end.tally, design),
        "policies_ever": design.ever,
        "guarantee": GUARANTEES[design.stopping],
        **_structure(end.tally, design),
        **_concluded(stored, reached, design),
    }
    # Certificates of the first versions lack these: policies could not change, and there was only one
    # promise.
    unsaid = {
        "policies_ever": design.policies,
        "debts_nano_nats": [0] * design.policies,
        "promise": UNSTATED_PROMISE,
    }
    said = {**unsaid, **stored}
    differences = tuple(
        f"{name}: the certificate says {said.get(name)}, the log gives {value}"
        for name, value in found.items()
        if not _is_same(said.get(name), value)
    )
    return Recomputation(reached, differences, end.tally.comparisons)


def replay(
    comparisons: Iterable[LoggedComparison],
    design: Design,
    until: int,
    start: GenerationStanding | None = None,
) -> GenerationStanding:
    """The state of a generation after comparison `until`.

    Args:
        comparisons: Its comparisons in the order they were counted; later ones are ignored.
        design: Fixes K, delta, epsilon and which evidence the promise needs.
        until: The number of the last comparison to count.
        start: What it inherited, or None.

    Raises:
        ReplayError: If the log has gaps, ends early, or names unknown policies or results.
    """
    whole_number(until, "comparisons", 0, ReplayError)
    ledger = Ledger(design.policies, design.delta, design.epsilon, design.promise)
    if start is not None:
        ledger.inherit(start.tally, start.eliminated_at)
    _count_all(ledger, comparisons, until)
    return GenerationStanding(ledger.tally(), tuple(ledger.eliminated_at), design.ever)


def _supported(stored: Mapping[str, Any], tally: Tally, design: Design) -> Verdict | None:
    """The verdict that the ledger supports.

    Of several policies certified as no worse than the best, the cheapest that was cleared is promoted. Which
    ones were cleared is not recomputed (docs/decisions/0013-survivor-check.md), so any of them is accepted.
    """
    reached = rule_verdict(tally, design)
    if reached is None or reached.kind != "no_worse" or not design.assumes_winner:
        return reached
    if reached.by_last_look:
        return with_last_look(verdict(tally, design), tally, design, champion=stored.get("champion"))
    return no_worse_verdict(stored.get("champion"), tally, design) or reached


def _promised(tally: Tally, design: Design) -> dict[str, Any]:
    """With a margin: the promise, and the evidence that only this promise needs."""
    if design.epsilon == 0:
        return {}
    if tally.at_half is None:
        return {"promise": design.promise}
    return {"promise": design.promise, "evidence_at_half_nano_nats": tally.at_half.tolist()}


def _structure(tally: Tally, design: Design) -> dict[str, Any]:
    """The assumed structure of preferences and how well it fits the counts; empty if none was assumed."""
    if design.features is None:
        return {}
    fit = goodness_of_fit(tally.wins, design.features)
    return {
        "features": design.features.rows.tolist(),
        "holds_on_misfit": design.holds_on_misfit,
        "fit": {"deviance": fit.deviance, "expected": fit.expected, "p_value": fit.p_value},
    }


def _look(uniform: float, reached: Verdict) -> dict[str, Any]:
    """The number of the last look, and whether the decision is due to it."""
    return {"uniform": uniform, "decided": reached.by_last_look}


def _assumed(kind: Kind, design: Design, *, by_last_look: bool) -> str:
    """The promise and what it assumes, in words."""
    return _assumed_by_rule(kind, design) + (ASSUMPTION_LAST_LOOK if by_last_look else "")


def _assumed_by_rule(kind: Kind, design: Design) -> str:
    if design.stopping == "lr-mixture":
        return ASSUMPTION_ASYMPTOTIC_WINNER if design.epsilon == 0 else ASSUMPTION_ASYMPTOTIC
    if design.epsilon > 0 and design.assumes_winner:
        return ASSUMPTION_NO_BEST if kind == "no_winner" else ASSUMPTION_NO_WORSE_THAN_BEST
    if kind == "no_winner":
        return ASSUMPTION_NO_WINNER
    return ASSUMPTION_WINNER if design.epsilon == 0 else ASSUMPTION_NO_WORSE


def _counted(tally: Tally, eliminated_at: Sequence[int | None]) -> dict[str, Any]:
    return {
        "comparisons": tally.comparisons,
        "wins": tally.wins.tolist(),
        "ties": tally.ties.tolist(),
        "evidence_nano_nats": tally.evidence.tolist(),
        "debts_nano_nats": tally.debts.tolist(),
        "eliminated_at": list(eliminated_at),
    }


def _is_same(said: object, found: object) -> bool:
    """Whether two values are equal; floats up to their last digits, which differ between machines."""
    if isinstance(said, dict) and isinstance(found, dict):
        return said.keys() == found.keys() and all(_is_same(said[name], found[name]) for name in said)
    if isinstance(said, float) and isinstance(found, float):
        return math.isclose(said, found, rel_tol=1e-7, abs_tol=1e-12)
    return said == found


def _concluded(stored: Mapping[str, Any], reached: Verdict | None, design: Design) -> dict[str, Any]:
    """The certificate's expected statements about the outcome.

    At the end of its budget an experiment may withhold a survivor that was not cleared, and so claims less
    than the ledger supports.
    """
    budget = stored["max_comparisons"]
    is_spent = budget is not None and stored["comparisons"] >= budget
    if is_spent and stored.get("outcome") == "inconclusive":
        assumed = _assumed("inconclusive", design, by_last_look=False)
        return {"outcome": "inconclusive", "champion": None, "assumption": assumed}
    if reached is None:
        return {"outcome": None, "champion": None}
    assumed = _assumed(reached.kind, design, by_last_look=reached.by_last_look)
    if reached.kind == "no_winner" and stored.get("assumption") in (ASSUMPTION_WINNER, ASSUMPTION_NO_WORSE):
        assumed = stored["assumption"]  # of the first versions, which had no words of its own for a circle
    return {
        "outcome": reached.kind,
        "assumption": assumed,
        "champion": reached.champion,
        "cycle": list(reached.cycle),
        "statistic_nats": reached.statistic_nats,
        "threshold_nats": reached.threshold_nats,
        **({} if design.last_look is None else {"last_look": _look(design.last_look, reached)}),
    }


def _design(stored: Mapping[str, Any], start: GenerationStanding | None) -> Design:
    try:
        whole_number(stored["comparisons"], "comparisons", 0, ReplayError)
        return Design(
            delta=float(stored["delta"]),
            epsilon=float(stored["epsilon"]),
            incumbent=int(stored["incumbent"]),
            costs=tuple(float(cost) for cost in stored["costs"]),
            max_comparisons=stored["max_comparisons"],
            min_comparisons=int(stored["min_comparisons"]),
            policies_ever=None if start is None else start.policies_ever,
            features=None if stored.get("features") is None else Features(stored["features"]),
            stopping=stored.get("stopping", "e-process"),
            holds_on_misfit=bool(stored.get("holds_on_misfit", True)),
            promise=stored.get("promise", UNSTATED_PROMISE),
            last_look=None if stored.get("last_look") is None else stored["last_look"]["uniform"],
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ReplayError(f"The certificate cannot be read ({error!r}); give it as it was stored.") from error


def _count_all(ledger: Ledger, comparisons: Iterable[LoggedComparison], until: int) -> None:
    policies, version = ledger.policies, 0
    for expected, line in enumerate(comparisons, start=ledger.comparisons + 1):
        if expected > until:
            return
        if line.number != expected:
            raise ReplayError(
                f"Comparison {line.number} follows {expected - 1}; export the whole log, in order."
            )
        if not 0 <= line.first < line.second < policies:
            raise ReplayError(f"Comparison {expected} is of {line.first} and {line.second}; K is {policies}.")
        if line.plan_version < version:
            raise ReplayError(f"Comparison {expected} used plan {line.plan_version} after plan {version}.")
        version = line.plan_version
        forecast = line.probability_millionths if version > 0 else None
        ledger.count(
            line.first, line.second, _result(line.result, expected), forecast, line.second_millionths
        )
    if ledger.comparisons < until:
        raise ReplayError(f"The log ends after {ledger.comparisons} of {until} comparisons; export it whole.")


def _result(word: str, number: int) -> ComparisonResult:
    for result in RESULTS:
        if word == result:
            return result
    raise ReplayError(f"Comparison {number} has result {word!r}; one of win, loss, tie is needed.")
