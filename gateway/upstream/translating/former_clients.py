"""Closes clients of litellm that are no longer used, once every request on them must have ended.

litellm has no function for this. It closes forgotten clients when they are idle, but only if something else
still holds them at its next check; otherwise the garbage collector finds them open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from inspect import isawaitable
from typing import Any


class FormerClients:
    """Holds them until then."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[asyncio.TimerHandle, list[Any]]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._count = 0

    def retire(self, clients: list[Any], seconds: float) -> None:
        """Close these after the longest time that a request may take."""
        self._count += 1
        timer = asyncio.get_running_loop().call_later(seconds, self._close_due, self._count)
        self._waiting[self._count] = timer, clients

    async def aclose(self) -> None:
        """Close all of them now."""
        waiting = list(self._waiting.values())
        self._waiting.clear()
        for timer, clients in waiting:
            timer.cancel()
            await _close(clients)
        await asyncio.gather(*self._closing)

    def _close_due(self, number: int) -> None:
        _, clients = self._waiting.pop(number)
        closing = asyncio.create_task(_close(clients))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _close(clients: Iterable[Any]) -> None:
    for client in clients:
        close = getattr(client, "aclose", None) or getattr(client, "close", None)
        with suppress(Exception):  # one that cannot be closed must not keep the others open
            closed = close() if close is not None else None
            if isawaitable(closed):
                await closed
