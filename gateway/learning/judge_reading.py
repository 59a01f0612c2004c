"""How a judge has done so far: what it said, what it cost, and whether users prefer the same policies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal

from gateway.experiments.judge import CompiledJudge
from gateway.experiments.source_standing import share_interval
from policy_store.counts import Counts
from policy_store.judging import JudgeAccount, JudgeTally

_SECONDS_A_DAY: Final = 86_400

AgreementWord = Literal["agree", "disagree", "open"]


@dataclass(frozen=True, slots=True)
class Majority:
    """How often the first policy of a pair was preferred, ties left out.

    Attributes:
        wins: Times the first was preferred.
        losses: Times the second was.
        low: Lower end of the 95 % interval (Wilson's) of the share of wins.
        high: Its upper end.
    """

    wins: int
    losses: int
    low: float
    high: float

    @property
    def side(self) -> int:
        """1 if the first policy is preferred beyond chance, -1 if the second is, and otherwise 0."""
        return (self.low > 1 / 2) - (self.high < 1 / 2)


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """One pair of policies in the eyes of users and of the judge."""

    first: str
    second: str
    users: Majority
    judge: Majority

    @property
    def verdict(self) -> AgreementWord:
        """Whether both prefer the same policy; `open` unless each of them prefers one beyond chance."""
        sides = self.users.side * self.judge.side
        return "open" if not sides else "agree" if sides > 0 else "disagree"


@dataclass(frozen=True, slots=True)
class JudgeReading:
    """One reading of an experiment's judge.

    Attributes:
        judge: The judge of the configuration in force.
        account: What the store keeps of it.
        is_evidence: Whether its verdicts are evidence, alone or beside users'.
        pairs: Users beside the judge, for each pair that both compared; none where both are in one ledger.
        now: Unix seconds, by the store's clock.
    """

    judge: CompiledJudge
    account: JudgeAccount
    is_evidence: bool
    pairs: tuple[PairAgreement, ...]
    now: float

    @property
    def usd_today(self) -> float:
        """US dollars spent or set aside since midnight, UTC."""
        is_today = self.account.day == int(self.now // _SECONDS_A_DAY)
        return self.account.usd_that_day if is_today else 0.0

    @property
    def unpaid(self) -> str | None:
        """What to do because today's money does not pay for a comparison; None while it does."""
        if self.account.refused_day != int(self.now // _SECONDS_A_DAY):
            return None
        return (
            f"The judge's money of today does not pay for every comparison: {self.usd_today:.4g} of "
            f"{self.judge.spec.spend_per_day:g} USD are spent or set aside, and the last comparison left out "
            f"might have cost {self.account.usd_refused:.4g}. Raise judge.spend_per_day, limit max_tokens, "
            "or lower the share."
        )

    @property
    def position_bias(self) -> float | None:
        """How much more often it insisted on the answer shown first than on the one shown second.

        As a share of the pairs that it was asked about, in [-1, 1]; None before the first.
        """
        tally = self.account.tally
        return _share(tally.first_shown - tally.second_shown, tally)

    @property
    def decisive_share(self) -> float | None:
        """Share of the pairs it was asked about in which it preferred one policy; None before the first."""
        tally = self.account.tally
        return _share(tally.agreed - tally.tied, tally)


def agreements(policies: Sequence[str], users: Counts, judge: Counts) -> Iterator[PairAgreement]:
    """Users beside the judge, for each pair that both compared with a result."""
    for first, second in combinations(range(len(policies)), 2):
        said = [majority(counts.wins[first][second], counts.wins[second][first]) for counts in (users, judge)]
        if said[0] is not None and said[1] is not None:
            yield PairAgreement(policies[first], policies[second], said[0], said[1])


def majority(wins: int, losses: int) -> Majority | None:
    """What so many results say; None of none."""
    count = wins + losses
    return Majority(wins, losses, *share_interval(wins, count)) if count else None


def _share(number: int, tally: JudgeTally) -> float | None:
    return number / tally.asked if tally.asked else None
