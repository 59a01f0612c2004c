"""What a judge will cost, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

from gateway.config.experiments import ExperimentSpec
from gateway.experiments.collecting import WAYS, Takes
from gateway.experiments.judge import counts_verdicts, share_judged
from gateway.judging.spending import ORDERS, VERDICT_TOKENS
from gateway.upstream.prices import TokenPrices

_INSTRUCTIONS_TOKENS: Final = 200  # of the judge's prompt beside request and answers


@dataclass(frozen=True, slots=True)
class JudgeEstimate:
    """What an experiment's judge compares and costs in a day.

    Attributes:
        is_evidence: Whether its verdicts are evidence, all of it or beside what users say and do.
        usd_each: US dollars for one comparison: the answers made for it, and the verdicts in both orders.
        drawn_per_day: Requests a day that are drawn for it.
        spend_per_day: The limit of what it may spend.
    """

    is_evidence: bool
    usd_each: float
    drawn_per_day: float
    spend_per_day: float

    @property
    def compared_per_day(self) -> float:
        """Comparisons a day that the limit pays for."""
        paid = self.spend_per_day / self.usd_each if self.usd_each else self.drawn_per_day
        return min(self.drawn_per_day, paid)

    @property
    def sentence(self) -> str:
        """The estimate in words."""
        limit = ""
        if self.compared_per_day < self.drawn_per_day:
            limit = f" ({self.spend_per_day:g} USD a day pay for no more of {self.drawn_per_day:,.1f})"
        role = "which are evidence" if self.is_evidence else "which only inform forecasts"
        return (
            f"The judge compares {self.compared_per_day:,.1f} requests a day, {role}{limit}: "
            f"{self.usd_each:.3g} USD each, {self.compared_per_day * self.usd_each:,.2f} USD a day."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "role": "evidence" if self.is_evidence else "informs",
            "usd_each": self.usd_each,
            "drawn_per_day": self.drawn_per_day,
            "compared_per_day": self.compared_per_day,
            "usd_per_day": self.compared_per_day * self.usd_each,
            "spend_per_day": self.spend_per_day,
        }


def judge_estimate(
    spec: ExperimentSpec,
    prices: Mapping[str, TokenPrices],
    *,
    requests_per_day: float,
    prompt_tokens: int,
    answer_tokens: int,
) -> JudgeEstimate | None:
    """The estimate for an experiment, every pair being as likely as any other; None without a judge.

    Args:
        spec: The experiment.
        prices: Prices of the models it uses.
        requests_per_day: Requests to the experiment.
        prompt_tokens: Tokens of a request.
        answer_tokens: Tokens of an answer.
    """
    if spec.judge is None:
        return None
    takes_part = WAYS[spec.traffic.collect].takes is Takes.VERDICT
    share = spec.traffic.share if takes_part else (1 - spec.traffic.share) * share_judged(spec.judge)
    pairs = list(combinations(spec.policies, 2))
    made = [policy for pair in pairs for policy in pair if policy != spec.incumbent]
    answers = sum(prices[spec.policies[policy].model].of(prompt_tokens, answer_tokens) for policy in made)
    read = prompt_tokens + 2 * answer_tokens + _INSTRUCTIONS_TOKENS
    verdict = prices[spec.judge.model].of(read, VERDICT_TOKENS)
    return JudgeEstimate(
        is_evidence=counts_verdicts(spec),
        usd_each=answers / len(pairs) + ORDERS * verdict,
        drawn_per_day=requests_per_day * share,
        spend_per_day=spec.judge.spend_per_day,
    )
