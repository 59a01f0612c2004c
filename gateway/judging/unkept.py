"""Makes requests for answers that no user sees: a provider is not asked to keep them, nor to answer first.

What the caller wrote about its own answer (keep it, file it under these words, answer it before others) was
not meant for one that only a judge reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.upstream.surfaces import RESPONSES, Surface

# How the caller gets its answer, and for how long the provider is to keep what it took and gave.
_OF_THE_ANSWER: Final = frozenset(
    {
        *("stream", "stream_options", "background"),
        *("store", "prompt_cache_retention", "prompt_cache_options"),
    }
)
_LABELS: Final = "metadata"
_TIER: Final = "service_tier"
_MODEST_TIERS: Final = ("default", "flex", "standard_only")
"""Those that cost no more than any other. A tuple, not a set, because a caller may send any type."""


def unseen_request(body: Mapping[str, Any]) -> dict[str, Any]:
    """A caller's request as one for an answer that the caller does not get.

    Its metadata stays, because templates read it; `unkept` takes it away.
    """
    return {
        name: value
        for name, value in body.items()
        if name not in _OF_THE_ANSWER and (name != _TIER or value in _MODEST_TIERS)
    }


def unkept(payload: Mapping[str, Any], surface: Surface) -> dict[str, Any]:
    """What is sent to a provider for such a request: without labels, and with a no where keeping is usual."""
    sent = {name: value for name, value in payload.items() if name != _LABELS}
    return {**sent, "store": False} if surface is RESPONSES else sent
