"""API keys and their limits."""

from __future__ import annotations

from gateway.access.api_keys import KeyRegistry
from gateway.access.callers import Authenticator
from gateway.access.failed_attempts import FailedAttempts
from gateway.access.kept_keys import KeptKeys
from gateway.access.limiting import Limiter
from gateway.assembly.foundation import Foundation
from gateway.running.kept_file import KeptFile
from policy_store.api_keys import ApiKeyStore
from policy_store.limits import LimitStore


async def open_keys(base: Foundation, kept: KeptFile) -> tuple[Authenticator, KeyRegistry]:
    """The keys that may call, kept up to date from now on; `kept` holds them while the store is away."""
    authenticator = Authenticator(base.catalogue.current.keys, FailedAttempts(base.hooks))
    registry = KeyRegistry(
        base.store_part(ApiKeyStore),
        base.catalogue,
        authenticator.use,
        history=base.history,
        kept=KeptKeys(kept, base.settings.kept_keys_seconds, base.clock),
        interval_seconds=base.settings.refresh_seconds,
        clock=base.clock,
    )
    registry.start()
    await registry.refresh()
    await base.run("API keys", registry.run)
    return authenticator, registry


def open_limiter(base: Foundation) -> Limiter:
    """What admits requests of keys with limits."""
    limits = LimitStore(base.redis, timeout_seconds=base.settings.limits_timeout_seconds)
    limiter = Limiter(limits, base.process, base.hooks, base.breaker)
    base.resources.push_async_callback(limiter.aclose)
    return limiter
