"""How a judge has done so far: what it said, what it cost, and whether users prefer the same policies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal

from gateway.experiments.judge import CompiledJudge
from gateway.experiments.source_standing import share_interval
from policy_store.counts import SegmentCounts
from policy_store.judging import JudgeAccount, JudgeTally

_SECONDS_A_DAY: Final = 86_400

Wins = Sequence[Sequence[int]]
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

    @property
    def sentence(self) -> str:
        """What an operator should know where they disagree and both are evidence."""
        users, judge = ((said.wins, said.wins + said.losses) for said in (self.users, self.judge))
        return (
            f"Users and the judge disagree: users preferred {self.first} to {self.second} in {users[0]:,} of "
            f"{users[1]:,} comparisons, the judge in {judge[0]:,} of {judge[1]:,}. Both count alike, so who "
            "compares more decides. If users are to decide, take `judge` out of promote_on; the experiment "
            "then starts anew."
        )


@dataclass(frozen=True, slots=True)
class JudgeReading:
    """One reading of an experiment's judge.

    Attributes:
        judge: The judge of the configuration in force.
        account: What the store keeps of it.
        is_evidence: Whether its verdicts are evidence, alone or beside users'.
        pairs: Users beside the judge, for each pair that both compared.
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
    def warnings(self) -> list[str]:
        """What an operator should know of the judge."""
        apart = [pair.sentence for pair in self.pairs if self.is_evidence and pair.verdict == "disagree"]
        return apart if self.unpaid is None else [self.unpaid, *apart]

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


def agreements(policies: Sequence[str], users: Wins, judge: Wins) -> Iterator[PairAgreement]:
    """Users beside the judge, for each pair that both compared with a result.

    Args:
        policies: Their names.
        users: How often users preferred one policy to another.
        judge: How often the judge did.
    """
    for first, second in combinations(range(len(policies)), 2):
        said = [majority(wins[first][second], wins[second][first]) for wins in (users, judge)]
        if said[0] is not None and said[1] is not None:
            yield PairAgreement(policies[first], policies[second], said[0], said[1])


def wins_in(said: SegmentCounts, policies: int) -> Wins:
    """How often one policy was preferred to another, in the comparisons of a segment."""
    wins = [[0] * policies for _ in range(policies)]
    for (first, second), results in said.items():
        wins[first][second], wins[second][first] = results.wins, results.losses
    return wins


def majority(wins: int, losses: int) -> Majority | None:
    """What so many results say; None of none."""
    count = wins + losses
    return Majority(wins, losses, *share_interval(wins, count)) if count else None


def _share(number: int, tally: JudgeTally) -> float | None:
    return number / tally.asked if tally.asked else None
