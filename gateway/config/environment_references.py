"""Finds references to environment variables, in the plain data of a file, that will not be looked up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from gateway.config.references import Fault, Path
from gateway.config.values import ENVIRONMENT_PREFIX

_IN_BRACES: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)[^}]*\}")
_AFTER_DOLLAR: Final = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*")


def misplaced_references(data: Any) -> Iterator[Fault]:
    """Environment references in places where they are not looked up but taken literally."""
    for path, value in _texts(data, ()):
        if value.startswith(ENVIRONMENT_PREFIX) and not _is_looked_up(path):
            yield Fault(
                path,
                f"{value!r} is not looked up here.",
                "Environment references work in litellm_params, auth, webhooks and promotion.confirm.",
            )


def foreign_references(data: Any) -> Iterator[Fault]:
    """References in other programs' notation (`$NAME`), which would be sent literally."""
    for path, value in _texts(data, ()):
        if not _is_looked_up(path):
            continue
        in_braces = _IN_BRACES.search(value)
        if in_braces:
            problem = f"${{{in_braces[1]}}} is not looked up; it would be taken literally."
            yield Fault(path, problem, f"Write os.environ/{in_braces[1]} as the whole value.")
        elif _AFTER_DOLLAR.fullmatch(value):  # not repeated: it may be a secret after all
            problem = "A dollar sign and a name are not looked up; they would be taken literally."
            yield Fault(path, problem, "Write os.environ/ and the name of the variable.")


def _is_looked_up(path: Path) -> bool:
    is_confirm_hook = path[0] == "experiments" and path[2:4] == ("promotion", "confirm")
    return path[0] in {"auth", "webhooks"} or "litellm_params" in path or is_confirm_hook


def _texts(data: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _texts(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _texts(value, (*path, index))
