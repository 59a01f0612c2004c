"""How many comparisons, or voters, would at least have to go for a decision to be another one.

Two figures, both over the comparisons of the deciding generation, with the forecasts as they were published:

    undecided   how many would have to go for the champion not to be certified
    even        how many would have to go for it to have won no more than half of its comparisons

The first is small by nature: an experiment ends as soon as its evidence reaches the line, so that often a
single comparison less would have let it go on. The second says how broad the champion's lead is. A voter
takes along all comparisons in which they voted.

Both are lower bounds for any choice of what goes. A certificate rests on an amount of evidence against each
rival. A comparison that goes takes at most what it added, so the certificate holds without any k of them as
long as the k largest contributions together do not bring an amount below the line. A voter who goes takes at
most the champion's wins in which they voted, and brings back its defeats, each shared between its voters.
Inherited evidence is in the amounts, but its comparisons are not among those that may go.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gateway.llm_po.betting import increments_at
from gateway.llm_po.lines import (
    NANO,
    UNSTATED_PROMISE,
    best_nano_nats,
    elimination_nano_nats,
    keeps_half,
    last_look_nano_nats,
    no_worse_nano_nats,
)
from gateway.llm_po.logged import LoggedComparison

_CERTIFIES: Final = frozenset({"winner", "no_worse"})
_EXACT: Final = "e-process"
_PARTS: Final = 2  # a defeat is shared between the voters of a comparison, of whom there are two at most


class VotedComparison(LoggedComparison, Protocol):
    """A logged comparison with its voters; "" for an unknown one."""

    @property
    def voters(self) -> Sequence[str]:
        """Digests of those who voted."""
        ...


@dataclass(frozen=True, slots=True)
class Least:
    """The least that has to go; None if all of it would not do."""

    comparisons: int | None
    voters: int | None


@dataclass(frozen=True, slots=True)
class Fragility:
    """What has to go at least for a decision to be another one.

    Attributes:
        undecided: For the champion not to be certified; None if the rule is not exact.
        even: For the champion to have won no more than half of its decisive comparisons.
    """

    undecided: Least | None
    even: Least


class Lead:
    """Adds up how the champion fared in each comparison.

    Args:
        certificate: What `certificate.certificate` returned, with a champion.
    """

    def __init__(self, certificate: Mapping[str, Any]) -> None:
        self._champion: int = certificate["champion"]
        wins = certificate["wins"]
        self._lead = sum(wins[self._champion]) - sum(row[self._champion] for row in wins)
        self._won = 0
        self._by_voter: dict[str, int] = defaultdict(int)

    def take(self, comparison: VotedComparison) -> None:
        """Add one decisive comparison."""
        if self._champion not in (comparison.first, comparison.second):
            return
        is_won = (comparison.result == "win") is (comparison.first == self._champion)
        self._won += is_won
        voters = _voters_of(comparison)
        for voter in voters:
            self._by_voter[voter] += _PARTS if is_won else -_PARTS // len(voters)

    def found(self) -> Least:
        """The least that has to go until nothing of the lead is left."""
        if self._lead <= 0:
            return Least(0, 0)
        comparisons = self._lead if self._lead <= self._won else None
        return Least(comparisons, _fewest(Counter(self._by_voter.values()), _PARTS * self._lead - 1))


class Contributions:
    """Adds up what each comparison contributed to a certificate.

    Args:
        certificate: What `certificate.certificate` returned, of an exact rule and with a champion.
    """

    def __init__(self, certificate: Mapping[str, Any]) -> None:
        self._champion: int = certificate["champion"]
        self._epsilon: float = certificate["epsilon"]
        self._is_best = self._epsilon > 0 and keeps_half(certificate.get("promise", UNSTATED_PROMISE))
        self._line = _line_of(certificate)
        self._spare = {rival: amount - self._line for rival, amount in self._amounts(certificate)}
        self._by_comparison: dict[int, Counter[int]] = defaultdict(Counter)
        self._by_voter: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._known: dict[tuple[int, int | None], tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def take(self, comparison: VotedComparison) -> None:
        """Add one decisive comparison."""
        if comparison.plan_version == 0:
            return
        full, half = self._increments(comparison.probability_millionths, comparison.second_millionths)
        at = 0 if comparison.result == "win" else 1
        pair = (comparison.first, comparison.second)
        for row, rival, place in ((*pair, at), (*reversed(pair), at + 2)):
            if row != self._champion:
                amount = full[place]  # what the outcome added at most
                if self._epsilon > 0 and rival != self._champion:
                    amount = max(amount, half[place]) if self._is_best else 0
                if amount > 0:
                    self._by_comparison[row][amount] += 1
                    for voter in _voters_of(comparison):
                        self._by_voter[row][voter] += amount

    def found(self) -> Least:
        """The least number of comparisons, and of voters, over all rivals."""
        fewest = [_fewest(self._by_comparison[rival], spare) for rival, spare in self._spare.items()]
        voters = [
            _fewest(Counter(self._by_voter[rival].values()), spare) for rival, spare in self._spare.items()
        ]
        return Least(_least(fewest), _least(voters))

    def _amounts(self, certificate: Mapping[str, Any]) -> Iterable[tuple[int, int]]:
        """The evidence against each rival that the certificate rests on, in nano-nats."""
        evidence, champion = certificate["evidence_nano_nats"], self._champion
        debts = certificate.get("debts_nano_nats") or [0] * len(evidence)
        half = certificate.get("evidence_at_half_nano_nats") or evidence
        for rival, row in enumerate(evidence):
            if rival == champion:
                continue
            if self._epsilon == 0:  # what eliminated it once does not have to be there still
                yield rival, max(sum(row) + debts[rival], self._line)
            elif self._is_best:
                low = [min(pair) for pair in zip(row, half[rival], strict=True)]
                yield rival, debts[rival] + sum(low) - low[champion] + row[champion]
            else:
                yield rival, row[champion]

    def _increments(self, first: int, second: int | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
        known = self._known.get((first, second))
        if known is None:
            known = (
                increments_at(first, 0.5 + self._epsilon, second),
                increments_at(first, 0.5, second),
            )
            self._known[first, second] = known
        return known


class FragilityCount:
    """Counts what a decision rests on, comparison by comparison.

    Args:
        certificate: What `certificate.certificate` returned, with a champion.
    """

    def __init__(self, certificate: Mapping[str, Any]) -> None:
        is_exact = certificate.get("stopping", _EXACT) == _EXACT
        self._last: int = certificate["comparisons"]
        self._lead = Lead(certificate)
        self._contributions = Contributions(certificate) if is_exact else None

    def take(self, comparison: VotedComparison) -> None:
        """Take in one comparison; ties and those counted after the decision say nothing."""
        if comparison.number > self._last or comparison.result == "tie":
            return
        self._lead.take(comparison)
        if self._contributions is not None:
            self._contributions.take(comparison)

    def found(self) -> Fragility:
        """What has to go at least."""
        contributions = self._contributions
        return Fragility(None if contributions is None else contributions.found(), self._lead.found())


def fragile_count(certificate: Mapping[str, Any]) -> FragilityCount | None:
    """The count for a certificate; None if it has no champion."""
    return FragilityCount(certificate) if certificate.get("outcome") in _CERTIFIES else None


def _voters_of(comparison: VotedComparison) -> set[str]:
    """The different voters; an unknown one is a voter of its own."""
    voters = enumerate(comparison.voters or ("",))
    return {voter or f"{comparison.number}.{place}" for place, voter in voters}


def _line_of(certificate: Mapping[str, Any]) -> int:
    """The line that the decision reached: the lower one if the last look decided."""
    delta, policies = certificate["delta"], len(certificate["wins"])
    ever = certificate.get("policies_ever") or policies
    if certificate["epsilon"] == 0:
        line = elimination_nano_nats(delta)
    elif keeps_half(certificate.get("promise", UNSTATED_PROMISE)):
        line = best_nano_nats(delta, ever - policies)
    else:
        line = no_worse_nano_nats(delta, ever, ever - policies)
    look = certificate.get("last_look")
    if look is None or not look["decided"]:
        return line
    return last_look_nano_nats(line / NANO, look["uniform"])


def _fewest(amounts: Mapping[int, int], spare: int) -> int | None:
    """How many of these, the largest first, add up to more than can be spared.

    Args:
        amounts: How often each amount occurs: of a million comparisons few differ, and sorting them all would
            hold everything up.
        spare: At least 0.
    """
    left, number = spare, 0
    for amount, times in sorted(amounts.items(), reverse=True):
        if amount <= 0:
            break
        if (enough := left // amount + 1) <= times:
            return number + enough
        left -= times * amount
        number += times
    return None


def _least(numbers: Iterable[int | None]) -> int | None:
    return min((number for number in numbers if number is not None), default=None)
