"""The key that seals response ids and hides session names: the operator's secret, or one the store keeps.

Every replica must have the same one. While a store that never answered withholds it, a key of this process
stands in: no experiment can draw a comparison then, so nothing sealed with it will ever be asked for.
"""

from __future__ import annotations

import secrets
from hashlib import blake2b
from typing import Protocol

KEY_BYTES = 32


class KeyStore(Protocol):
    """What the key needs of the store."""

    async def token_key(self) -> bytes:
        """32 bytes, the same for every replica."""
        ...


def key_from_secret(secret: str) -> bytes:
    """The key an operator's secret stands for."""
    return blake2b(secret.encode(), digest_size=KEY_BYTES, person=b"llmpo token key").digest()


def stand_in_key() -> bytes:
    """A key nobody else has."""
    return secrets.token_bytes(KEY_BYTES)
