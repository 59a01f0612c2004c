"""What a certificate says of how far its votes can be trusted, and how anyone can recompute it."""

from __future__ import annotations

import json
from collections import Counter
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
ONE_EACH: Final = (
    "Each voter gave one vote in the whole experiment, so the votes are independent as voters are."
)
ONE_EACH_BUT: Final = (
    "A voter may have given one vote in the whole experiment, but {uncapped} of the votes named no user, and "
    "no cap limits those. The error level holds as far as they come from different people."
)
MANY_IN_ALL: Final = (
    "A voter may have given up to {cap} votes in the whole experiment. The votes of one voter are not "
    "independent, so the error level holds only as far as they count as independent."
)
SEVERAL_PAIRS: Final = (
    "A voter may have voted on several pairs. Such votes are not independent, so the error level holds only "
    "as far as they count as independent (feedback.voter_cap_per_experiment: 1 prevents that)."
)


def voter_cap(experiment: Experiment) -> int:
    """How many votes a voter may give on a pair."""
    return int(json.loads(experiment.outcome_rules).get("voter_cap", 1))


def voter_cap_per_experiment(experiment: Experiment) -> int | None:
    """How many votes a voter may give in all; None for any number."""
    cap = json.loads(experiment.outcome_rules).get("voter_cap_per_experiment")
    return None if cap is None else int(cap)


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
        self._cap_in_all = voter_cap_per_experiment(experiment)
        self._given: Counter[str] = Counter()  # votes by voter, where a cap is one over the experiment

    def take(self, comparisons: Iterable[CountedComparison]) -> None:
        """Take in the next comparisons."""
        for comparison in comparisons:
            if comparison.number <= self._last:
                self._anonymous += sum(voter == "" for voter in comparison.voters)
                if self._cap_in_all is not None:
                    self._given.update(voter for voter in comparison.voters if voter)
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
            **self._in_all(),
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

    def _in_all(self) -> dict[str, Any]:
        """What holds where a cap is one over the experiment; nothing where there is none.

        A voter with more votes is an API key that names no users: users are capped in the step that counts.
        """
        cap = self._cap_in_all
        if cap is None:
            return {}
        uncapped = self._anonymous + sum(votes for votes in self._given.values() if votes > cap)
        if cap > 1:
            independence = MANY_IN_ALL.format(cap=cap)
        else:
            independence = ONE_EACH_BUT.format(uncapped=uncapped) if uncapped else ONE_EACH
        return {
            "voter_cap_per_experiment": cap,
            "uncapped_votes": uncapped,
            "independence": independence,
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
