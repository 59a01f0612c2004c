"""API keys in force: those of the configuration and those made since, without those revoked.

Every replica asks the store a few times a second whether a key was made or revoked, so either takes effect
everywhere within `LLMPO_REFRESH_SECONDS`. Requests use what is known here; none waits for the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.config.access import LimitsSpec
from gateway.config.api_keys import HASH_PREFIX, KeyRole, hash_key, new_key
from gateway.config.configured_keys import ApiKey, limits_of
from gateway.errors import InvalidRequestError, UnknownKeyError
from gateway.experiments.catalogue import CatalogueHolder
from gateway.running.logs import get_logger
from policy_store.api_keys import ApiKeyStore, KeyRecord
from policy_store.errors import KeyNameTakenError, StoreError

_log = get_logger(__name__)


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
        catalogue: Keys of the configuration, and limits of client keys that have none of their own. Without
            any key, every caller is admitted and no key can be made.
        use: Called with the keys in force whenever they change.
        interval_seconds: Time between two looks at the store.
        clock: Unix seconds.
    """

    def __init__(
        self,
        store: ApiKeyStore,
        catalogue: CatalogueHolder,
        use: Callable[[Sequence[ApiKey]], None],
        *,
        interval_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._holder = catalogue
        self._catalogue = catalogue.current
        self._use = use
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._revision = -1
        self._records: tuple[KeyRecord, ...] = ()
        self._revoked: dict[str, float] = {}

    @property
    def in_force(self) -> tuple[ApiKey, ...]:
        """The keys callers may use."""
        return tuple(key for key in self._known if key.hash not in self._revoked)

    @property
    def revoked(self) -> tuple[RevokedKey, ...]:
        """The keys that were revoked, as far as their names are known; the latest last."""
        known = [RevokedKey(key, self._revoked[key.hash]) for key in self._known if key.hash in self._revoked]
        return tuple(sorted(known, key=lambda each: each.at))

    @property
    def _known(self) -> tuple[ApiKey, ...]:
        """The keys of the configuration and those made since, revoked ones included."""
        return (*self._catalogue.keys, *map(self._read, self._records))

    async def run(self) -> None:
        """Follow the configuration and the store until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._interval_seconds)

    async def refresh(self) -> None:
        """Look at both once. While the store does not answer, the keys known last stay in force."""
        if self._catalogue is not self._holder.current:
            self._catalogue = self._holder.current
            self._use(self.in_force)
        if not self._catalogue.keys:
            return
        try:
            await self._follow()
        except StoreError:
            return  # the refresher reports the store's health

    async def create(self, name: str, role: KeyRole, limits: LimitsSpec, by: str) -> tuple[str, ApiKey]:
        """Make a key, which works here at once and on other replicas within a moment.

        Args:
            name: Its name.
            role: What it may do.
            limits: Its own limits.
            by: Name of the admin's key, for the log.

        Returns:
            The key itself, which is shown only now, and what is kept of it.

        Raises:
            KeyNameTakenError: If another key in force has the name.
            InvalidRequestError: If the gateway has no keys at all.
            StoreError: If it could not be kept.
        """
        self._check_not_open()
        if any(key.name == name for key in self.in_force):
            raise KeyNameTakenError(f"Another key has the name {name!r}.")
        secret = new_key()
        digits = hash_key(secret).removeprefix(HASH_PREFIX)
        given = limits.model_dump(exclude_none=True)
        await self._store.add(KeyRecord(digits, name, role, given, self._clock()))
        await self._follow()
        _log.info("api_key_made", name=name, role=role, by=by)
        return secret, self._named(name)

    async def revoke(self, name: str, by: str) -> ApiKey:
        """Revoke a key for good: it is refused here at once, and on other replicas within a moment.

        Args:
            name: Its name.
            by: Name of the admin's key, which must be another one, so that one admin key always remains.

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
        _log.warning("api_key_revoked", name=name, role=key.role, by=by)
        return key

    async def _follow(self) -> None:
        if await self._store.revision() == self._revision:
            return
        book = await self._store.book()
        if book.revision < self._revision:
            _log.error("store_lost_api_keys", revoked="stays revoked on this replica")
        self._revision = book.revision
        self._records = book.records
        self._revoked.update(book.revoked)
        self._use(self.in_force)

    def _read(self, record: KeyRecord) -> ApiKey:
        role: KeyRole = "admin" if record.role == "admin" else "client"
        own = LimitsSpec.model_validate(dict(record.limits))
        return ApiKey(
            record.hash, record.name, role, limits_of(role, own, self._catalogue.default_limits), "store"
        )

    def _named(self, name: str) -> ApiKey:
        for key in self.in_force:
            if key.name == name:
                return key
        names = ", ".join(key.name for key in self.in_force)
        raise UnknownKeyError(
            f"There is no key {name!r}. In force: {names}.", param="name", code="unknown_key"
        )

    def _check_not_open(self) -> None:
        if not self._catalogue.keys:
            raise InvalidRequestError(
                "This gateway asks for no keys. Configure an admin key first: `llmpo keys new` makes one.",
                code="no_keys_configured",
            )
