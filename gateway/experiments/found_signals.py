"""The signals that an experiment's gateway finds itself, and whether users' ratings agree with them.

How far a signal agrees is counted on single answers, those that a user rated as well. It is only shown:
forecasts and decisions know nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.config.experiments import ExperimentSpec
from gateway.config.feedback import FeedbackSpec
from gateway.config.found_signals import FoundSignal
from gateway.errors import ConfigIssue
from gateway.experiments.collecting import WAYS
from gateway.experiments.source_standing import share_interval
from policy_store.found_signals import UNKNOWN, Ratings
from policy_store.roles import Role


@dataclass(frozen=True, slots=True)
class FoundRules:
    """What is found in resent conversations, and how.

    Attributes:
        signals: The signals that are listed.
        ratings: The listed signals by which users say what they think of an answer.
        question_similarity: The share of words from which a question is the same again, in (0, 1].
        answer_similarity: The share of runs of words from which an answer is an edited one, in (0, 1].
    """

    signals: frozenset[FoundSignal]
    ratings: frozenset[str]
    question_similarity: float
    answer_similarity: float

    @property
    def leaves_none_out(self) -> bool:
        """Whether every answer that can be found again has an outcome, whatever its user does."""
        return FoundSignal.ABANDONED in self.signals

    @classmethod
    def of(cls, feedback: FeedbackSpec) -> FoundRules | None:
        """The rules of a feedback section; None if nothing is to be found."""
        if not feedback.found_signals:
            return None
        ratings = frozenset(name for name in feedback.signals if feedback.role_of(name) is Role.EXPLICIT)
        return cls(
            feedback.found_signals,
            ratings,
            feedback.found.question_similarity,
            feedback.found.answer_similarity,
        )


def found_issues(name: str, spec: ExperimentSpec) -> Iterator[ConfigIssue]:
    """The fault of signals that are to be found where answers have no outcome of their own."""
    named = sorted(spec.feedback.found_signals)
    if named and not WAYS[spec.traffic.collect].rates_answers:
        yield ConfigIssue(
            f"experiments.{name}.feedback.signals",
            f"With `collect: {spec.traffic.collect}` no answer has an outcome of its own, and "
            f"{named[0].value!r} is to be found.",
            "Use `collect: matched`, or leave signals with `found` out.",
        )


@dataclass(frozen=True, slots=True)
class SignalAgreement:
    """How far a found signal agrees with what users say of the same answers.

    Attributes:
        signal: The signal.
        weight: Its weight; its sign says whether it speaks for an answer or against it.
        rated: The number of answers of which it was found and that a user rated good or bad.
        agreed: The number of these whose rating has the sign of the weight.
        low: Lower end of a 95 % interval of that share; 0 without ratings.
        high: Its upper end; 1 without ratings.
        chance: The share of all rated answers whose rating has that sign; None without ratings. The share of
            a signal that knows nothing is the same.
    """

    signal: FoundSignal
    weight: float
    rated: int
    agreed: int
    low: float
    high: float
    chance: float | None

    @classmethod
    def of(cls, signal: FoundSignal, weight: float, own: Ratings, total: Ratings) -> SignalAgreement:
        """The agreement of a signal, from the ratings of answers of which it was found and of all answers."""
        agreed, of_all = (own.good, total.good) if weight > 0 else (own.bad, total.bad)
        rated, in_all = own.good + own.bad, total.good + total.bad
        chance = of_all / in_all if in_all else None
        return cls(signal, weight, rated, agreed, *share_interval(agreed, rated), chance)

    @property
    def is_below_chance(self) -> bool:
        """Whether it agrees with users less than a signal that knows nothing."""
        return self.chance is not None and self.high < self.chance

    def sentence(self) -> str:
        """What an operator should look at, if it is below chance."""
        said = "good" if self.weight > 0 else "bad"
        return (
            f"The signal {self.signal.value} speaks against what users say: they rated {self.agreed} of "
            f"{self.rated} such answers {said}, and {self.chance or 0:.0%} of all answers. Turn its weight "
            "around, or leave it out."
        )


def signal_agreements(
    rules: FoundRules, weights: Mapping[str, float], counted: Mapping[str, Ratings]
) -> tuple[SignalAgreement, ...]:
    """The agreement of each listed signal, in their order.

    Args:
        rules: Which signals are listed.
        weights: Their weights.
        counted: Ratings of answers, by what was found of them.
    """
    known = [ratings for found, ratings in counted.items() if found != UNKNOWN]
    total = Ratings(sum(each.good for each in known), sum(each.bad for each in known))
    return tuple(
        SignalAgreement.of(signal, weights[signal], counted.get(signal, Ratings()), total)
        for signal in FoundSignal
        if signal in rules.signals
    )
