"""Who is calling: API keys, known to the gateway only by their SHA-256."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Final, Literal

from gateway.errors import AuthenticationError, PermissionDeniedError

_HASH_PREFIX: Final = "sha256:"
_SHOWN_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who may call.

    Attributes:
        role: Admins may also see experiments and which policy answered.
        id: Start of the key's hash, for logs; `open` where no keys are configured.
    """

    role: Literal["client", "admin"]
    id: str

    @property
    def is_admin(self) -> bool:
        """Whether the caller may see what clients must not."""
        return self.role == "admin"


_OPEN: Final = Caller("admin", "open")


class Authenticator:
    """Tells callers apart by their bearer token.

    With no keys at all everyone is an admin; the server then listens on loopback only. With only admin keys,
    nobody else may call.

    Args:
        client_keys: `sha256:` and 64 hexadecimal digits each.
        admin_keys: The same; a key in both lists is an admin's.
    """

    def __init__(self, client_keys: Iterable[str], admin_keys: Iterable[str]) -> None:
        # Looking a digest up under a secret of this process takes the same time for every wrong key, as far
        # as anybody outside can tell, and for any number of keys.
        self._secret = os.urandom(32)
        self._callers: dict[bytes, Caller] = {}
        for key_hash in client_keys:
            self._add(key_hash, "client")
        for key_hash in admin_keys:
            self._add(key_hash, "admin")

    @property
    def is_open(self) -> bool:
        """Whether no key is configured, so that anyone who can connect may do everything."""
        return not self._callers

    def authenticate(self, authorization: bytes | None) -> Caller:
        """The caller behind an `Authorization` header.

        Raises:
            AuthenticationError: If keys are configured and the header carries none of them.
        """
        if not self._callers:
            return _OPEN
        scheme, _, key = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not key:
            raise AuthenticationError("No API key was sent. Send one as `Authorization: Bearer KEY`.")
        caller = self._callers.get(self._blinded(sha256(key.strip()).digest()))
        if caller is None:
            raise AuthenticationError("The API key is not valid.")
        return caller

    def require_admin(self, authorization: bytes | None) -> Caller:
        """The same, for admins only.

        Raises:
            AuthenticationError: As in `authenticate`.
            PermissionDeniedError: If the key is a client's.
        """
        caller = self.authenticate(authorization)
        if not caller.is_admin:
            raise PermissionDeniedError("This needs an admin key.")
        return caller

    def _add(self, key_hash: str, role: Literal["client", "admin"]) -> None:
        digits = key_hash.removeprefix(_HASH_PREFIX)
        self._callers[self._blinded(bytes.fromhex(digits))] = Caller(role, digits[:_SHOWN_DIGITS])

    def _blinded(self, digest: bytes) -> bytes:
        return blake2b(digest, digest_size=32, key=self._secret).digest()
