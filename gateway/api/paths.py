"""Accepts the different ways in which clients write a path.

A base URL may lack the `/v1`, or have it although the client adds it; a path may end in a slash. A redirect
would not help: clients repeat a POST without its body, or send it to an address that works only behind the
proxy.
"""

from __future__ import annotations

from typing import Final

_VERSION: Final = "/v1"
_BELOW_VERSION: Final = frozenset(
    {
        *("chat", "completions", "responses", "embeddings", "messages", "models"),
        *("feedback", "request", "experiments", "keys", "webhooks"),
    }
)


def written_in_full(path: str) -> str:
    """The path as the routes have it: `/v1/chat/completions` for `/chat/completions/`."""
    path = path.rstrip("/") or "/"
    while path.startswith(f"{_VERSION}{_VERSION}/"):
        path = path.removeprefix(_VERSION)
    first = path[1:].partition("/")[0]
    return _VERSION + path if first in _BELOW_VERSION else path
