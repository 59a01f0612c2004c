"""Which answer a request's own id stands for, where the caller chose that id.

Kept for as long as feedback on the answer counts, by keyed hashes: the store holds no caller's request id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from policy_store.scripting import StorePart

SEVERAL: Final = "several"
"""What is found for an id that more than one answer was given under."""


@dataclass(frozen=True, slots=True)
class AnswerName:
    """What is kept of one answer.

    Attributes:
        digest: Stands for the request's id.
        response_id: The answer's own.
        keep_seconds: How long it is kept.
    """

    digest: str
    response_id: str
    keep_seconds: int


class AnswerNameStore(StorePart):
    """Names in Redis or Valkey. Every write may be repeated."""

    async def keep(self, names: Sequence[AnswerName]) -> None:
        """Keep all of these. An id that stands for another answer already stands for none from then on."""
        before = await self._all(names, response_id=None)
        clashing = [
            name for name, kept in zip(names, before, strict=True) if kept not in (None, name.response_id)
        ]
        if clashing:
            await self._all(clashing, response_id=SEVERAL)

    async def find(self, digest: str) -> str | None:
        """The response id of the answer, `SEVERAL`, or None where nothing is kept."""
        kept = await self._answer(self._redis.get(self._names.answer(digest)))
        return None if kept is None else str(kept)

    async def _all(self, names: Sequence[AnswerName], *, response_id: str | None) -> list[Any]:
        """Set each to its own response id, unless it has one already; or all of them to another text."""
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            key, kept = self._names.answer(name.digest), response_id or name.response_id
            is_first = response_id is None
            pipeline.set(key, kept, ex=name.keep_seconds, nx=is_first, get=is_first)
        found: list[Any] = await self._answer(pipeline.execute())
        return found
