"""Comparisons to a decision by how the opponent of a challenger is chosen.

    python -m benchmarks.opponents [--best] [--seeds 100] [--only WORLD ...]

Writes benchmarks/results/opponents.json and .md; with --best, where a margin is allowed and the promise is no
worse than the best, opponents_best.json and .md. All rules meet the same outcomes: the n-th comparison of two
policies has the same outcome in a run, whenever it comes. So differences are paired.

The rules differ in which rival a policy meets, of those that may show that it is not the best
(docs/decisions/0158 and 0167). `former`: the expected growth rate if the preference were known, plus what a
look ahead may find. `now`: ours, the growth rate with the forecast that will be published, plus what a look
ahead may find. `at once`: without the look ahead. `optimistic`: the growth rate at an upper bound, after
Sandoval, Waudby-Smith and Jordan. `joined`: ours at such a bound, as far as there seem to be no effects of
pairs. `known`: the true growth rates, which no sampler knows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from benchmarks.forecast_sides import Coupled, coupled
from benchmarks.paired import Taken, run_variants
from gateway.llm_po import samplers
from gateway.llm_po.bradley_terry import Fit, logistic
from gateway.llm_po.draws import information_below
from gateway.llm_po.lab.simulate import Trial
from gateway.llm_po.samplers import LlmPo, Situation
from gateway.llm_po.wins import FloatArray, IntArray

NODES, _RAW_WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
WEIGHTS: Final = _RAW_WEIGHTS / _RAW_WEIGHTS.sum()
BOUND: Final = 0.2
SMALLEST_RATE: Final = 0.001
LOOK_AHEAD: Final = 1 / 8

Rate = Callable[[FloatArray, FloatArray, float], FloatArray]
"""The growth rate of pairs by mean and variance of their normal logits, at a threshold."""

Rule = Callable[[Coupled, Situation, Fit, FloatArray, float], FloatArray]
"""How much each rival promises against each policy by the nats missing, at a threshold; shape (R, K, K)."""


def mean_of_power(fitted: Fit, threshold: float, power: int) -> FloatArray:
    """The posterior mean of a power of the growth rate, shape (R, K, K)."""
    logits, deviation = fitted.logits, np.sqrt(fitted.logit_variance)
    powers = [
        weight * information_below(logits + node * deviation, threshold) ** power
        for node, weight in zip(NODES, WEIGHTS, strict=True)
    ]
    return np.asarray(np.einsum("rg,rgij->rij", fitted.weights, np.sum(powers, axis=0)))


def rate_if_known(logits: FloatArray, variance: FloatArray, threshold: float) -> FloatArray:
    """The mean of the growth rate, if the forecast will be right."""
    points = [information_below(logits + node * np.sqrt(variance), threshold) for node in NODES]
    return np.asarray(np.tensordot(WEIGHTS, points, 1))


def rate_as_forecast(logits: FloatArray, variance: FloatArray, threshold: float) -> FloatArray:
    """The growth rate if the forecast is the posterior mean."""
    return information_below(logits / np.sqrt(1 + np.pi / 8 * variance), threshold)


def ahead(
    rate: Rate, logits: FloatArray, variance: FloatArray, missing: FloatArray, threshold: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Rates, the gain of the best one by a look ahead, its length, and the comparisons left; (R, K, K)."""
    itself = np.eye(logits.shape[1], dtype=np.bool_)
    rates = np.where(itself, -1.0, rate(logits, variance, threshold))
    second, first = np.moveaxis(np.partition(rates, -2, axis=2)[..., -2:], 2, 0)[..., None]
    others = np.where(rates >= first, second, first)
    left = np.broadcast_to(missing[..., None] / np.maximum(first, SMALLEST_RATE), rates.shape)
    length = np.maximum(LOOK_AHEAD * left, 1.0)
    chance = logistic(logits / np.sqrt(1 + np.pi / 8 * variance))
    unknown = variance / (1 + length * chance * (1 - chance) * variance)
    moved = np.sqrt(variance - unknown)
    found = [np.maximum(rate(logits + node * moved, unknown, threshold), others) for node in NODES]
    gain = np.where(itself, 0.0, np.maximum(np.tensordot(WEIGHTS, found, 1) - first, 0.0))
    return rates, gain, length, left


def looking_ahead(
    rate: Rate, logits: FloatArray, variance: FloatArray, missing: FloatArray, threshold: float
) -> FloatArray:
    """What a comparison tells, and what a look ahead at the pair alone may find for those that follow."""
    rates, gain, length, left = ahead(rate, logits, variance, missing, threshold)
    return rates + gain * np.maximum(left / length - 1, 0.0)


def former(_: Coupled, __: Situation, fitted: Fit, missing: FloatArray, threshold: float) -> FloatArray:
    """The former rule."""
    return looking_ahead(rate_if_known, *fitted.logit_moments, missing, threshold)


def at_once(_: Coupled, __: Situation, fitted: Fit, ___: FloatArray, threshold: float) -> FloatArray:
    """What a comparison tells, and nothing else."""
    return rate_as_forecast(*fitted.logit_moments, threshold)


def optimistic(_: Coupled, situation: Situation, fitted: Fit, __: FloatArray, threshold: float) -> FloatArray:
    """The growth rate at a bound of the logit that widens as the policy is compared more often."""
    logits, variance = fitted.logit_moments
    return information_below(logits - _width(situation, variance), threshold)


def joined(
    _: Coupled, situation: Situation, fitted: Fit, missing: FloatArray, threshold: float
) -> FloatArray:
    """Ours at a bound whose width is multiplied by the probability that there are no effects of pairs."""
    logits, variance = fitted.logit_moments
    alike = fitted.weights[:, situation.scales.effect_sd == 0].sum(axis=1)[:, None, None]
    bound = logits - alike * _width(situation, variance)
    return looking_ahead(rate_as_forecast, bound, variance, missing, threshold)


def _width(situation: Situation, variance: FloatArray) -> FloatArray:
    compared = (situation.wins + situation.wins.swapaxes(1, 2)).sum(axis=2)[:, :, None]
    return np.asarray(np.sqrt(BOUND * np.log1p(compared) * variance))


def known(batch: Coupled, _: Situation, __: Fit, ___: FloatArray, threshold: float) -> FloatArray:
    """The true growth rate."""
    preferences = batch._trial.world.preferences  # noqa: SLF001 - no sampler may know it
    orders = batch._orders  # noqa: SLF001
    true = information_below(np.log(preferences / (1 - preferences)), threshold)
    return np.asarray(true[orders[:, :, None], orders[:, None, :]])


RULES: Final[dict[str, Rule | None]] = {
    "former": former,
    "now": None,
    "at once": at_once,
    "optimistic": optimistic,
    "joined": joined,
    "known": known,
}
"""None: our own."""


class Choosing(LlmPo):
    """Our sampler with another rule for opponents."""

    def __init__(self, rule: Callable[[Situation, Fit, FloatArray, float], FloatArray]) -> None:
        self._rule = rule

    def pairs(self, situation: Situation, draws: int, rng: np.random.Generator) -> IntArray:
        """Pairs drawn as ours are, but for the opponents."""

        def promise(
            fitted: Fit, missing: FloatArray, threshold: float, _: FloatArray, __: IntArray | None = None
        ) -> FloatArray:
            worth = self._rule(situation, fitted, missing, threshold)
            return np.where(np.eye(situation.policies), -1.0, worth)

        ours, samplers.promise = samplers.promise, promise
        try:
            return super().pairs(situation, draws, rng)
        finally:
            samplers.promise = ours


def taken(trial: Trial, seeds: int, name: str) -> Taken:
    """What runs take with a rule."""

    def made(trial: Trial, runs: int, first: int) -> Coupled:
        batch = Coupled(trial, runs, first)
        if (rule := RULES[name]) is not None:
            batch._sampler = Choosing(partial(rule, batch))  # noqa: SLF001
        return batch

    comparisons, wrong = coupled(trial, seeds, made)
    return comparisons / trial.yardstick, wrong


if __name__ == "__main__":
    run_variants("opponents", __doc__, 100, RULES, taken)
