"""Whether an application reports on both policies of each pair alike, from the counts of an experiment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Final

from gateway.experiments.coins import CHANCES, Coin
from gateway.llm_po.balance import Reported, expected_second, imbalance_line, imbalance_nats
from policy_store.counts import Counts

_KINDS: Final = frozenset(Coin)


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
