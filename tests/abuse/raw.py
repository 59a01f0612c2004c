"""Raw connections, and what they do to a gateway's memory and to others."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.pace import PATIENCE_SECONDS

Pieces = Iterable[bytes]


def resident_bytes(pid: int) -> int:
    """Memory a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection, closed at the end whatever became of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def said_to(port: int, pieces: Pieces) -> tuple[bytes, int]:
    """All that comes back until the gateway hangs up, and how many bytes were sent till then."""
    sent = 0
    async with connected(port) as (reader, writer):

        async def send() -> None:
            nonlocal sent
            with suppress(OSError):
                for piece in pieces:
                    if writer.is_closing():
                        return
                    writer.write(piece)
                    await writer.drain()
                    sent += len(piece)

        sending = asyncio.create_task(send())
        answer = b""
        async with asyncio.timeout(PATIENCE_SECONDS):
            with suppress(OSError):
                while part := await reader.read(65536):
                    answer += part
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
    return answer, sent


def statuses(answer: bytes) -> list[int]:
    """The status of each answer on a connection."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
