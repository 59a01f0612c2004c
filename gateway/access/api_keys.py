"""API keys in force: those of the configuration and those made since, but none that was revoked.

Every replica asks the store a few times a second whether a key was made or revoked, so either takes effect
everywhere within `LLMPO_REFRESH_SECONDS`. Requests look at what was last heard; none waits for the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from gateway.access.limits import KeyLimits
from gateway.config.access import AuthSpec, LimitsSpec
from gateway.config.api_keys import hash_key, new_key
from gateway.errors import InvalidRequestError, UnknownKeyError
from gateway.running.logs import get_logger
from policy_store.api_keys import KeyBook, KeyRecord
from policy_store.errors import KeyNameTakenError, StoreError

_log = get_logger(__name__)

_PREFIX: Final = "sha256:"
_SHOWN_DIGITS: Final = 12

Role = Literal["client", "admin"]
Source = Literal["configuration", "store"]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key, known by its hash.

    Attributes:
        hash: SHA-256 of the key, 64 hexadecimal digits.
        name: What logs and metrics call it; the start of the hash where nobody gave it a name.
        role: Admins may also see experiments, keys and which policy answered.
        limits: What it may use.
        source: Where it was made; the configuration includes the environment.
    """

    hash: str
    name: str
    role: Role
    limits: KeyLimits = field(default_factory=KeyLimits)
    source: Source = "configuration"


def unnamed_key(key_hash: str, role: Role, limits: KeyLimits | None = None) -> ApiKey:
    """The key behind `sha256:` and 64 hexadecimal digits."""
    digits = key_hash.removeprefix(_PREFIX)
    return ApiKey(digits, digits[:_SHOWN_DIGITS], role, limits or KeyLimits())


def configured_keys(
    auth: AuthSpec, client_hashes: Iterable[str] = (), admin_hashes: Iterable[str] = ()
) -> tuple[ApiKey, ...]:
    """The keys of the file and of the environment; a key listed as both is an admin's."""
    defaults = default_limits(auth)
    keys = [unnamed_key(each, "client", defaults) for each in (*auth.client_keys, *client_hashes)]
    keys += [
        ApiKey(key.hash.removeprefix(_PREFIX), name, key.role, limits_of(key.role, key.limits, defaults))
        for name, key in auth.keys.items()
    ]
    keys += [unnamed_key(each, "admin") for each in (*auth.admin_keys, *admin_hashes)]
    # A name says more than no name, and the later role more than the earlier one.
    by_hash: dict[str, ApiKey] = {}
    for key in keys:
        known = by_hash.get(key.hash)
        by_hash[key.hash] = key if known is None or key.role == "admin" != known.role else known
    return tuple(by_hash.values())


def default_limits(auth: AuthSpec) -> KeyLimits:
    """Limits of client keys that have none of their own."""
    return KeyLimits(**auth.limits.model_dump())


def limits_of(role: Role, own: LimitsSpec, defaults: KeyLimits) -> KeyLimits:
    """What a key may use: its own limits, a client's others from the defaults."""
    return (defaults if role == "client" else KeyLimits()).with_own(own.model_dump())


class KeyStore(Protocol):
    """What the registry needs of the store. Every method may raise StoreError."""

    async def revision(self) -> int:
        """A number that changes with any key."""
        ...

    async def book(self) -> KeyBook:
        """Everything the store says of keys."""
        ...

    async def add(self, record: KeyRecord) -> None:
        """Make a key known."""
        ...

    async def revoke(self, digits: str, name: str) -> float:
        """End a key for good."""
        ...


@dataclass(frozen=True, slots=True)
class RevokedKey:
    """A key that is no longer in force.

    Attributes:
        key: The key.
        at: When it was revoked, in Unix seconds.
    """

    key: ApiKey
    at: float


class KeyRegistry:
    """The keys in force in this process.

    Args:
        store: Where keys are made and revoked.
        configured: Keys of the configuration. Without any, everyone may call and no key can be made.
        defaults: Limits of client keys that have none of their own.
        use: Told the keys in force whenever they change.
        interval_seconds: Time between two looks at the store.
        clock: Unix seconds.
    """

    def __init__(
        self,
        store: KeyStore,
        configured: Sequence[ApiKey],
        defaults: KeyLimits,
        use: Callable[[Sequence[ApiKey]], None],
        *,
        interval_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._configured = tuple(configured)
        self._defaults = defaults
        self._use = use
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._revision = -1
        self._made: tuple[ApiKey, ...] = ()
        self._revoked: dict[str, float] = {}

    @property
    def in_force(self) -> tuple[ApiKey, ...]:
        """The keys callers may use."""
        return tuple(key for key in (*self._configured, *self._made) if key.hash not in self._revoked)

    @property
    def revoked(self) -> tuple[RevokedKey, ...]:
        """The keys that were revoked, as far as anybody knows their names; the latest last."""
        known = [
            RevokedKey(key, self._revoked[key.hash])
            for key in (*self._configured, *self._made)
            if key.hash in self._revoked
        ]
        return tuple(sorted(known, key=lambda each: each.at))

    async def run(self) -> None:
        """Follow the store until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._interval_seconds)

    async def refresh(self) -> None:
        """Look at the store once; while it does not answer, the keys last heard of stay in force."""
        if not self._configured:
            return
        try:
            await self._follow()
        except StoreError:
            return  # said once by whoever watches the store's health

    async def create(self, name: str, role: Role, limits: LimitsSpec, by: str) -> tuple[str, ApiKey]:
        """Make a key; it works here at once, on other replicas within a moment.

        Args:
            name: Its name.
            role: What it may do.
            limits: Its own limits.
            by: Name of the admin's key, for the log.

        Returns:
            The key itself, which nobody can learn again, and what is kept of it.

        Raises:
            KeyNameTakenError: If another key in force has the name.
            InvalidRequestError: If the gateway has no keys at all.
            StoreError: If it could not be kept.
        """
        self._check_not_open()
        if any(key.name == name for key in self.in_force):
            raise KeyNameTakenError(f"Another key has the name {name!r}.")
        secret = new_key()
        digits = hash_key(secret).removeprefix(_PREFIX)
        given = limits.model_dump(exclude_none=True)
        await self._store.add(KeyRecord(digits, name, role, given, self._clock()))
        await self._follow()
        _log.info("API key made", name=name, role=role, by=by)
        return secret, self._named(name)

    async def revoke(self, name: str, by: str) -> ApiKey:
        """End a key for good; refused here at once, on other replicas within a moment.

        Args:
            name: Its name.
            by: Name of the admin's key, which must be another one: so one admin key always remains.

        Raises:
            UnknownKeyError: If no key in force has the name.
            InvalidRequestError: If it is the caller's own.
            StoreError: If it could not be recorded; the key is in force.
        """
        self._check_not_open()
        key = self._named(name)
        if key.name == by:
            raise InvalidRequestError(
                "A key cannot revoke itself. Use another admin key.", param="name", code="own_key"
            )
        await self._store.revoke(key.hash, key.name)
        await self._follow()
        _log.warning("API key revoked", name=name, role=key.role, by=by)
        return key

    async def _follow(self) -> None:
        if await self._store.revision() == self._revision:
            return
        book = await self._store.book()
        if book.revision < self._revision:
            _log.error("the store lost its API keys; what was revoked before stays revoked here")
        self._revision = book.revision
        self._made = tuple(self._read(record) for record in book.records)
        self._revoked.update(book.revoked)
        self._use(self.in_force)

    def _read(self, record: KeyRecord) -> ApiKey:
        own = LimitsSpec.model_validate(dict(record.limits))
        limits = limits_of(record.role, own, self._defaults)
        return ApiKey(record.hash, record.name, record.role, limits, "store")

    def _named(self, name: str) -> ApiKey:
        for key in self.in_force:
            if key.name == name:
                return key
        names = ", ".join(key.name for key in self.in_force)
        raise UnknownKeyError(
            f"There is no key {name!r}. In force: {names}.", param="name", code="unknown_key"
        )

    def _check_not_open(self) -> None:
        if not self._configured:
            raise InvalidRequestError(
                "This gateway asks for no keys. Configure an admin key first: `llmpo keys new` makes one.",
                code="no_keys_configured",
            )
