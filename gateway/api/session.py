"""Which requests belong together: those of the same session or, if the caller names none, of the same user.

With `unit: session` they get one policy and count once. Without sessions a user is still one voter, so that
one person's taste does not count many times. Names leave the process as keyed hashes only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_NAMING: Final = frozenset({"metadata", "safety_identifier", "user"})
_LONGEST_TRACE: Final = 200
_USER: Final = "user\0"  # distinguishes a user from a session of the same name


def session_and_voter(request: Mapping[str, Any], header: str | None) -> tuple[str | None, str | None]:
    """The names of a checked request's session and voter; most requests name neither.

    Args:
        request: The body; its names were checked to be strings.
        header: The value of `x-session-id`, or None.
    """
    if header is None and _NAMING.isdisjoint(request):
        return None, None
    return session_name(request, header), voter_name(request, header)


def session_name(request: Mapping[str, Any], header: str | None) -> str | None:
    """The session of a checked request: `x-session-id`, `metadata.session_id`, or else the user; or None.

    Args:
        request: The body; its names were checked to be strings.
        header: The value of `x-session-id`, or None.
    """
    metadata = request.get("metadata") or {}
    named: str | None = header or metadata.get("session_id")
    if named:
        return named
    user = request.get("safety_identifier") or request.get("user") or metadata.get("user_id")
    return f"{_USER}{user}" if user else None


def voter_name(request: Mapping[str, Any], header: str | None) -> str | None:
    """The name of the voter who will judge the answer: the request's user, or else its session."""
    metadata = request.get("metadata") or {}
    user = request.get("safety_identifier") or request.get("user") or metadata.get("user_id")
    return f"{_USER}{user}" if user else session_name(request, header)


def trace_name(request: Mapping[str, Any]) -> str | None:
    """The `metadata.trace_id` of a checked request, if it is one by which feedback may name the answer."""
    if "metadata" not in request:
        return None
    named = (request["metadata"] or {}).get("trace_id")
    return named if isinstance(named, str) and 0 < len(named) <= _LONGEST_TRACE else None
