"""Preference worlds to simulate in: a true matrix, and the families the benchmarks draw from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.llm_po.bradley_terry import differences, logistic
from gateway.llm_po.checks import checked_type, numbers, reals, spread_scores, whole_array
from gateway.llm_po.errors import WorldError
from gateway.llm_po.lab.matching import Outcomes
from gateway.llm_po.lab.voters import Voters
from gateway.llm_po.lines import Promise, checked_promise
from gateway.llm_po.scalars import checked_epsilon, is_real, is_whole, real, shown, whole_number
from gateway.llm_po.structured.features import Features, Grid, are_names
from gateway.llm_po.unstructured import at_least_even, checked_preferences, find_champion
from gateway.llm_po.wins import FloatArray, IntArray

_LARGEST_EFFECT: Final = 100.0  # logits
_SAME: Final = 1e-5  # probabilities closer than this are the same


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """Preferences that swing to others and back, as a cosine of the comparisons counted.

    Attributes:
        towards: Shape (K, K): the preferences half a period in.
        period: Comparisons until the first preferences are back.

    Raises:
        WorldError: If the matrix is not one of preferences, or the period not positive.
    """

    towards: FloatArray
    period: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "towards", checked_preferences(self.towards))
        if not is_whole(self.period, 1):
            raise WorldError(f"A drift has a period of {shown(self.period)}; give at least one comparison.")

    def share(self, comparisons: IntArray) -> FloatArray:
        """How far towards `towards` preferences have moved at each number of comparisons, in [0, 1].

        Raises:
            WorldError: If `comparisons` holds what is no number.
        """
        comparisons = numbers(comparisons, "comparisons", WorldError).astype(np.int64)
        return np.asarray((1 - np.cos(2 * np.pi * comparisons / self.period)) / 2)


_PARTS: Final = {"features": Features, "drift": Drift, "outcomes": Outcomes, "voters": Voters}


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Which policy is preferred to which, and how often.

    Attributes:
        name: The world's name in a report.
        labels: One per policy.
        preferences: Shape (K, K): P(row preferred to column | decisive).
        ties: Shape (K, K), symmetric: P(neither is preferred); None if every comparison is decisive.
        drift: How the preferences change, or None. They keep their champion.
        features: What the policies have in common, or None if that is unknown.
        outcomes: How units end and how their outcomes are matched; None if the world gives comparisons.
        voters: Who gives the comparisons; None if each comes from another voter.

    Raises:
        WorldError: If the matrix is not one of preferences, the labels are not K different names, the ties
            are not probabilities, a drift dethrones the champion, or the voters prefer something else.
    """

    name: str
    labels: tuple[str, ...]
    preferences: FloatArray
    ties: FloatArray | None = None
    drift: Drift | None = None
    features: Features | None = None
    outcomes: Outcomes | None = None
    voters: Voters | None = None

    def __post_init__(self) -> None:
        preferences = checked_preferences(self.preferences)
        object.__setattr__(self, "preferences", preferences)
        if not isinstance(self.labels, tuple) or not are_names(self.labels):
            raise WorldError(f"World {self.name!r} has labels {shown(self.labels)}; give each policy a name.")
        for what, kind in _PARTS.items():
            if getattr(self, what) is not None:
                checked_type(getattr(self, what), kind, what, WorldError)
        if len(set(self.labels)) != preferences.shape[0]:
            raise WorldError(
                f"World {self.name!r} has {len(set(self.labels))} different labels for K = "
                f"{preferences.shape[0]}; give each policy its own."
            )
        if self.features is not None and self.features.policies != preferences.shape[0]:
            raise WorldError(
                f"World {self.name!r} has features of {self.features.policies} policies for K = "
                f"{preferences.shape[0]}; give each policy a row."
            )
        if self.ties is not None:
            object.__setattr__(self, "ties", _checked_ties(self.ties, preferences))
        if self.drift is not None and find_champion(self.drift.towards) != self.champion:
            raise WorldError(
                f"World {self.name!r} drifts to another champion, so no promotion would be right; keep one."
            )
        if self.voters is not None:
            self._check_voters(self.voters)

    def _check_voters(self, voters: Voters) -> None:
        if any(each is not None for each in (self.ties, self.drift, self.outcomes)):
            raise WorldError(f"World {self.name!r} has voters; leave out ties, drift and outcomes.")
        agreed = voters.preferences
        if agreed.shape != self.preferences.shape or np.abs(agreed - self.preferences).max() > _SAME:
            raise WorldError(f"The voters of world {self.name!r} prefer something else; use `voted`.")

    @property
    def policies(self) -> int:
        """K, the number of policies."""
        return int(self.preferences.shape[0])

    @property
    def champion(self) -> int | None:
        """The policy preferred to every other, or None."""
        return find_champion(self.preferences)

    def relabelled(self, order: IntArray) -> World:
        """This world with its policies in another order: position `i` holds old policy `order[i]`.

        Raises:
            WorldError: If `order` names anything but the policies, each once.
        """
        order = whole_array(np.asarray(order), "order", 0, self.policies - 1, WorldError)
        if not np.array_equal(np.sort(order), np.arange(self.policies)):
            raise WorldError(f"order is {shown(order)}; name each of {self.policies} policies once.")
        labels = tuple(self.labels[int(index)] for index in order)
        moved = np.ix_(order, order)
        ties = None if self.ties is None else self.ties[moved]
        drift = None if self.drift is None else Drift(self.drift.towards[moved], self.drift.period)
        features = None if self.features is None else self.features.relabelled(order)
        if self.outcomes is not None:
            raise WorldError(f"World {self.name!r} matches outcomes, which are known by their policies.")
        voters = None if self.voters is None else self.voters.relabelled(order)
        return World(self.name, labels, self.preferences[moved], ties, drift, features, voters=voters)

    @property
    def scores(self) -> FloatArray:
        """Centred Bradley-Terry scores of the preferences, in logits; shape (K,).

        Raises:
            WorldError: If no scores give these preferences.
        """
        scores = np.asarray(_logit(self.preferences).mean(axis=1))
        if np.abs(logistic(differences(scores)) - self.preferences).max() > _SAME:
            raise WorldError(
                f"The preferences of world {self.name!r} are not Bradley-Terry: no scores give them. "
                "Use the unstructured space, or give scores."
            )
        return scores

    def is_wrong(self, policy: int, epsilon: float, promise: Promise = "no_worse_than_any") -> bool:
        """Whether promoting `policy` would be an error.

        epsilon = 0: it is not preferred to every other. epsilon > 0: some policy beats it by more, at both
        ends of a drift if there is one. If it was promised to be no worse than the best, only a policy at
        least even with every other counts as such, or any policy where there is none.

        Raises:
            WorldError: If there is no such policy.
            DesignError: If epsilon is no margin, or there is no such promise.
        """
        if whole_number(policy, "policy", 0, WorldError) >= self.policies:
            raise WorldError(f"policy is {policy}; it is an index below {self.policies}.")
        if checked_epsilon(epsilon) == 0:
            return policy != self.champion
        ends = [self.preferences] if self.drift is None else [self.preferences, self.drift.towards]
        beaten = np.all([end[:, policy] > 0.5 + epsilon for end in ends], axis=0)
        best = np.all([at_least_even(end) for end in ends], axis=0)
        if checked_promise(promise) == "no_worse_than_best" and best.any():
            beaten &= best
        return bool(beaten.any())


def drifted(now: FloatArray, later: FloatArray, share: FloatArray) -> FloatArray:
    """Preferences that have gone `share` of the way from `now` to `later`, in logits."""
    return logistic(_logit(now) + share * (_logit(later) - _logit(now)))


def named(name: str, preferences: npt.ArrayLike) -> World:
    """A world with made-up labels."""
    matrix = checked_preferences(preferences)
    return World(name, tuple(f"policy_{index}" for index in range(matrix.shape[0])), matrix)


def bradley_terry(name: str, scores: npt.ArrayLike) -> World:
    """P(i preferred to j) = logistic(scores[i] - scores[j]).

    Raises:
        WorldError: If the scores are not at least two finite numbers.
    """
    values = spread_scores(_finite(scores, "scores", dimensions=1), WorldError)
    return named(name, logistic(differences(values)))


def linear(name: str, features: npt.ArrayLike, theta: npt.ArrayLike) -> World:
    """Bradley-Terry with scores `features @ theta`.

    Raises:
        WorldError: If the shapes do not fit.
        FeatureError: If two policies have the same features.
    """
    rows, weights = _finite(features, "features", dimensions=2), _finite(theta, "theta", dimensions=1)
    if rows.shape[1] != weights.shape[0]:
        raise WorldError(f"features has {rows.shape[1]} columns, theta {weights.shape[0]}; they must agree.")
    with np.errstate(over="ignore", invalid="ignore"):
        scores = rows @ weights
    return replace(bradley_terry(name, scores), features=Features(rows))


def grid(name: str, effects: Mapping[str, Mapping[str, float]]) -> World:
    """All combinations of levels, such as models x prompts, with scores that add up over the axes.

    Args:
        name: The world's name.
        effects: Axis name to level name to what the level adds to the score, in logits.

    Raises:
        WorldError: If an axis is no such mapping, an effect no number, or only one policy comes out.
    """
    _check_effects(name, effects)
    described = Grid({axis: tuple(levels) for axis, levels in effects.items()})
    features = described.features()
    scores = [
        sum(effects[axis][level] for axis, level in zip(described.axes, levels, strict=True))
        for levels in described.combinations
    ]
    world = bradley_terry(name, np.array(scores, dtype=np.float64))
    return replace(world, labels=features.labels, features=features)


def success_rates(name: str, rates: npt.ArrayLike) -> World:
    """Policies that succeed or fail, two units' outcomes matched: a success beats a failure, equals tie.

    P(i preferred | decisive) is logistic(logit(rates[i]) - logit(rates[j])): Bradley-Terry.

    Raises:
        WorldError: If the rates are not at least two numbers strictly between 0 and 1.
    """
    chances = _finite(rates, "rates", dimensions=1)
    if not ((chances > 0) & (chances < 1)).all():
        raise WorldError(f"rates is {chances.tolist()}; give success rates strictly between 0 and 1.")
    fails = 1 - chances
    ties = np.outer(chances, chances) + np.outer(fails, fails)
    world = bradley_terry(name, _logit(chances))
    return World(name, world.labels, world.preferences, ties)


def matched(name: str, outcomes: Outcomes) -> World:
    """Policies whose units succeed or fail, and whose outcomes are matched as they are reported.

    Preferences are those between units served at one moment: the first, and the last if rates change.

    Raises:
        WorldError: If `outcomes` is anything else, or a change of rates changes which policy is best.
    """
    checked_type(outcomes, Outcomes, "outcomes", WorldError)
    world = success_rates(name, outcomes.rates)
    later = outcomes.later
    drift = None if later is None else Drift(success_rates(name, later).preferences, outcomes.drift_units)
    return replace(world, drift=drift, outcomes=outcomes)


def voted(name: str, voters: Voters) -> World:
    """Policies that voters of several kinds compare, each of them several times."""
    checked_type(voters, Voters, "voters", WorldError)
    return replace(named(name, voters.preferences), voters=voters)


def cycle(name: str, policies: int, chance: float) -> World:
    """A circle without a champion: each policy beats the next (policies - 1) // 2 with probability `chance`.

    In an even circle, opposite policies are even with each other.

    Raises:
        WorldError: If there are fewer than two, or the chance is no probability.
    """
    whole_number(policies, "policies", 2, WorldError)
    if not 0 <= real(chance, "chance", "give a probability", WorldError) <= 1:
        raise WorldError(f"chance is {chance}; give a probability.")
    ahead = (np.arange(policies)[None, :] - np.arange(policies)[:, None]) % policies
    half = (policies - 1) // 2
    matrix = np.where((ahead >= 1) & (ahead <= half), chance, 0.5)
    matrix = np.where((ahead >= policies - half) & (ahead > 0), 1 - chance, matrix)
    return named(name, matrix)


def misfit(name: str, scores: npt.ArrayLike, effect_sd: float, margin: float, seed: int) -> World:
    """Bradley-Terry with a normal effect added to each pair's logit; the best score stays the champion.

    Args:
        name: The world's name.
        scores: The Bradley-Terry part, best first.
        effect_sd: Standard deviation of the effects, in logits.
        margin: The champion's logits are raised to at least this.
        seed: Fixes the effects.

    Raises:
        WorldError: If the scores are not at least two numbers, or another number is out of range.
    """
    if not 0 <= real(effect_sd, "effect_sd", "at least 0 logits", WorldError) <= _LARGEST_EFFECT:
        raise WorldError(f"effect_sd is {effect_sd}; from 0 to {_LARGEST_EFFECT:g} logits.")
    real(margin, "margin", "a number of logits is needed", WorldError)
    whole_number(seed, "seed", 0, WorldError)
    logits = differences(spread_scores(_finite(scores, "scores", dimensions=1), WorldError))
    effects = np.triu(np.random.default_rng(seed).normal(0.0, effect_sd, logits.shape), 1)
    logits = logits + effects - effects.T
    logits[0, 1:] = np.maximum(logits[0, 1:], margin)
    logits[1:, 0] = -logits[0, 1:]
    return named(name, logistic(logits))


def drifting(name: str, scores: npt.ArrayLike, later: npt.ArrayLike, period: int) -> World:
    """Bradley-Terry whose scores swing from `scores` to `later` and back every `period` comparisons.

    Raises:
        WorldError: If the two differ in length or in their best policy, or the period is not positive.
    """
    start, end = bradley_terry(name, scores), bradley_terry(name, later)
    if start.policies != end.policies:
        raise WorldError(f"scores has {start.policies} entries, later {end.policies}; they must agree.")
    return World(name, start.labels, start.preferences, None, Drift(end.preferences, period))


def _checked_ties(ties: npt.ArrayLike, preferences: FloatArray) -> FloatArray:
    matrix = numbers(ties, "ties", WorldError)
    if (
        matrix.shape != preferences.shape
        or not ((matrix >= 0) & (matrix < 1)).all()
        or (matrix != matrix.T).any()
    ):
        raise WorldError(
            f"ties has shape {matrix.shape}; give K x K symmetric probabilities in [0, 1), K = "
            f"{preferences.shape[0]}."
        )
    return matrix


def _logit(chance: FloatArray) -> FloatArray:
    bounded = np.clip(chance, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(bounded) - np.log1p(-bounded))


def _check_effects(name: str, effects: object) -> None:
    """Refuse effects that do not give axes of levels, each with the logits it adds to the score."""
    if not isinstance(effects, Mapping) or not effects:
        raise WorldError(
            f'The grid of world {name!r} is {shown(effects)}; give axes of levels, such as {{"model": '
            '{"a": 0, "b": -0.4}}.'
        )
    for axis, levels in effects.items():
        if not isinstance(levels, Mapping) or not levels:
            raise WorldError(f"Axis {axis!r} of world {name!r} is {shown(levels)}; give its levels by name.")
        for level, effect in levels.items():
            if not is_real(effect):
                raise WorldError(
                    f"Level {level!r} of axis {axis!r} of world {name!r} adds {shown(effect)} to the score; "
                    "give a number of logits."
                )
    if all(len(levels) == 1 for levels in effects.values()):
        raise WorldError(f"The grid of world {name!r} makes one policy; give an axis a second level.")


def _finite(values: npt.ArrayLike, name: str, dimensions: int) -> FloatArray:
    array = reals(values, name, (None,) * dimensions, WorldError)
    if array.shape[0] == 0:
        raise WorldError(f"{name} has shape {array.shape}; at least one number is needed.")
    return array
