"""Remembers which answer a caller's own request id stands for, without delaying the request.

Feedback may name an answer by its `x-request-id`. An id that the gateway made contains the answer's id
(`response_ids.py`). An id that the caller sent is noted in the store, in batches, while the answer is sent.
If it cannot be noted, only that is lost: feedback can still use the response's id.
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

MOST_NOTES: Final = 10_000
_BATCH: Final = 200
_ANY_KEY: Final = ""

_log = get_logger(__name__)


class NameStore(Protocol):
    """The part of the store that keeps request ids."""

    async def keep(self, names: Sequence[AnswerName]) -> None:
        """Keep all of these notes. Raises StoreError."""
        ...

    async def find(self, digest: str) -> str | None:
        """The note about an id. Raises StoreError."""
        ...


class AnswerNotes:
    """The notes of one process.

    Args:
        store: Keeps the notes.
        digests: Gives the digests that may stand for an API key and a request's id; the first one is used
            for new notes. They cannot be made without the gateway's secret.
    """

    def __init__(self, store: NameStore, digests: Callable[[str, str], Sequence[str]]) -> None:
        self._store = store
        self._digests = digests
        self._waiting: deque[AnswerName] = deque()
        self._something = asyncio.Event()
        self._writing = asyncio.Lock()
        self._is_losing = False

    def note(self, key: str | None, request_id: str, response_id: str, keep_seconds: float) -> None:
        """Remember an answer soon, for the API key that got it and for keys that may see any answer."""
        if len(self._waiting) >= MOST_NOTES:
            self._lose(1)
            return
        seconds = max(1, math.ceil(keep_seconds))
        for holder in {key or _ANY_KEY, _ANY_KEY}:
            self._waiting.append(AnswerName(self._digests(holder, request_id)[0], response_id, seconds))
        self._something.set()

    async def find(self, key: str | None, request_id: str) -> str | None:
        """The response id of a key's answer (None: of any key's); `SEVERAL` if it is ambiguous.

        Raises:
            StoreUnavailableError: If the store does not answer in time.
        """
        await self.write()  # the note may still be waiting here
        for digest in self._digests(key or _ANY_KEY, request_id):
            if (found := await self._store.find(digest)) is not None:
                return found
        return None

    async def run(self) -> None:
        """Write notes until cancelled."""
        while True:
            await self._something.wait()
            self._something.clear()
            await self.write()

    async def write(self) -> None:
        """Write the waiting notes."""
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
        """Drop notes, and log that once for each time the store is away."""
        if not self._is_losing:
            self._is_losing = True
            _log.warning("request_ids_lost", at_least=count)
