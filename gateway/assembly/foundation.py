"""What every part of a running gateway is built on."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, TypeVar

from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.store_history import StoreHistory
from gateway.instrumentation.hooks import Hooks
from gateway.running.background import background
from gateway.running.lifecycle import Lifecycle
from gateway.running.store_breaker import StoreBreaker
from gateway.settings import Settings
from gateway.telemetry.metrics import Metrics
from policy_store.clients import GatheringClient, ServerClient
from policy_store.connect import EmbeddedValkey, connect
from policy_store.scripting import StorePart
from policy_store.store import PolicyStore

PartT = TypeVar("PartT", bound=StorePart)


@dataclass(frozen=True, slots=True)
class Foundation:
    """What every part may use.

    Attributes:
        clock: Unix seconds.
        timer: Seconds that only ever grow.
        rng: Source of everything drawn.
        resources: Closes what is opened, in the opposite order.
        process: The name of this process in the store; no other process has it.
    """

    catalogue: CatalogueHolder
    settings: Settings
    clock: Callable[[], float]
    timer: Callable[[], float]
    rng: random.Random
    lifecycle: Lifecycle
    resources: AsyncExitStack
    process: str
    redis: ServerClient
    store: PolicyStore
    history: StoreHistory
    breaker: StoreBreaker
    metrics: Metrics
    hooks: Hooks

    def store_part(self, kind: type[PartT]) -> PartT:
        """A part of the store, with the timeout of ordinary calls."""
        return kind(self.redis, timeout_seconds=self.settings.store_timeout_seconds)

    def reading_part(self, kind: type[PartT]) -> PartT:
        """A part of the store for what reads many experiments side by side."""
        return kind(GatheringClient(self.redis), timeout_seconds=self.settings.store_timeout_seconds)

    async def run(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a task in the background until the gateway closes."""
        await self.resources.enter_async_context(background(name, work))


async def open_redis(settings: Settings, resources: AsyncExitStack) -> ServerClient:
    """A client of the store. Without a Redis URL the embedded store is started in the data directory."""
    url = settings.redis_url
    if url is None:
        valkey = EmbeddedValkey()
        url = await asyncio.to_thread(valkey.start, settings.data_dir)
        resources.push_async_callback(asyncio.to_thread, valkey.stop)
    redis = connect(
        url,
        prefix=settings.redis_prefix,
        timeout_seconds=settings.store_timeout_seconds,
        confirming_replicas=settings.store_confirming_replicas,
    )
    resources.push_async_callback(redis.aclose)
    return redis


def process_name() -> str:
    """A name for this process that no other process has."""
    return f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}"
