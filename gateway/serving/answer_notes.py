"""Remembers which answer a caller's own request id stands for, beside the requests and not in them.

Feedback may name an answer by its `x-request-id`. An id that the gateway made says itself which answer it is
of (`response_ids.py`); one that the caller sent is noted in the store, in batches, while the answer goes out.
What cannot be noted is lost, and only that: the answer has an id of its own.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from gateway.running.logs import get_logger
from policy_store.answer_names import AnswerName
from policy_store.errors import StoreError

MOST_WAITING: Final = 10_000
_BATCH: Final = 200
_ANY_KEY: Final = ""

_log = get_logger(__name__)


class NameStore(Protocol):
    """Where names are kept."""

    async def keep(self, names: Sequence[AnswerName]) -> None:
        """Keep all of these. Raises StoreError."""
        ...

    async def find(self, digest: str) -> str | None:
        """What is kept of an id. Raises StoreError."""
        ...


class AnswerNotes:
    """The notes of one process.

    Args:
        store: Keeps them.
        digests: What may stand for an API key and a request's id, the first being what does from now on.
            They cannot be made without the gateway's secret.
    """

    def __init__(self, store: NameStore, digests: Callable[[str, str], Sequence[str]]) -> None:
        self._store = store
        self._digests = digests
        self._waiting: deque[AnswerName] = deque()
        self._something = asyncio.Event()
        self._writing = asyncio.Lock()
        self._is_losing = False

    def note(self, key: str | None, request_id: str, response_id: str, keep_seconds: float) -> None:
        """Remember an answer, soon; for the API key that got it, and for those that may see any."""
        if len(self._waiting) >= MOST_WAITING:
            self._lose(1)
            return
        seconds = max(1, math.ceil(keep_seconds))
        for holder in {key or _ANY_KEY, _ANY_KEY}:
            self._waiting.append(AnswerName(self._digests(holder, request_id)[0], response_id, seconds))
        self._something.set()

    async def find(self, key: str | None, request_id: str) -> str | None:
        """The response id of a key's answer, or of any key's for None; `SEVERAL` where there is no telling.

        Raises:
            StoreUnavailableError: If the store does not answer in time.
        """
        await self.write()  # what waits here may be what is looked for
        for digest in self._digests(key or _ANY_KEY, request_id):
            if (found := await self._store.find(digest)) is not None:
                return found
        return None

    async def run(self) -> None:
        """Write what is noted, for ever."""
        while True:
            await self._something.wait()
            self._something.clear()
            await self.write()

    async def write(self) -> None:
        """Write what waits."""
        async with self._writing:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                try:
                    await self._store.keep(batch)
                except StoreError:
                    self._lose(len(batch))
                else:
                    self._is_losing = False

    def _lose(self, count: int) -> None:
        """Say it once for each time the store is away."""
        if not self._is_losing:
            self._is_losing = True
            _log.warning("request_ids_lost", at_least=count)
