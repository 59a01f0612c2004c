"""API keys in force: those of the configuration and those made since, without those revoked.

Every replica asks the store a few times a second whether a key was made or revoked, so a change takes effect
everywhere within `LLMPO_REFRESH_SECONDS`. Requests use what is known here; none waits for the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.access.kept_keys import KeptKeys
from gateway.config.access import LimitsSpec
from gateway.config.api_keys import HASH_PREFIX, KeyRole, hash_key, new_key
from gateway.config.configured_keys import ApiKey, limits_of
from gateway.errors import InvalidRequestError, UnknownKeyError
from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.store_history import Loss, StoreHistory
from gateway.running.logs import get_logger
from policy_store.api_keys import ApiKeyStore, KeyBook, KeyRecord
from policy_store.errors import KeyNameTakenError, StoreError, StoreUnavailableError

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
        store: The store in which keys are made and revoked.
        catalogue: Keys of the configuration, and limits of client keys that have none of their own. Without
            any key, every caller is admitted and no key can be made.
        use: Called with the keys in force whenever they change.
        history: Knows whether the store lost something.
        kept: The last known keys on disk.
        interval_seconds: Time between two checks of the store.
        clock: Unix seconds.
    """

    def __init__(
        self,
        store: ApiKeyStore,
        catalogue: CatalogueHolder,
        use: Callable[[Sequence[ApiKey]], None],
        *,
        history: StoreHistory,
        kept: KeptKeys,
        interval_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._holder = catalogue
        self._catalogue = catalogue.current
        self._use = use
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._history = history
        self._kept = kept
        self._book = KeyBook(-1, (), {})
        self._epoch = 0
        self._is_confirmed = False  # by the store, since the start
        self._revoked: dict[str, float] = {}
        self._unanswered: dict[str, tuple[str, KeyRecord]] = {}

    @property
    def in_force(self) -> tuple[ApiKey, ...]:
        """The keys that callers may use."""
        return tuple(key for key in self._known if key.hash not in self._revoked)

    @property
    def revoked(self) -> tuple[RevokedKey, ...]:
        """The keys that were revoked, as far as their names are known; the latest last."""
        known = [RevokedKey(key, self._revoked[key.hash]) for key in self._known if key.hash in self._revoked]
        return tuple(sorted(known, key=lambda each: each.at))

    @property
    def _known(self) -> tuple[ApiKey, ...]:
        """The keys of the configuration and those made since, revoked ones included."""
        made: list[ApiKey] = []
        for record in self._book.records:
            role: KeyRole = "admin" if record.role == "admin" else "client"
            own = LimitsSpec.model_validate(dict(record.limits))
            limits = limits_of(role, own, self._catalogue.default_limits)
            made.append(ApiKey(record.hash, record.name, role, limits, "store"))
        return (*self._catalogue.keys, *made)

    def start(self) -> None:
        """Use the keys that were kept on disk until the store answers."""
        kept = self._kept.read() if self._catalogue.keys else None
        if kept is not None:
            self._take(kept)

    async def run(self) -> None:
        """Follow the configuration and the store until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._interval_seconds)

    async def refresh(self) -> None:
        """Read both once. While the store does not answer, the last known keys stay in force."""
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
            role: The role of the key.
            limits: Its own limits.
            by: Name of the admin's key, for the log.

        Returns:
            The key itself, which is shown only now, and the record that is kept.

        Raises:
            KeyNameTakenError: If another key in force has the name.
            InvalidRequestError: If the gateway has no keys at all.
            StoreError: If it could not be stored.
        """
        self._check_not_open()
        secret, record = self._wanted(name, role, limits.model_dump(exclude_none=True), by)
        if any(key.name == name and key.hash != record.hash for key in self.in_force):
            raise KeyNameTakenError(f"Another key has the name {name!r}.")
        try:
            await self._store.add(record)
        except StoreUnavailableError:
            # The key may have been made; asking for it again gives the same key instead of refusing the name.
            self._unanswered[by] = (secret, record)
            raise
        self._unanswered.pop(by, None)
        await self._follow_after(lambda: self._take(self._book.with_record(record)))
        _log.info("api_key_made", name=name, role=role, by=by)
        return secret, self._named(name)

    def _wanted(self, name: str, role: KeyRole, limits: dict[str, int], by: str) -> tuple[str, KeyRecord]:
        """A new key, or the same key again if an identical request got no answer from the store."""
        secret, record = self._unanswered.get(by, ("", None))
        if record is not None and (record.name, record.role, record.limits) == (name, role, limits):
            return secret, record
        secret = new_key()
        digits = hash_key(secret).removeprefix(HASH_PREFIX)
        return secret, KeyRecord(digits, name, role, limits, self._clock())

    async def revoke(self, name: str, by: str) -> ApiKey:
        """Revoke a key for good: it is refused here at once, and on other replicas within a moment.

        Args:
            name: Its name.
            by: Name of the admin's key, which must be another one, so that one admin key always remains.

        Raises:
            UnknownKeyError: If no key in force has the name.
            InvalidRequestError: If it is the caller's own key.
            StoreRefusedError: If it was not recorded; the key is in force.
            StoreUnavailableError: If it is not known whether it was recorded; revoking again is safe.
        """
        self._check_not_open()
        earlier = [each.key for each in self.revoked if each.key.name == name]
        if earlier and all(key.name != name for key in self.in_force):
            await self._store.confirm()
            return earlier[-1]
        key = self._named(name)
        if key.name == by:
            raise InvalidRequestError(
                "A key cannot revoke itself. Use another admin key.", param="name", code="own_key"
            )
        at = await self._store.revoke(key.hash, key.name)
        self._revoked[key.hash] = at
        self._use(self.in_force)
        await self._follow_after(lambda: None)
        _log.warning("api_key_revoked", name=name, role=key.role, by=by)
        return key

    async def _follow_after(self, make_known: Callable[[], None]) -> None:
        """Follow a change that was recorded; if the store does not answer, apply it at least here."""
        try:
            await self._follow()
        except StoreError:
            make_known()

    async def _follow(self) -> None:
        """Use the keys in the store, unless some were lost: an operator has to accept that first."""
        is_accepted = self._epoch != self._history.epoch
        known = self._book.revision  # another task may follow a later change before this one has its answer
        revision = await self._store.revision()
        if revision < known and not is_accepted:
            self._history.hold(
                Loss.OLDER if revision else Loss.KEYS_GONE, epoch=self._history.epoch, of="API keys"
            )
            return
        if revision != self._book.revision or not self._is_confirmed:
            self._take(await self._store.book())
        self._is_confirmed, self._epoch = True, self._history.epoch
        self._kept.keep(self._book)

    def _take(self, book: KeyBook) -> None:
        self._book = book
        self._revoked.update(book.revoked)
        self._use(self.in_force)

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
