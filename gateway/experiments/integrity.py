"""What a certificate says of how far its votes can be trusted, and how anyone can recompute it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from gateway.experiments.balance import worst
from gateway.experiments.counted import CountedComparison
from gateway.llm_po.balance import Reported
from gateway.llm_po.fragility import FragilityCount, fragile_count
from policy_store.experiment import Experiment

MANY_VOTES: Final = (
    "A voter may have given up to {cap} votes on a pair. The votes of one voter are not independent, so the "
    "error level holds only as far as they count as independent."
)


def voter_cap(experiment: Experiment) -> int:
    """How many votes a voter may give on a pair."""
    return int(json.loads(experiment.outcome_rules).get("voter_cap", 1))


class IntegrityCount:
    """Collects what a certificate says of its votes, from the comparisons of its generation.

    Args:
        conclusion: The certificate.
        experiment: The experiment it is of.
    """

    def __init__(self, conclusion: Mapping[str, Any], experiment: Experiment) -> None:
        self._experiment = experiment
        self._last: int = conclusion["comparisons"]
        self._fragility: FragilityCount | None = fragile_count(conclusion)
        self._anonymous = 0

    def take(self, comparisons: Iterable[CountedComparison]) -> None:
        """Take in the next comparisons."""
        for comparison in comparisons:
            if comparison.number <= self._last:
                self._anonymous += sum(voter == "" for voter in comparison.voters)
                if self._fragility is not None:
                    self._fragility.take(comparison)

    def stated(self, reported: Mapping[tuple[int, int], Sequence[Reported]]) -> dict[str, Any]:
        """The statement, in plain values.

        Args:
            reported: The reported units of each pair.
        """
        cap = voter_cap(self._experiment)
        found = worst(reported, len(self._experiment.policies))
        return {
            "voter_cap": cap,
            **({} if cap == 1 else {"assumption": MANY_VOTES.format(cap=cap)}),
            "anonymous_votes": self._anonymous,
            "reported": [
                [*pair, [[each.chance, each.first, each.second] for each in units]]
                for pair, units in sorted(reported.items())
            ],
            "imbalance": None
            if found is None
            else {"nats": round(found.nats, 6), "needed": round(found.needed, 6)},
            "would_have_to_go": None if self._fragility is None else asdict(self._fragility.found()),
        }


def reported_from(stated: Mapping[str, Any]) -> dict[tuple[int, int], list[Reported]]:
    """The reported units that a statement lists.

    Raises:
        KeyError, TypeError, ValueError: If it lists none in this form.
    """
    return {
        (first, second): [Reported(float(chance), one, other) for chance, one, other in units]
        for first, second, units in stated["reported"]
    }
