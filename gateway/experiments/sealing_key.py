"""The keys that seal response ids and hide session names: the operator's secrets, or the store's key.

Every replica must have the same keys. The objects that seal and open read the holder at each use, so one
assignment puts a key into effect that is rotated or becomes known late. Until the store has answered once
and given its key, a key of this process stands in. No experiment can draw a comparison in that time, so
feedback never uses an id that was sealed with it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class SealingKeys:
    """The keys in force, each of 32 bytes.

    Attributes:
        newest: The key that seals ids and names sessions.
        older: Former keys, which still open the ids they sealed and find the sessions they named. A leaked
            key must not be among them.

    Raises:
        ValueError: If a key has another length.
    """

    newest: bytes
    older: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if any(len(key) != KEY_BYTES for key in self.all):
            msg = f"sealing keys must be {KEY_BYTES} bytes each"
            raise ValueError(msg)

    @property
    def all(self) -> tuple[bytes, ...]:
        """Every key, the newest first."""
        return (self.newest, *self.older)


class SealingKeyHolder:
    """The one place the sealing keys are swapped.

    Attributes:
        current: The keys in force.
        is_stand_in: Whether the newest is a key of this process, because the store has not given its own yet.
    """

    __slots__ = ("current", "is_stand_in")

    def __init__(self, current: SealingKeys, *, is_stand_in: bool = False) -> None:
        self.current = current
        self.is_stand_in = is_stand_in


def key_from_secret(secret: str) -> bytes:
    """The key derived from an operator's secret."""
    return blake2b(secret.encode(), digest_size=KEY_BYTES, person=b"llmpo token key").digest()


def stand_in_key() -> bytes:
    """A new key, which no other process has."""
    return secrets.token_bytes(KEY_BYTES)
