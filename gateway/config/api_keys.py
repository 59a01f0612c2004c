"""API keys of the gateway itself: made once, shown once, kept only as hashes.

A plain SHA-256 is enough because the keys are 256 random bits: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final, Literal

KEY_PREFIX: Final = "llmpo-"
HASH_PREFIX: Final = "sha256:"

KeyRole = Literal["client", "admin"]


def new_key() -> str:
    """A fresh API key of 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def hash_key(key: str) -> str:
    """What the configuration keeps of a key: `sha256:` and 64 hex digits."""
    return HASH_PREFIX + hashlib.sha256(key.encode()).hexdigest()
