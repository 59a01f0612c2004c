"""Worlds written as JSON, one in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway.llm_po.errors import WorldError
from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.matching import outcomes_from_json
from gateway.llm_po.lab.worlds import World
from gateway.llm_po.scalars import shown


def load_world(path: Path) -> World:
    """The world in a JSON file that holds `P`, `scores`, `features` and `theta`, `grid`, or `rates`.

    Beside `rates` it may say how units report: see `outcomes_from_json`.

    Raises:
        WorldError: If the file cannot be read or holds none of these.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WorldError(f"World file {path} cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise WorldError(f"World file {path} holds a {type(content).__name__}; an object is needed.")
    return world_from_json(content, path.stem)


def world_from_json(content: Mapping[str, Any], default_name: str) -> World:
    """The world in parsed JSON that holds what a file may hold.

    Raises:
        WorldError: If it holds no world.
        FeatureError: If two policies have the same features.
    """
    name = str(content.get("name", default_name))
    outcomes = outcomes_from_json(content)
    if outcomes is not None:
        world = worlds.matched(name, outcomes)
    elif "P" in content:
        world = worlds.named(name, content["P"])
    elif "scores" in content:
        world = worlds.bradley_terry(name, content["scores"])
    elif "features" in content and "theta" in content:
        world = worlds.linear(name, content["features"], content["theta"])
    elif "grid" in content:
        world = worlds.grid(name, content["grid"])
    elif "rates" in content:
        world = worlds.success_rates(name, content["rates"])
    else:
        raise WorldError(
            f'World {name!r} has keys {sorted(map(str, content))}; give "P", or "scores", or "features" and '
            '"theta", or "grid", or "rates".'
        )
    labels = content.get("labels")
    if labels is None:
        return world
    if not isinstance(labels, Sequence) or isinstance(labels, str):
        raise WorldError(f"World {name!r} has labels {shown(labels)}; give a list, a name per policy.")
    return replace(world, labels=tuple(str(label) for label in labels))
