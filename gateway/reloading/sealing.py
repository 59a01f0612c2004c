"""The keys that seal response ids: the operator's secrets, read again at reloads, or the store's key."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Protocol

from gateway.experiments.sealing_key import SealingKeyHolder, SealingKeys, key_from_secret, stand_in_key
from gateway.settings import Settings
from policy_store.errors import StoreError

KEY_RETRY_SECONDS: Final = 0.5


class KeyGiver(Protocol):
    """Keeps a key for gateways whose operator sets no secret."""

    async def token_key(self) -> bytes:
        """The key."""
        ...


class Sealing:
    """Knows the sealing keys of this replica.

    Args:
        store: Keeps a key if the operator sets no secret.
        settings: The operator's secrets.

    Attributes:
        holder: Holds the keys; a stand-in is the newest until the store gives its own.
    """

    def __init__(self, store: KeyGiver, settings: Settings) -> None:
        newest, older = _secrets(settings)
        self._is_the_operators = newest is not None
        self.holder = SealingKeyHolder(
            SealingKeys(newest or stand_in_key(), older), is_stand_in=newest is None
        )
        self._store = store

    async def open(self) -> None:
        """Ask the store for its key once, if one is needed."""
        if self.holder.is_stand_in:
            with suppress(StoreError):
                newest = await self._store.token_key()
                self.holder.current = SealingKeys(newest, self.holder.current.older)
                self.holder.is_stand_in = False

    async def run(self) -> None:
        """Ask until the store gives its key."""
        while self.holder.is_stand_in:
            await asyncio.sleep(KEY_RETRY_SECONDS)
            await self.open()

    def follow(self, settings: Settings) -> None:
        """Seal with the operator's present secrets. From a secret to none, or back, needs a restart."""
        newest, older = _secrets(settings)
        if self._is_the_operators == (newest is not None):
            self.holder.current = SealingKeys(newest or self.holder.current.newest, older)


def _secrets(settings: Settings) -> tuple[bytes | None, tuple[bytes, ...]]:
    """The key of the secret, if there is one, and that of the previous secret."""
    secret, previous = settings.token_secret, settings.previous_token_secret
    newest = None if secret is None else key_from_secret(secret.get_secret_value())
    older = () if previous is None else (key_from_secret(previous.get_secret_value()),)
    return newest, older
