"""The driver's connections, their pool, and pipelines, without what the store does not need of them.

The driver also measures each use of a connection, renews credentials, repeats calls, and serves
transactions. All of that takes longer than sending a command and reading its reply.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from hiredis import pack_command
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.client import Pipeline as DriversPipeline
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError


class _Packing:
    """Packs commands in C. The driver's asynchronous connections pack every argument in Python."""

    def pack_command(self, name: str, *args: Any) -> list[bytes]:
        """A command in the server's protocol. Its name may have several words, such as `SCRIPT FLUSH`."""
        return [pack_command((*name.split(), *args))]

    def pack_commands(self, commands: Iterable[Sequence[Any]]) -> list[bytes]:
        """Several commands in the server's protocol."""
        return [pack_command((*name.split(), *args)) for name, *args in commands]


def packing(kind: type[Any]) -> type[Any]:
    """The driver's kind of connection, as one that packs commands in C."""
    return type(f"Packing{kind.__name__}", (_Packing, kind), {})


class Pool(BlockingConnectionPool):
    """A pool whose connections calls get in the order in which they asked, also while idle ones are closed.

    The driver wakes the call that has waited longest, but whoever asks before it runs gets the connection: a
    few calls in a row can keep all others waiting until their time is over.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def get_connection(
        self,
        command_name: str | None = None,  # noqa: ARG002 - the driver's signature, whose arguments mean nothing
        *keys: Any,  # noqa: ARG002
        **options: Any,  # noqa: ARG002
    ) -> Any:
        """A connection that is open.

        Raises:
            ConnectionError: If none was free in time, or none could be made.
        """
        if self._waiting or not self.can_get_connection():
            await self._turn()
        connection: Any = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        """Give a connection back, and wake the call that has waited longest for one."""
        self._in_use_connections.remove(connection)
        self._available_connections.append(connection)
        self._wake()

    async def _turn(self) -> None:
        """Wait until there is a connection and no earlier call waits for it."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._wake()  # more connections may be free than calls waited
        try:
            async with asyncio.timeout(self.timeout):
                await turn
        except BaseException as error:
            self._waiting.remove(turn)
            self._wake()  # the turn may have come in the meantime
            if isinstance(error, TimeoutError):
                raise RedisConnectionError("No connection available.") from None
            raise
        self._waiting.remove(turn)

    def _wake(self) -> None:
        free = self.max_connections - len(self._in_use_connections)
        for turn in islice(self._waiting, free):
            if not turn.done():
                turn.set_result(None)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close connections; idle ones at once.

        The driver waits until each is closed. A call that takes one in the meantime fails although the
        server would have answered.
        """
        if inuse_connections:
            await super().disconnect()
            return
        for connection in tuple(self._available_connections):
            await connection.disconnect(nowait=True)


class Pipeline(DriversPipeline):
    """Commands that are sent at once."""

    def execute_command(self, *words: Any, **options: Any) -> Any:
        """Add a command."""
        self.command_stack.append((words, options))
        return self

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """The reply to each command, or the server's error, unless the first one is to be raised.

        A connection on which sending or reading fails, or is cancelled, is closed, so no later call reads a
        reply that was meant for this one.
        """
        commands, self.command_stack = self.command_stack, []
        connection = await self.connection_pool.get_connection()
        try:
            await connection.send_packed_command(connection.pack_commands([words for words, _ in commands]))
            replies = await self._replies(connection, commands)
        finally:
            await self.connection_pool.release(connection)
        if raise_on_error:
            self.raise_first_error(commands, replies)
        return replies

    async def _replies(self, connection: Any, commands: Sequence[tuple[Any, Any]]) -> list[Any]:
        """What the server replies; read past the driver's time limit for each reply, which is not used."""
        read, names = connection._parser.read_response, {words[0] for words, _ in commands}  # noqa: SLF001
        made_by_driver = {name for name in names if name in self.response_callbacks}
        try:
            return [
                await self._parsed(connection, words[0], options)
                if options or words[0] in made_by_driver
                else await read()
                for words, options in commands
            ]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def _parsed(self, connection: Any, name: str | bytes, options: Mapping[str, Any]) -> Any:
        try:
            return await self.parse_response(connection, name, **options)
        except ResponseError as error:
            return error
