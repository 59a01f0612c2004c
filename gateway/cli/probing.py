"""Finds out whether the models of a configuration can be asked: from the file alone, or by asking each once.

A wrong key, name or address thus shows before there is traffic.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.config.gateway_file import GatewayConfig
from gateway.errors import UpstreamError
from gateway.upstream.base import ModelTarget, Timeouts, UpstreamRequest
from gateway.upstream.dispatch import Upstreams
from gateway.upstream.provider_needs import is_understood, missing_address, missing_key
from gateway.upstream.relay import Relay
from gateway.upstream.surfaces import CHAT, EMBEDDINGS, MESSAGES, Surface
from gateway.upstream.targets import OPENAI_BASE, model_targets
from gateway.upstream.translating.upstream import LitellmUpstream

_PATIENCE_SECONDS: Final = 10.0  # for LiteLLM to check one model
_LIMITS: Final = Timeouts(connect=5.0, first_byte=30.0, total=30.0)
_HELLO: Final = [{"role": "user", "content": "Say hello."}]
_MESSAGE: Final[dict[str, Any]] = {"messages": _HELLO, "max_tokens": 16}


@dataclass(frozen=True, slots=True)
class Probed:
    """How a model answered.

    Attributes:
        model: Its name.
        seconds: How long that took.
        failure: Why it did not answer, or None.
        may_be_native: Whether its server answers Anthropic's messages itself, while the file has them
            translated.
    """

    model: str
    seconds: float
    failure: str | None
    may_be_native: bool = False


@dataclass(frozen=True, slots=True)
class _Subject:
    """A model that is asked.

    Attributes:
        target: The model.
        upstream: Asks it.
    """

    target: ModelTarget
    upstream: Upstreams

    async def ask(self) -> None:
        """Ask it for a short answer; for an embedding if its name says that it embeds.

        Raises:
            UpstreamError: If it does not answer.
        """
        surface: Surface = CHAT
        payload: dict[str, Any] = {"messages": _HELLO}
        if self._only_embeds:
            surface, payload = EMBEDDINGS, {"input": "Hello"}
        elif self.target.speaks(MESSAGES):
            surface, payload = MESSAGES, _MESSAGE
        await self.upstream.complete(UpstreamRequest(self.target, payload, surface))

    async def may_be_native(self) -> bool:
        """Whether a server of OpenAI's format (not OpenAI itself) answers Anthropic's messages."""
        is_server = self.target.wire == "openai" and self.target.api_base != OPENAI_BASE
        if not is_server or self.target.speaks_messages or self._only_embeds:
            return False
        native = replace(self.target, speaks_messages=True)
        try:
            await self.upstream.complete(UpstreamRequest(native, _MESSAGE, MESSAGES))
        except UpstreamError:
            return False
        return True

    @property
    def _only_embeds(self) -> bool:
        return "embed" in self.target.model.lower()


async def probe(targets: Sequence[ModelTarget]) -> list[Probed]:
    """Ask each model once, one after the other; servers of OpenAI's format are also asked for a message.

    This costs a few tokens per model.
    """
    upstream = Upstreams(Relay(_LIMITS), LitellmUpstream(_LIMITS))
    found = []
    try:
        for target in targets:
            subject, started, failure = _Subject(target, upstream), time.perf_counter(), None
            try:
                await subject.ask()
            except UpstreamError as error:
                failure = f"{error.reason}: {error.detail or error}"
            seconds = time.perf_counter() - started
            may_be_native = failure is None and await subject.may_be_native()
            found.append(Probed(target.name, seconds, failure, may_be_native))
    finally:
        await upstream.aclose()
    return found


def obstacles(config: GatewayConfig, environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """The models whose provider could not be asked, and why; no provider is asked to find out."""
    found: dict[str, str] = {}
    for entry in config.model_list:
        params = entry.litellm_params
        missing = (missing_key(params, environ), missing_address(params, environ))
        if any(missing):
            found[entry.model_name] = " Also, ".join(filter(None, missing))
    rest = {entry.model_name for entry in config.model_list if not is_understood(entry.litellm_params)}
    targets = [target for name, target in model_targets(config.model_list).items() if name in rest]
    if targets:  # imports LiteLLM, which takes seconds
        found |= asyncio.run(_rehearsed(targets))
    in_order = (entry.model_name for entry in config.model_list)
    return [(name, found[name]) for name in in_order if name in found]


async def _rehearsed(targets: list[ModelTarget]) -> dict[str, str]:
    """Why LiteLLM cannot ask these models."""
    limits = Timeouts(connect=_PATIENCE_SECONDS, first_byte=_PATIENCE_SECONDS, total=_PATIENCE_SECONDS)
    upstream = LitellmUpstream(limits)
    try:
        found = {target.name: await upstream.obstacle(target) for target in targets}
    finally:
        await upstream.aclose()
    said = ((name, obstacle) for name, obstacle in found.items() if obstacle is not None)
    return {name: f"LiteLLM could not ask it from here: {obstacle}" for name, obstacle in said}
