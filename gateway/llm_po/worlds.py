"""Preference worlds to simulate in: a true matrix, and the families the benchmarks draw from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.llm_po.bradley_terry import differences, logistic
from gateway.llm_po.errors import WorldError
from gateway.llm_po.unstructured import checked_preferences, find_champion
from gateway.llm_po.wins import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Who is preferred to whom, and how often.

    Attributes:
        name: What to call it in a report.
        labels: One per policy.
        preferences: Shape (K, K): P(row preferred to column | decisive).

    Raises:
        WorldError: If the matrix is not one of preferences, or the labels are not K different names.
    """

    name: str
    labels: tuple[str, ...]
    preferences: FloatArray

    def __post_init__(self) -> None:
        preferences = checked_preferences(self.preferences)
        object.__setattr__(self, "preferences", preferences)
        if len(set(self.labels)) != preferences.shape[0]:
            raise WorldError(
                f"World {self.name!r} has {len(set(self.labels))} different labels for K = "
                f"{preferences.shape[0]}; give each policy its own."
            )

    @property
    def policies(self) -> int:
        """K, the number of policies."""
        return int(self.preferences.shape[0])

    @property
    def champion(self) -> int | None:
        """The policy preferred to every other, or None."""
        return find_champion(self.preferences)

    def relabelled(self, order: IntArray) -> World:
        """The same world with its policies in another order: position `i` holds old policy `order[i]`."""
        labels = tuple(self.labels[int(index)] for index in order)
        return World(self.name, labels, self.preferences[np.ix_(order, order)])

    def is_wrong(self, policy: int, epsilon: float) -> bool:
        """Whether promoting `policy` would be an error.

        epsilon = 0: it is not preferred to every other. epsilon > 0: some policy beats it by more.
        """
        if epsilon == 0:
            return policy != self.champion
        return bool((self.preferences[:, policy] > 0.5 + epsilon).any())


def named(name: str, preferences: npt.ArrayLike) -> World:
    """A world with made-up labels."""
    matrix = checked_preferences(preferences)
    return World(name, tuple(f"policy_{index}" for index in range(matrix.shape[0])), matrix)


def bradley_terry(name: str, scores: npt.ArrayLike) -> World:
    """P(i preferred to j) = logistic(scores[i] - scores[j]).

    Raises:
        WorldError: If the scores are not at least two finite numbers.
    """
    values = _finite(scores, "scores", dimensions=1)
    return named(name, logistic(differences(values)))


def linear(name: str, features: npt.ArrayLike, theta: npt.ArrayLike) -> World:
    """Bradley-Terry with scores `features @ theta`.

    Raises:
        WorldError: If the shapes do not fit.
    """
    rows, weights = _finite(features, "features", dimensions=2), _finite(theta, "theta", dimensions=1)
    if rows.shape[1] != weights.shape[0]:
        raise WorldError(f"features has {rows.shape[1]} columns, theta {weights.shape[0]}; they must agree.")
    return bradley_terry(name, rows @ weights)


def cycle(name: str, policies: int, chance: float) -> World:
    """Nobody beats everybody: each policy beats the next (policies - 1) // 2 with probability `chance`.

    Opposite policies of an even circle are even with each other.
    """
    ahead = (np.arange(policies)[None, :] - np.arange(policies)[:, None]) % policies
    half = (policies - 1) // 2
    matrix = np.where((ahead >= 1) & (ahead <= half), chance, 0.5)
    matrix = np.where((ahead >= policies - half) & (ahead > 0), 1 - chance, matrix)
    return named(name, matrix)


def misfit(name: str, scores: npt.ArrayLike, effect_sd: float, margin: float, seed: int) -> World:
    """Bradley-Terry with a normal effect added to each pair's logit; the best score stays the champion.

    Args:
        name: What to call it.
        scores: The Bradley-Terry part, best first.
        effect_sd: Standard deviation of the effects, in logits.
        margin: The champion's logits are raised to at least this.
        seed: Fixes the effects.
    """
    logits = differences(_finite(scores, "scores", dimensions=1))
    effects = np.triu(np.random.default_rng(seed).normal(0.0, effect_sd, logits.shape), 1)
    logits = logits + effects - effects.T
    logits[0, 1:] = np.maximum(logits[0, 1:], margin)
    logits[1:, 0] = -logits[0, 1:]
    return named(name, logistic(logits))


def load(path: Path) -> World:
    """The world in a JSON file: `{"P": ..., "labels": ...}`, `{"scores": ...}` or `{"features", "theta"}`.

    Raises:
        WorldError: If the file cannot be read or holds none of these.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WorldError(f"World file {path} cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise WorldError(f"World file {path} holds a {type(content).__name__}; an object is needed.")
    return from_json(content, path.stem)


def from_json(content: Mapping[str, Any], default_name: str) -> World:
    """The world in parsed JSON; see `load`."""
    name = str(content.get("name", default_name))
    if "P" in content:
        world = named(name, content["P"])
    elif "scores" in content:
        world = bradley_terry(name, content["scores"])
    elif "features" in content and "theta" in content:
        world = linear(name, content["features"], content["theta"])
    else:
        raise WorldError(
            f'World {name!r} has keys {sorted(content)}; give "P", or "scores", or "features" and "theta".'
        )
    labels = content.get("labels")
    return world if labels is None else World(name, tuple(str(label) for label in labels), world.preferences)


def _finite(values: npt.ArrayLike, name: str, dimensions: int) -> FloatArray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise WorldError(f"{name} is not numeric ({error}).") from error
    if array.ndim != dimensions or array.shape[0] == 0 or not np.isfinite(array).all():
        raise WorldError(
            f"{name} has shape {array.shape}; {dimensions} dimension(s) of finite numbers are needed."
        )
    return array
