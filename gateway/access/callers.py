"""The callers, told apart by API keys that the gateway knows only by their SHA-256."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from hmac import compare_digest
from typing import Final

from gateway.access.failed_attempts import FailedAttempts
from gateway.config.api_keys import KeyRole
from gateway.config.configured_keys import ApiKey, KeyLimits
from gateway.errors import AuthenticationError, PermissionDeniedError, RateLimitedError
from gateway.instrumentation.records import NO_KEY, FailureReason

_INDEX_BYTES: Final = 8
_REFUSALS: Final[Mapping[FailureReason, str]] = {
    "missing": "No API key was sent. Send one as `Authorization: Bearer KEY`.",
    "unknown": "The API key is not valid.",
}


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller that is allowed.

    Attributes:
        role: Admins may also see experiments and which policy answered.
        name: Name of the key, for logs, metrics and limits; `open` where no keys are configured.
        limits: What the key may use.
        is_limited: Whether the key has a limit.
    """

    role: KeyRole
    name: str
    limits: KeyLimits = field(default_factory=KeyLimits)
    is_limited: bool = False

    @property
    def is_admin(self) -> bool:
        """Whether the caller has an admin key."""
        return self.role == "admin"

    def require_admin(self) -> None:
        """Raise PermissionDeniedError for any other caller."""
        if not self.is_admin:
            raise PermissionDeniedError("This needs an admin key.")

    @property
    def key(self) -> str | None:
        """Name of the key; None if no keys are configured, so that callers cannot be told apart."""
        return None if self is _OPEN else self.name


_OPEN: Final = Caller("admin", NO_KEY)


class Authenticator:
    """Tells callers apart by their bearer token.

    If no keys are configured, every caller is an admin, and the server listens on loopback only. If there
    are only admin keys, only admins may call.

    Args:
        keys: The keys in force at the start. Once there has been a key, every caller must send one.
        failures: Notes failures; None for no notes.
    """

    def __init__(self, keys: Iterable[ApiKey], failures: FailedAttempts | None = None) -> None:
        self._failures = failures
        # Keys are looked up by their digest under a secret of this process, so the time this takes does not
        # reveal how much of a guess was right. The key found is compared in constant time.
        self._secret = os.urandom(32)
        self._callers: dict[bytes, tuple[bytes, Caller]] = {}
        self.is_open = True
        self.client_keys = 0
        self.use(keys)

    def has_several_clients(self) -> bool:
        """Whether there are client keys to tell apart."""
        return self.client_keys > 1

    def use(self, keys: Iterable[ApiKey]) -> None:
        """Let exactly these keys call from now on."""
        callers: dict[bytes, tuple[bytes, Caller]] = {}
        for key in keys:
            blinded = self._blinded(bytes.fromhex(key.hash))
            caller = Caller(key.role, key.name, key.limits, bool(key.limits))
            callers[blinded[:_INDEX_BYTES]] = blinded, caller
        self._callers = callers
        self.client_keys = sum(caller.role == "client" for _, caller in callers.values())
        self.is_open = self.is_open and not callers

    def authenticate(self, authorization: bytes | None, address: str = "") -> Caller:
        """The caller behind an `Authorization` header.

        Args:
            authorization: The header.
            address: Where the request comes from.

        Raises:
            AuthenticationError: If keys are configured and the header carries none of them.
            RateLimitedError: If that happened too often from this address. A valid key always passes.
        """
        if self.is_open:
            return _OPEN
        scheme, _, key = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not key:
            raise self._refusal("missing", address)
        blinded = self._blinded(sha256(key.strip()).digest())
        found = self._callers.get(blinded[:_INDEX_BYTES])
        if found is None or not compare_digest(found[0], blinded):
            raise self._refusal("unknown", address)
        return found[1]

    def _refusal(self, reason: FailureReason, address: str) -> AuthenticationError | RateLimitedError:
        error = AuthenticationError(_REFUSALS[reason])
        return error if self._failures is None else self._failures.refusal(address, reason, error)

    def _blinded(self, digest: bytes) -> bytes:
        return blake2b(digest, digest_size=32, key=self._secret).digest()
