"""What is worth changing before an experiment starts, in sentences."""

from __future__ import annotations

from typing import Final

from gateway.llm_po.scalars import FEWEST_POLICIES
from gateway.simulation.estimate import Forecast
from gateway.simulation.question import EFFECTS, Question

_LONG_DAYS: Final = 60.0
_MANY: Final = 0.1  # share of undecided runs worth a word


def advice(question: Question, forecasts: list[Forecast]) -> list[str]:
    """What is worth changing before the experiment starts, in sentences."""
    return [
        *_too_slow(question, forecasts),
        *_cut_off(question, forecasts),
        *_held_back(question, forecasts),
        *_below_the_margin(question, forecasts),
    ]


def _too_slow(question: Question, forecasts: list[Forecast]) -> list[str]:
    medium = next(forecast for forecast in forecasts if forecast.effect == "medium")
    days = medium.days["median"]
    if days is not None and days <= _LONG_DAYS:
        return []
    length = (
        f"{days:.0f} days"
        if days is not None
        else f"more than {medium.horizon / question.comparisons_per_day:.0f} days"
    )
    ways = [f"collect more feedback than {question.feedback_rate:.0%}"]
    if question.share < 1:
        faster = "" if days is None else f" (1.0: {days * question.share:.0f} days)"
        ways.append(f"raise traffic.share above {question.share:g}{faster}")
    ways.append(f"raise epsilon above {question.epsilon:g}")
    if question.policies > FEWEST_POLICIES:
        ways.append(f"drop some of the {question.policies} policies")
    return [f"A medium effect would take {length} at this traffic: {', or '.join(ways)}."]


def _cut_off(question: Question, forecasts: list[Forecast]) -> list[str]:
    if question.max_comparisons is None:
        return []
    return [
        f"max_comparisons {question.max_comparisons} would end {forecast.undecided:.0%} of the experiments "
        f"with {_effect_words(forecast.effect)} undecided."
        for forecast in forecasts
        if forecast.undecided > _MANY
    ]


def _held_back(question: Question, forecasts: list[Forecast]) -> list[str]:
    fewest = question.fewest_comparisons
    held = [
        forecast.effect
        for forecast in forecasts
        if (median := forecast.comparisons["median"]) is not None
        and median <= (fewest + question.in_flight) * 1.05
    ]
    if not held:
        return []
    which = "min_comparisons" if fewest == question.min_comparisons else "min_duration"
    effects = " and ".join(_effect_words(effect) for effect in held)
    return [f"With {effects} it is {which} that the decision waits for ({fewest} comparisons)."]


def _below_the_margin(question: Question, forecasts: list[Forecast]) -> list[str]:
    hidden = [
        forecast.effect
        for forecast in forecasts
        if forecast.effect != "none" and EFFECTS[forecast.effect] <= 0.5 + question.epsilon
    ]
    if not hidden:
        return []
    effects = " and ".join(_effect_words(effect) for effect in hidden)
    return [f"{effects} within epsilon {question.epsilon:g}: any policy may then be promoted as no worse."]


def _effect_words(effect: str) -> str:
    return "no effect" if effect == "none" else f"a {effect} effect"
