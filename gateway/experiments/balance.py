"""Whether an application reports on both policies of each pair alike, from the counts of an experiment.

The check finds what no honest application does. Below its tolerance users of one policy may still report
less often than those of another, which decides nothing, and is shown (`reporting_of`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Final

from gateway.experiments.coins import CHANCES, Coin
from gateway.experiments.collecting import WAYS
from gateway.llm_po.balance import (
    Reported,
    expected_second,
    imbalance_line,
    imbalance_nats,
    reporting_ratio,
)
from policy_store.counts import Counts
from policy_store.experiment import Experiment

_KINDS: Final = frozenset(Coin)
_DIGITS: Final = 9  # a coin of 0.9 seen from the other side is one of 0.1


@dataclass(frozen=True, slots=True)
class Balance:
    """The pair whose reports are furthest from the coin.

    Attributes:
        first: The lower index of the pair.
        second: The higher one.
        reported: Reports on units of each.
        expected: How many there would be if both were reported alike.
        nats: Evidence that they are not.
        needed: The nats at which decisions are held.
    """

    first: int
    second: int
    reported: tuple[int, int]
    expected: tuple[float, float]
    nats: float
    needed: float

    @classmethod
    def of(cls, pair: tuple[int, int], reported: Sequence[Reported], needed: float) -> Balance:
        """The balance of a pair, from the reports on units of both its policies, by coin."""
        first, second = sum(each.first for each in reported), sum(each.second for each in reported)
        likely = expected_second(reported)
        expected = (first + second - likely, likely)
        return cls(*pair, (first, second), expected, imbalance_nats(reported), needed)

    @property
    def is_kept(self) -> bool:
        """Whether nothing speaks against the reports."""
        return self.nats < self.needed

    def sentence(self, policies: Sequence[str]) -> str:
        """What an operator should look at."""
        names = policies[self.first], policies[self.second]
        said = [
            f"{count} units of {name} were reported ({expected:.0f} expected)"
            for name, count, expected in zip(names, self.reported, self.expected, strict=True)
        ]
        return (
            f"Reports do not come alike: {' and '.join(said)}. Look whether the application reports on every "
            "answer in the same way, whichever policy gave it."
        )


@dataclass(frozen=True, slots=True)
class Reporting:
    """How often the answers of a policy are reported, beside those of the policies it is compared with.

    Attributes:
        policy: Its index.
        reported: Units that it answered and that were reported.
        expected: How many there would be if all policies were reported alike.
        low: Lower end of a 95 % interval of `times`.
        times: How many times as often its answers are reported as the others'; infinite if only its are.
        high: Upper end of the interval; infinite if only its answers are reported.
    """

    policy: int
    reported: int
    expected: float
    low: float
    times: float
    high: float


def by_pair(counts: Counts) -> dict[tuple[int, int], list[Reported]]:
    """The reported units of each pair, by coin."""
    found: dict[tuple[int, int], dict[float, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for (first, second, coin, side), number in counts.sides.items():
        if coin in _KINDS and Coin(coin) in CHANCES and side in (0, 1):
            found[first, second][CHANCES[Coin(coin)]][side] += number
    return {
        pair: [Reported(chance, *sides) for chance, sides in sorted(coins.items())]
        for pair, coins in found.items()
    }


def worst(reported: Mapping[tuple[int, int], Sequence[Reported]], policies: int) -> Balance | None:
    """The pair that is furthest out of balance; None before the first report of a known coin.

    Args:
        reported: The reported units of each pair.
        policies: K; the level is shared between all their pairs.
    """
    needed = imbalance_line(comb(policies, 2))
    found = [Balance.of(pair, each, needed) for pair, each in reported.items()]
    return max(found, key=lambda each: each.nats, default=None)


def balance_of(counts: Counts) -> Balance | None:
    """The pair of an experiment that is furthest out of balance; None before the first report."""
    return worst(by_pair(counts), len(counts.wins))


def reporting_of(experiment: Experiment, counts: Counts) -> list[Reporting]:
    """How often the answers of each policy are reported; of none without reports on single answers."""
    way = next((way for way in WAYS.values() if way.name == experiment.collect), None)
    if way is None or not way.rates_answers:
        return []
    coins: dict[int, dict[float, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for pair, reported in by_pair(counts).items():
        for each in reported:
            for policy, of_it in zip(pair, (each.turned, each), strict=True):
                of_coin = coins[policy][round(of_it.chance, _DIGITS)]
                of_coin[0] += of_it.first
                of_coin[1] += of_it.second
    of_policies = {
        policy: [Reported(chance, *sides) for chance, sides in sorted(by_coin.items())]
        for policy, by_coin in sorted(coins.items())
    }
    return [
        Reporting(policy, sum(each.second for each in units), expected_second(units), *ratio)
        for policy, units in of_policies.items()
        if (ratio := reporting_ratio(units)) is not None
    ]
