"""What a store holds, whatever it is, to look for what must not be there."""

from __future__ import annotations

from typing import Any

from policy_store.connect import connect


async def everything(url: str) -> dict[bytes, bytes]:
    """Every key of the store with all it holds, as bytes."""
    redis = connect(url)
    try:
        keys = await redis.keys("*")
        return {str(key).encode(): repr(await _content(redis, key)).encode() for key in keys}
    finally:
        await redis.aclose()


async def _content(redis: Any, key: str) -> Any:
    reads = {
        "string": lambda: redis.get(key),
        "hash": lambda: redis.hgetall(key),
        "list": lambda: redis.lrange(key, 0, -1),
        "set": lambda: redis.smembers(key),
        "zset": lambda: redis.zrange(key, 0, -1),
        "stream": lambda: redis.xrange(key),
    }
    kind = await redis.type(key)
    return None if kind == "none" else await reads[kind]()  # it may have expired meanwhile
