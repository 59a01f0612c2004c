"""Asks every model of a configuration once, so that a wrong key, name or address shows before traffic."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import UpstreamError
from gateway.upstream.base import ModelTarget, Timeouts, UpstreamRequest
from gateway.upstream.dispatch import Upstreams
from gateway.upstream.relay import Relay
from gateway.upstream.surfaces import CHAT, EMBEDDINGS, MESSAGES, Surface
from gateway.upstream.translating.upstream import LitellmUpstream

_LIMITS: Final = Timeouts(connect=5.0, first_byte=30.0, total=30.0)
_HELLO: Final = [{"role": "user", "content": "Say hello."}]


@dataclass(frozen=True, slots=True)
class Probed:
    """How a model answered.

    Attributes:
        model: Its name.
        seconds: How long that took.
        failure: Why it did not answer, or None.
    """

    model: str
    seconds: float
    failure: str | None


async def probe(targets: Sequence[ModelTarget]) -> list[Probed]:
    """Ask each model once, one after the other. This costs a few tokens of each."""
    upstream = Upstreams(Relay(_LIMITS), LitellmUpstream(_LIMITS))
    found = []
    try:
        for target in targets:
            started, failure = time.perf_counter(), None
            try:
                await upstream.complete(_question(target))
            except UpstreamError as error:
                failure = f"{error.reason}: {error.detail or error}"
            found.append(Probed(target.name, time.perf_counter() - started, failure))
    finally:
        await upstream.aclose()
    return found


def _question(target: ModelTarget) -> UpstreamRequest:
    """The smallest request in the format the model speaks. A model whose name says so only embeds."""
    surface: Surface = CHAT
    payload: dict[str, Any] = {"messages": _HELLO}
    if "embed" in target.model.lower():
        surface, payload = EMBEDDINGS, {"input": "Hello"}
    elif target.wire == "anthropic":
        surface, payload = MESSAGES, {"messages": _HELLO, "max_tokens": 16}
    return UpstreamRequest(target, payload, surface)
