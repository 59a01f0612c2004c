"""Where commands find a gateway's store: the options that name it, and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.errors import GatewayError
from gateway.settings import read_settings
from policy_store.clients import StoreClient
from policy_store.connect import EmbeddedValkey, connect
from policy_store.data_directory import prepare
from policy_store.errors import DataDirectoryInUseError
from policy_store.layout import LayoutKeeper
from policy_store.scripting import answered_within

PATIENCE_SECONDS: Final = 60.0

RedisUrlOption = Annotated[
    str | None, typer.Option(help="Address of the Redis or Valkey [default: LLMPO_REDIS_URL].")
]
RedisPrefixOption = Annotated[
    str | None,
    typer.Option(help="Prefix of the gateway's key names there [default: LLMPO_REDIS_PREFIX]."),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        help="Data directory of the embedded store, whose gateway may be running [default: LLMPO_DATA_DIR]."
    ),
]


@asynccontextmanager
async def opened_store(
    redis_url: str | None, redis_prefix: str | None, data_dir: Path | None, *, may_be_unused: bool = False
) -> AsyncIterator[StoreClient]:
    """A client of the store that the options name, or else the gateway's settings.

    Args:
        redis_url: Its address.
        redis_prefix: The prefix of its keys.
        data_dir: Data directory of the embedded store.
        may_be_unused: Whether it may be a store that no gateway has used yet.

    Raises:
        BadParameter: Two places are named, or one that cannot be.
        EmbeddedStoreError: The embedded store cannot be started.
        StoreUnavailableError: The store does not answer.
        NewerVersionError: A newer version wrote its data.
        GatewayError: No gateway has used it, with this prefix.
    """
    if redis_url is not None and data_dir is not None:
        raise typer.BadParameter("Name one place: --redis-url or --data-dir.")
    settings = read_settings()
    prefix = settings.redis_prefix if redis_prefix is None else redis_prefix
    if data_dir is None and redis_url is None:
        redis_url, data_dir = settings.redis_url, settings.data_dir
    server = EmbeddedValkey()
    try:
        url = redis_url or _embedded(server, data_dir or settings.data_dir)
        try:
            redis = connect(
                url,
                prefix=prefix,
                timeout_seconds=PATIENCE_SECONDS,
                confirming_replicas=settings.store_confirming_replicas if redis_url else 0,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--redis-url") from error
        try:
            await LayoutKeeper(redis, timeout_seconds=PATIENCE_SECONDS).read()
            if not may_be_unused:
                await _check_used(redis, prefix)
            yield redis
        finally:
            await redis.aclose()
    finally:
        server.stop()


async def _check_used(redis: StoreClient, prefix: str) -> None:
    async with answered_within(redis, PATIENCE_SECONDS):
        is_used = await redis.exists(redis.names.identity) or await redis.exists(redis.names.experiments)
    if not is_used:
        keys = f"keys with the prefix {prefix!r}" if prefix else "keys without a prefix"
        raise GatewayError(
            f"The store has no {keys} of a gateway. Check the address, its database and --redis-prefix."
        )


def _embedded(server: EmbeddedValkey, data_dir: Path) -> str:
    """The address of the embedded store, which is started unless a gateway runs it."""
    if not data_dir.is_dir():
        raise typer.BadParameter(f"{data_dir} is no directory.", param_hint="--data-dir")
    try:
        return server.start(data_dir)
    except DataDirectoryInUseError:
        return prepare(data_dir).url
