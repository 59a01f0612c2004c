"""Which requests belong together: the session a caller names, else the user it names.

With `unit: session` they get one policy and count once. A user who asks without a session is one voter all
the same, so that one person's taste does not count many times. Names leave the process as keyed hashes only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_USER: Final = "user\0"  # so that a session with the name of a user is somebody else


def session_name(request: Mapping[str, Any], header: str | None) -> str | None:
    """Of a checked request: `x-session-id`, `metadata.session_id`, or else the user. None if nobody says.

    Args:
        request: The body; its names were checked to be strings.
        header: What `x-session-id` says.
    """
    metadata = request.get("metadata") or {}
    named: str | None = header or metadata.get("session_id")
    if named:
        return named
    user = request.get("safety_identifier") or request.get("user") or metadata.get("user_id")
    return f"{_USER}{user}" if user else None


def voter_name(request: Mapping[str, Any], header: str | None) -> str | None:
    """Who is going to judge the answer, as far as a checked request says: the user, else the session."""
    metadata = request.get("metadata") or {}
    user = request.get("safety_identifier") or request.get("user") or metadata.get("user_id")
    return f"{_USER}{user}" if user else session_name(request, header)
