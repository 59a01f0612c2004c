"""Paths as clients are set up to write them: each way of writing one leads to the same place.

A base URL may lack the `/v1`, or have it although the client adds it; a path may end in a slash. A redirect
would help none of them: clients send a POST again without its body, or to an address that only a proxy in
front of the gateway knows how to reach.
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
    """The path as the routes have it: `/chat/completions/` is `/v1/chat/completions`."""
    path = path.rstrip("/") or "/"
    while path.startswith(f"{_VERSION}{_VERSION}/"):
        path = path.removeprefix(_VERSION)
    first = path[1:].partition("/")[0]
    return _VERSION + path if first in _BELOW_VERSION else path
