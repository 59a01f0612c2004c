"""The keys that seal response ids and hide session names: the operator's secrets, or one the store keeps.

Every replica must have the same ones. The objects that seal and open read the holder at each use, so a key
that becomes known late, or is rotated, is one assignment. While a store that never answered withholds its
key, a key of this process stands in: no experiment can draw a comparison then, so feedback never quotes an
id that was sealed with it.
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
        older: Former keys, which still open what they sealed and find the sessions they named. Leave a leaked
            key out.

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
        is_stand_in: Whether the newest is a key of this process, until the store gives its own.
    """

    __slots__ = ("current", "is_stand_in")

    def __init__(self, current: SealingKeys, *, is_stand_in: bool = False) -> None:
        self.current = current
        self.is_stand_in = is_stand_in


def key_from_secret(secret: str) -> bytes:
    """The key an operator's secret stands for."""
    return blake2b(secret.encode(), digest_size=KEY_BYTES, person=b"llmpo token key").digest()


def stand_in_key() -> bytes:
    """A key that no other process has."""
    return secrets.token_bytes(KEY_BYTES)
