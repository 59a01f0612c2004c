"""What the store is asked through."""

from __future__ import annotations

from redis.asyncio import BlockingConnectionPool, Redis

from policy_store.names import Names


class StoreClient(Redis):
    """One server.

    Attributes:
        names: The names of the keys that all who ask through this client use.
    """

    def __init__(self, pool: BlockingConnectionPool, names: Names) -> None:
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self.names = names
