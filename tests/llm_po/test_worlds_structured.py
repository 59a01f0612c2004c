"""Worlds with structure: scores read back from preferences, grids whose levels add up."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.llm_po.errors import FeatureError, WorldError
from gateway.llm_po.lab import worlds


def test_scores_are_read_back_from_the_preferences() -> None:
    """A Bradley-Terry world knows its centred scores."""
    assert worlds.bradley_terry("b", [0.9, 0.3, 0.0]).scores == pytest.approx([0.5, -0.1, -0.4])


def test_world_that_is_not_bradley_terry_has_no_scores() -> None:
    """Cyclic preferences follow from no scores, and that is said."""
    with pytest.raises(WorldError, match="not Bradley-Terry"):
        _ = worlds.cycle("c", 3, 0.7).scores


def test_grid_adds_the_effects_of_levels() -> None:
    """Scores add up over the axes; labels name the combination; features come along when relabelled."""
    world = worlds.grid("g", {"model": {"a": 0.0, "b": -0.4}, "prompt": {"x": 0.0, "y": 0.3, "z": -0.1}})

    assert world.labels == ("a-x", "a-y", "a-z", "b-x", "b-y", "b-z")
    assert world.champion == 1
    assert world.scores - world.scores[0] == pytest.approx([0, 0.3, -0.1, -0.4, -0.1, -0.5])
    moved = world.relabelled(np.array([5, 4, 3, 2, 1, 0]))
    assert moved.features is not None
    assert world.features is not None
    assert moved.features.rows.tolist() == world.features.rows[::-1].tolist()


def test_linear_world_keeps_its_features_and_refuses_twins() -> None:
    """Two policies with one row cannot be told apart."""
    assert worlds.linear("l", [[0.0], [1.0]], [0.5]).features is not None
    with pytest.raises(FeatureError, match="apart"):
        worlds.linear("l", [[0.0], [1.0], [1.0]], [0.5])
