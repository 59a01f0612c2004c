"""Tests after a promotion whether the replaced policy turns out to be preferred to the promoted one.

The hypothesis is "the champion is preferred to the policy before it with probability at least 1/2 - margin",
comparison by comparison. The evidence against it is that of the ledger (`betting`), at the threshold
1/2 - margin, with forecasts published before the outcomes they count. So for any forecasts, and however
often the evidence is checked, evidence against a champion that is no worse reaches log(1/level) with
probability at most the level, even if preferences change from one comparison to the next.

Forecasts use recent outcomes, so a fading effect is found although the champion won at first
(docs/decisions/0081-watched-promotions.md). This module loads no numpy, because the server process plans
watches itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.llm_po.betting import MILLION, SMALLEST_FORECAST, increments_at
from gateway.llm_po.errors import DesignError, ReplayError
from gateway.llm_po.lines import elimination_nano_nats
from gateway.llm_po.logged import LoggedComparison
from gateway.llm_po.scalars import checked_delta, checked_epsilon, whole_number

LATEST: Final = 300
"""How many of the latest decisive outcomes a forecast uses; earlier ones are ignored."""

MEMORY: Final = 0.98
"""The weight of an outcome relative to the next one, so that about the last hundred count."""

_PRIOR: Final = 10.0
"""How many even outcomes a forecast starts from."""


@dataclass(frozen=True, slots=True)
class Holdback:
    """What a watch tests.

    Attributes:
        champion: Index of the promoted policy.
        previous: Index of the policy it replaced.
        level: Largest probability of finding a champion worse that is not, in (0, 1).
        margin: How much less often than one half the champion may be preferred, in [0, 1/2).

    Raises:
        DesignError: If any of these is out of range.
    """

    champion: int
    previous: int
    level: float
    margin: float

    def __post_init__(self) -> None:
        whole_number(self.champion, "champion", 0)
        whole_number(self.previous, "previous", 0)
        if self.champion == self.previous:
            raise DesignError(f"champion and previous are both {self.champion}; a pair is needed.")
        checked_delta(self.level)
        checked_epsilon(self.margin)

    @property
    def pair(self) -> tuple[int, int]:
        """The two policies, the lower index first."""
        return min(self.champion, self.previous), max(self.champion, self.previous)

    @property
    def line_nano_nats(self) -> int:
        """The evidence at which the champion is found worse."""
        return elimination_nano_nats(self.level)

    def forecast(self, champion_preferred: Iterable[bool], memory: float = MEMORY) -> int:
        """The forecast of the next outcome: P(the pair's first policy preferred), in millionths.

        Args:
            champion_preferred: For each decisive outcome, the newest first, whether the champion was
                preferred.
            memory: The weight of an outcome relative to the next one.
        """
        won, total, weight = 0.5 * _PRIOR, _PRIOR, 1.0
        for _, is_preferred in zip(range(LATEST), champion_preferred, strict=False):
            won += weight * is_preferred
            total += weight
            weight *= memory
        chance = min(max(won / total, SMALLEST_FORECAST), 1 - SMALLEST_FORECAST)
        millionths = round(chance * MILLION)
        return millionths if self.champion < self.previous else MILLION - millionths

    def increments(self, probability_millionths: int) -> tuple[int, int, int, int]:
        """The amounts that an outcome adds to the evidence of the pair's rows, as in `increments_at`.

        Raises:
            ForecastError: If the forecast may not be published.
        """
        return increments_at(probability_millionths, 0.5 - self.margin)


@dataclass(frozen=True, slots=True)
class Watched:
    """The counts of a watch.

    Attributes:
        comparisons: All of them, ties included.
        wins: Comparisons in which the champion was preferred.
        losses: Comparisons in which the policy before it was preferred.
        nano_nats: Evidence that the champion is worse.
        turned_at: The comparison at which that reached the line for the first time, or None.
    """

    comparisons: int
    wins: int
    losses: int
    nano_nats: int
    turned_at: int | None


def replay_watch(comparisons: Iterable[LoggedComparison], holdback: Holdback) -> Watched:
    """The counts that a watch's log gives.

    Raises:
        ReplayError: If the log has gaps, or other policies or results.
        ForecastError: If a forecast in it may not be published.
    """
    number = wins = losses = nano_nats = 0
    turned_at: int | None = None
    own_row = 0 if holdback.champion < holdback.previous else 2
    for number, line in enumerate(comparisons, start=1):
        if line.number != number or (line.first, line.second) != holdback.pair:
            raise ReplayError(
                f"Comparison {line.number} of {line.first} and {line.second} is no line {number} of a watch "
                f"of {holdback.pair[0]} and {holdback.pair[1]}."
            )
        first_preferred = _decisive(line)
        if first_preferred is None:
            continue
        is_won = first_preferred is (own_row == 0)
        wins, losses = wins + is_won, losses + (not is_won)
        if line.plan_version > 0:
            added = holdback.increments(line.probability_millionths)
            nano_nats += added[own_row + (not first_preferred)]
        if turned_at is None and nano_nats >= holdback.line_nano_nats:
            turned_at = number
    return Watched(number, wins, losses, nano_nats, turned_at)


def _decisive(line: LoggedComparison) -> bool | None:
    """Whether the first policy was preferred; None for a tie."""
    if line.result not in ("win", "loss", "tie"):
        raise ReplayError(
            f"Comparison {line.number} has result {line.result!r}; one of win, loss, tie is needed."
        )
    return None if line.result == "tie" else line.result == "win"
