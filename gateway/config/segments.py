"""The paths by which an experiment tells segments of its requests apart."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from gateway.config.values import fault

IN_METADATA: Final = "metadata."

_MOST_PATHS: Final = 3
_LONGEST_NAME: Final = 32  # ids of answers carry it, and may have 512 characters
_PATH: Final = re.compile(rf"metadata\.[A-Za-z0-9_-]{{1,{_LONGEST_NAME}}}")
_SINGLE: Final = frozenset({"session_id", "trace_id", "user_id"})


def _checked(paths: list[str]) -> list[str]:
    for path in paths:
        if _PATH.fullmatch(path) is None:
            raise fault(
                f"{path!r} is no segment.",
                f"Name a key of the request's metadata, such as `metadata.plan`: up to {_LONGEST_NAME} "
                "letters, digits, - and _.",
            )
        if path.removeprefix(IN_METADATA) in _SINGLE:
            raise fault(
                f"`{path}` names one person or conversation, and a segment is a group of them.",
                "Name what many requests have in common, such as `metadata.plan`.",
            )
    if len(set(paths)) < len(paths):
        raise fault("`segments` names a path twice.", "Name each once.")
    return paths


Segments = Annotated[list[str], Field(min_length=1, max_length=_MOST_PATHS), AfterValidator(_checked)]
