"""The clients of the store: for one server, for the primary that Sentinel names, or for a cluster.

All of them take the same commands. Only this module knows the differences: how a call finds its server, and
what happens if a server turns out to be the wrong one. `GatheringClient` sends over any of them what many
readers ask at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final, Literal, NamedTuple

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline as DriversPipeline
from redis.asyncio.cluster import ClusterNode, PipelineCommand, RedisCluster
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection
from redis.commands import AsyncCoreCommands
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ConnectionError,  # noqa: A004 - the driver's
    MovedError,
    RedisError,
    SlotNotCoveredError,
    TimeoutError,  # noqa: A004 - the driver's
    TryAgainError,
)

from policy_store.confirming import Command
from policy_store.connections import Pipeline, Pool, packing
from policy_store.names import Names

_READING_SCRIPTS: Final = {"EVALSHA_RO": "EVALSHA", "EVAL_RO": "EVAL"}
_MOST_TAGS: Final = 100_000
_TRY_AGAIN_SECONDS: Final = 0.05


class SingleClient(Redis):
    """One server, or whichever one its pool connects to.

    Attributes:
        names: The names of the store's keys, for everything that uses this client.
        groups_at_once: About how many experiments one reading script may be asked.
        shares_trips: Whether writes about different experiments go to one server, so they may go together.
        confirming_replicas: How many replicas have to confirm what is told as done; 0 asks none.
    """

    groups_at_once: ClassVar[int] = 100  # takes the server less than a millisecond
    shares_trips: ClassVar[bool] = True

    def __init__(self, pool: BlockingConnectionPool, names: Names, confirming_replicas: int = 0) -> None:
        pool.connection_class = packing(pool.connection_class)
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self.names = names
        self.confirming_replicas = confirming_replicas
        self._rows = asyncio.Semaphore(max(1, pool.max_connections // 2))

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> DriversPipeline:
        """Commands that are sent at once, in a transaction or one by one."""
        if transaction:
            return super().pipeline(transaction, shard_hint)
        return Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)

    async def in_a_row(self, key: str, commands: Sequence[Command]) -> list[Any]:  # noqa: ARG002 - one server
        """The reply or the server's error to each of several commands, sent at once over one connection.

        What waits for replicas may hold half of the connections; the others are left to what does not wait.

        Args:
            key: A key of the server that they are for.
            commands: The commands.
        """
        async with self._rows:
            pipeline = self.pipeline(transaction=False)
            for words in commands:
                pipeline.execute_command(*words)
            return await pipeline.execute(raise_on_error=False)

    def suspect(self) -> None:
        """Do nothing after a fault, because the next call connects by the address anyway."""

    async def reconnect(self) -> None:
        """Close idle connections, because the address may lead to another server now."""
        with suppress(RedisError, OSError):
            await self.connection_pool.disconnect(inuse_connections=False)

    async def servers(self) -> Sequence[dict[str, Any]]:
        """The driver's name of each server that holds data."""
        return ({},)

    async def other_tags(self, key: str) -> Sequence[str]:  # noqa: ARG002 - one server holds all keys
        """A hash tag on each server that holds data, except the server of `key`."""
        return ()


class SentinelClient(SingleClient):
    """The primary of a service; Sentinel is asked for it whenever a connection is made."""

    def __init__(
        self, pool: SentinelPool, names: Names, sentinel: Sentinels, confirming_replicas: int = 0
    ) -> None:
        super().__init__(pool, names, confirming_replicas)
        self._sentinel = sentinel

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close all connections, including those to Sentinels."""
        await super().aclose(close_connection_pool)
        await self._sentinel.aclose()


class Sentinels(Sentinel):
    """The Sentinels of a service, asked by one call at a time.

    The driver moves the Sentinel that answered to the front of its list; simultaneous calls would make it
    lose others.
    """

    def __init__(self, hosts: Sequence[tuple[str, int]], options: dict[str, Any]) -> None:
        super().__init__(hosts, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        self._asking = asyncio.Lock()

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the primary."""
        async with self._asking:
            found: tuple[str, int] = await super().discover_master(service_name)
        return found


class SentinelPool(SentinelConnectionPool, Pool):
    """Connections to the primary; if all are in use, a call waits for a free one."""


class SentinelConnection(SentinelManagedConnection):
    """A connection to the primary. `scripting.answered_within` handles a server that became a replica."""

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """The server's answer."""
        return await Connection.read_response(self, *args, **kwargs)


class SecureSentinelConnection(SentinelConnection, SSLConnection):
    """A connection to the primary over TLS."""


class ClusterClient(RedisCluster):
    """A cluster, whose nodes are discovered on first use and again after a fault.

    Args:
        nodes: Hosts and ports of nodes that can be asked for all others.
        names: The names of the store's keys, for everything that uses this client.
        max_calls: How many calls may run at once; further ones wait.
        confirming_replicas: How many replicas have to confirm what is told as done; 0 asks none.
        options: Options for the driver.
    """

    groups_at_once: ClassVar[int] = 1  # the keys of a script share a slot
    shares_trips: ClassVar[bool] = False  # a node that hangs would delay writes to the others

    def __init__(
        self,
        nodes: Sequence[tuple[str, int]],
        names: Names,
        *,
        max_calls: int,
        confirming_replicas: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(
            startup_nodes=[ClusterNode(host, port) for host, port in nodes],
            require_full_coverage=False,  # keys of the covered slots are served
            reinitialize_steps=0,  # otherwise every fifth redirection would close all connections
            max_connections=2 * max_calls,  # pipelines need further connections
            **options,
        )
        kinds = self.connection_kwargs
        kinds["connection_class"] = packing(kinds.get("connection_class", Connection))
        self.names = names
        self.confirming_replicas = confirming_replicas
        self._first_nodes = nodes
        self._places = asyncio.Semaphore(max_calls)
        self._rows = asyncio.Semaphore(max(1, max_calls // 2))
        self._tags: tuple[object, tuple[str, ...]] = (None, ())

    def suspect(self) -> None:
        """Discover the nodes anew before the next call, because the driver does so only after some faults."""
        self._initialize = True

    async def reconnect(self) -> None:
        """Discover the nodes anew before the next call."""
        self.suspect()

    async def servers(self) -> Sequence[dict[str, Any]]:
        """The driver's name of each server that holds data."""
        await self.initialize()
        return tuple({"target_nodes": node} for node in self.get_primaries())

    async def other_tags(self, key: str) -> Sequence[str]:
        """A hash tag on each server that holds data, except the server of `key`."""
        await self.initialize()
        slots = self.nodes_manager.slots_cache
        if self._tags[0] is not slots:
            self._tags = (slots, self._tags_of_primaries(key))
        return self._tags[1]

    def _tags_of_primaries(self, key: str) -> tuple[str, ...]:
        primary_of = self.nodes_manager.get_node_from_slot
        left = {nodes[0].name for nodes in self.nodes_manager.slots_cache.values() if nodes}
        left.discard(primary_of(key_slot(key.encode())).name)
        found = []
        for tag in map(str, range(_MOST_TAGS)):
            if not left:
                break
            with suppress(SlotNotCoveredError):
                name = primary_of(key_slot(tag.encode())).name
                if name in left:
                    left.discard(name)
                    found.append(tag)
        return tuple(found)

    async def initialize(
        self,
        additional_startup_nodes_info: list[tuple[str, int]] | None = None,
        last_failed_node_name: str | None = None,
    ) -> ClusterClient:
        """Discover the nodes, unless they are known."""
        try:
            await super().initialize(additional_startup_nodes_info, last_failed_node_name)
        except BaseException:
            # The driver would start from the nodes that it knows, all of which may have new addresses now.
            first = (ClusterNode(*place, **self.connection_kwargs) for place in self._first_nodes)
            self.nodes_manager.startup_nodes |= {
                node.name: node for node in first if node.name not in self.nodes_manager.startup_nodes
            }
            raise
        return self

    async def aclose(self) -> None:
        """Close all connections."""
        self._initialize = False  # otherwise open connections would stay open after a fault
        await super().aclose()

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """A command's answer; the call waits until fewer than `max_calls` are running."""
        async with self._places:
            return await super().execute_command(*args, **kwargs)

    async def in_a_row(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """The reply or the server's error to each of several commands, sent at once over one connection.

        They go to the node with the key, where it is now: the first reply says if it is another one.
        """
        async with self._rows:
            await self.initialize()
            asking: tuple[Command, ...] = ()
            node = self.get_node_from_key(key)
            for _ in range(self.RedisClusterRequestTTL):
                replies = await _sent_to(node, commands, asking)
                moved = replies[0]
                if isinstance(moved, MovedError):  # the driver makes it a kind of AskError
                    await self.nodes_manager.move_slot(moved)
                    node, asking = self.get_node_from_key(key), ()
                elif isinstance(moved, AskError):
                    node, asking = self.get_node(moved.host, moved.port), (("ASKING",),)
                elif isinstance(moved, TryAgainError):
                    await asyncio.sleep(_TRY_AGAIN_SECONDS)
                else:
                    break
        return replies

    async def _determine_slot(self, command: str, *args: Any) -> int:
        # The driver would ask a server where the keys of these commands are.
        return await super()._determine_slot(_READING_SCRIPTS.get(command, command), *args)


async def _sent_to(
    node: ClusterNode | None, commands: Sequence[Command], asking: Sequence[Command]
) -> list[Any]:
    """The replies of one node to commands; those of `asking` go before each."""
    if node is None:
        raise SlotNotCoveredError("No node has the slot.")
    told = [words for command in commands for words in (*asking, command)]
    row = [PipelineCommand(position, *words) for position, words in enumerate(told)]
    await node.execute_pipeline(row)
    replies = [each.result for each in row][len(asking) :: len(asking) + 1]
    fault = next((each for each in replies if isinstance(each, ConnectionError | TimeoutError)), None)
    if fault is not None:
        raise fault
    return replies


ServerClient = SingleClient | ClusterClient


class _Asked(NamedTuple):
    """A command, and who waits for its answer."""

    words: tuple[Any, ...]
    options: dict[str, Any]
    answer: asyncio.Future[Any]


class GatheringClient(AsyncCoreCommands):
    """Sends what many readers ask in the same turn of the event loop in one pipeline.

    A page or a scrape reads every experiment. One call after the other costs a round trip each, and most of
    the time of a call is the driver's. So readers run side by side over this client, and their code stays the
    one that reads a single experiment. It takes no transactions.

    Args:
        client: Sends the pipelines; its owner closes it.

    Attributes:
        names: The names of the store's keys, for everything that uses this client.
        groups_at_once: About how many experiments one reading script may be asked.
        shares_trips: No, because this client gathers calls by itself.
        confirming_replicas: How many replicas have to confirm what is told as done; 0 asks none.
    """

    shares_trips: ClassVar[bool] = False
    _is_async_client: Literal[True] = True

    def __init__(self, client: ServerClient) -> None:
        self._event_dispatcher = client._event_dispatcher  # noqa: SLF001 - what the driver's commands need
        self.names = client.names
        self.groups_at_once = client.groups_at_once
        self.confirming_replicas = client.confirming_replicas
        self.in_a_row = client.in_a_row
        self.suspect = client.suspect
        self.reconnect = client.reconnect
        self.pipeline = client.pipeline
        self.servers = client.servers
        self.other_tags = client.other_tags
        self.aclose = client.aclose
        self._client = client
        self._asked: list[_Asked] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def execute_command(self, *words: Any, **options: Any) -> Any:
        """A command's answer; it is sent with all others that are asked before the loop turns."""
        loop = asyncio.get_running_loop()
        asked = _Asked(words, options, loop.create_future())
        if not self._asked:
            loop.call_soon(self._send)
        self._asked.append(asked)
        return await asked.answer

    def _send(self) -> None:
        asked, self._asked = self._asked, []
        sending = asyncio.create_task(self._answer(asked))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

        def left(_: asyncio.Future[Any]) -> None:
            if all(each.answer.done() for each in asked):
                sending.cancel()  # nobody waits any longer, perhaps because the server does not answer

        for each in asked:
            each.answer.add_done_callback(left)

    async def _answer(self, asked: Sequence[_Asked]) -> None:
        try:
            pipeline = self._client.pipeline(transaction=False)
            for each in asked:
                pipeline.execute_command(*each.words, **each.options)
            replies = await pipeline.execute(raise_on_error=False)
        except Exception as error:  # noqa: BLE001 - each caller handles it as the fault of its own call
            replies = [error] * len(asked)
        for each, reply in zip(asked, replies, strict=True):
            if each.answer.done():
                continue
            if isinstance(reply, Exception):
                each.answer.set_exception(reply)
            else:
                each.answer.set_result(reply)


StoreClient = ServerClient | GatheringClient
