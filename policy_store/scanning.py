"""Finds keys by a pattern, on every server that holds data."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from policy_store.scripting import StorePart

_AT_ONCE: Final = 2000


class KeyScanner(StorePart):
    """The part of the store that looks for keys. Only operators' commands do."""

    async def scanned(self, pattern: str) -> AsyncIterator[list[str]]:
        """The keys that match, page by page, some of them perhaps twice.

        Every key that is there from beginning to end is found.
        """
        for server in await self._answer(self._redis.servers()):
            cursor: Any = 0
            while True:
                cursor, keys = await self._answer(
                    self._redis.scan(cursor, match=pattern, count=_AT_ONCE, **server)
                )
                if isinstance(cursor, Mapping):  # a cluster names the server
                    cursor = next(iter(cursor.values()))
                if keys:
                    yield keys
                if not int(cursor):
                    break
