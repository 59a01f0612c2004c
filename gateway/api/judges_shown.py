"""The wire models of an experiment's judge."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from gateway.learning.judge_reading import AgreementWord, JudgeReading, Majority, PairAgreement


class MajorityShown(BaseModel):
    """How often the pair's first policy was preferred, ties left out."""

    wins: int
    losses: int
    low: float = Field(description="Lower end of the 95 % interval of the share of wins.")
    high: float = Field(description="Upper end of it.")

    @classmethod
    def of(cls, said: Majority) -> MajorityShown:
        """What one side said."""
        return cls(wins=said.wins, losses=said.losses, low=said.low, high=said.high)


class PairAgreementShown(BaseModel):
    """Whether users and the judge prefer the same policy of a pair."""

    pair: tuple[str, str]
    users: MajorityShown
    judge: MajorityShown
    verdict: AgreementWord = Field(
        description="`agree` or `disagree` if both intervals exclude one half, otherwise `open`."
    )

    @classmethod
    def of(cls, pair: PairAgreement) -> PairAgreementShown:
        """One pair."""
        return cls(
            pair=(pair.first, pair.second),
            users=MajorityShown.of(pair.users),
            judge=MajorityShown.of(pair.judge),
            verdict=pair.verdict,
        )


class JudgeShown(BaseModel):
    """The judge of an experiment, in the current generation."""

    model: str = Field(description="Provider and model.")
    rubric_sha256: str = Field(description="SHA-256 of the rubric's text.")
    role: Literal["evidence", "informs"] = Field(
        description="`evidence`: its verdicts count, alone or beside users' feedback. `informs`: they only "
        "inform forecasts."
    )
    compared: int = Field(description="Pairs of answers compared; equal texts are compared without asking.")
    asked: int = Field(description="Pairs of answers that the judge saw, each in both orders.")
    decisive_share: float | None = Field(
        description="Share of those in which it preferred the same answer in both orders; null before any."
    )
    agreed_ties: int = Field(description="Pairs that it called a tie in both orders.")
    same_text: int = Field(description="Pairs of equal answers.")
    first_shown: int = Field(description="Pairs in which it preferred the answer shown first, twice.")
    second_shown: int = Field(description="Pairs in which it preferred the answer shown second, twice.")
    disagreed: int = Field(description="Pairs with another contradiction between the two orders.")
    unreadable: int = Field(description="Pairs with a verdict that could not be read.")
    position_bias: float | None = Field(
        description="`first_shown` less `second_shown`, as a share of `asked`; null before any."
    )
    dropped: int = Field(
        description="Requests that were to be compared and have no verdict: no money, or a failure."
    )
    usd: float = Field(description="US dollars spent in this generation.")
    usd_today: float = Field(description="US dollars spent or set aside since midnight (UTC).")
    spend_per_day: float = Field(description="The limit of that.")
    pairs: list[PairAgreementShown] = Field(
        description="Users beside the judge, for each pair of policies that both have compared. Where the "
        "judge's verdicts are evidence beside users' feedback, inherited comparisons are left out."
    )

    @classmethod
    def of(cls, read: JudgeReading) -> JudgeShown:
        """What is read of a judge."""
        tally, judge = read.account.tally, read.judge
        return cls(
            model=judge.called,
            rubric_sha256=judge.rubric_sha256,
            role="evidence" if read.is_evidence else "informs",
            compared=tally.asked + tally.same_text,
            asked=tally.asked,
            decisive_share=read.decisive_share,
            agreed_ties=tally.tied,
            same_text=tally.same_text,
            first_shown=tally.first_shown,
            second_shown=tally.second_shown,
            disagreed=tally.disagreed,
            unreadable=tally.unreadable,
            position_bias=read.position_bias,
            dropped=tally.dropped,
            usd=tally.usd,
            usd_today=read.usd_today,
            spend_per_day=judge.spec.spend_per_day,
            pairs=[PairAgreementShown.of(pair) for pair in read.pairs],
        )
