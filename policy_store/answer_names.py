"""Remembers which answer a request id stands for, if the caller chose that id.

Entries are kept as long as feedback on the answer counts. They use keyed hashes, so the store holds no
request id of a caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from policy_store.scripting import StorePart

SEVERAL: Final = "several"
"""The result for an id under which more than one answer was given."""


@dataclass(frozen=True, slots=True)
class AnswerName:
    """The entry for one answer.

    Attributes:
        digest: The keyed hash of the request's id.
        response_id: The answer's id.
        keep_seconds: How long the entry is kept.
    """

    digest: str
    response_id: str
    keep_seconds: int


class AnswerNameStore(StorePart):
    """The entries in Redis or Valkey. Every write may be repeated."""

    async def keep(self, names: Sequence[AnswerName]) -> None:
        """Keep all of these. An id that already stands for another answer becomes ambiguous."""
        before = await self._all(names, response_id=None)
        clashing = [
            name for name, kept in zip(names, before, strict=True) if kept not in (None, name.response_id)
        ]
        if clashing:
            await self._all(clashing, response_id=SEVERAL)

    async def find(self, digest: str) -> str | None:
        """The response id of the answer; `SEVERAL` if the id is ambiguous, None if nothing is kept."""
        kept = await self._answer(self._redis.get(self._names.answer(digest)))
        return None if kept is None else str(kept)

    async def _all(self, names: Sequence[AnswerName], *, response_id: str | None) -> list[Any]:
        """Set each entry to its response id unless it has one already; or set all of them to another text."""
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            key, kept = self._names.answer(name.digest), response_id or name.response_id
            is_first = response_id is None
            pipeline.set(key, kept, ex=name.keep_seconds, nx=is_first, get=is_first)
        found: list[Any] = await self._answer(pipeline.execute())
        return found
