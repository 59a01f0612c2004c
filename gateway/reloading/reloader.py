"""Puts another configuration into force while requests run, or reports all its faults and changes nothing.

The catalogue is swapped whole. Running requests and streams end with the configuration they began with,
because they hold a snapshot and its targets. Everything that depends on the catalogue is notified of the new
one, in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.errors import ConfigError, ConfigIssue
from gateway.experiments.catalogue import Catalogue, CatalogueHolder, catalogue_of
from gateway.experiments.changes import Change, changes_between, changes_document
from gateway.experiments.standing import ExperimentStanding
from gateway.reloading.source import Loaded, ReadFrom
from gateway.running.logs import get_logger
from gateway.settings import PREFIX, Settings
from gateway.upstream.base import ModelTarget

_log = get_logger(__name__)

# Settings that a reload follows; all others need a restart.
FOLLOWED: Final = frozenset({"admin_keys", "client_keys", "previous_token_secret", "token_secret"})

FollowUp = Callable[[Settings], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The result of a reload.

    Attributes:
        config_hash: Hash of the configuration in force now.
        changes: The changed parts of the file.
        rotated: Models and webhooks whose secrets, or other parts that are not shown, changed.
        settings: Variables whose new values are in effect now.
        needs_restart: Variables whose new values take effect only when the process is started again.
    """

    config_hash: str
    changes: tuple[Change, ...]
    rotated: tuple[str, ...]
    settings: tuple[str, ...]
    needs_restart: tuple[str, ...]

    @property
    def has_changed(self) -> bool:
        """Whether anything changed."""
        return bool(self.changes or self.rotated or self.settings)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "config_hash": self.config_hash,
            "changed": self.has_changed,
            **changes_document(self.changes),
            "rotated": list(self.rotated),
            "settings": list(self.settings),
            "needs_restart": list(self.needs_restart),
        }


class Reloader:
    """Reads the configuration again and puts it into force.

    Args:
        origin: The source of the configuration, and how this process was started.
        catalogue: Holds the configuration in force.

    Attributes:
        faults: Faults of the configuration that was read last; empty if it is in force.
        rouse_siblings: Makes the other processes behind the port reload, without the store's help.
    """

    def __init__(self, origin: ReadFrom, catalogue: CatalogueHolder) -> None:
        self.faults: Sequence[ConfigIssue] = ()
        self.rouse_siblings = origin.rouse
        self._source = origin.source
        self._started_with = self._settings = origin.settings
        self._holder = catalogue
        self._follow: FollowUp | None = None
        self._reloading = asyncio.Lock()
        self._asked = asyncio.Event()

    def tell(self, follow: FollowUp) -> None:
        """Register a function to call after each new configuration is in its holder."""
        self._follow = follow

    def ask(self) -> None:
        """Ask for a reload soon; for signal handlers."""
        self._asked.set()

    async def follow_signals(self) -> None:
        """Reload on request until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.try_to_reload("signal")

    async def watch(self, interval_seconds: float) -> None:
        """Reload whenever a file has changed and then stayed the same for one interval, until cancelled."""
        before = None
        while True:
            await asyncio.sleep(interval_seconds)
            now = await asyncio.to_thread(self._source.change)
            if now is not None and now == before:
                await self.try_to_reload("file")
            before = now

    async def catch_up(self) -> None:
        """Reload if a file has changed since it was read."""
        if self._source.change() is not None:
            await self.try_to_reload("file")

    async def try_to_reload(self, by: str) -> None:
        """Reload; faults of the configuration go to the log."""
        with suppress(ConfigError):
            await self.reload(by)

    async def reload(self, by: str, standings: Mapping[str, ExperimentStanding] | None = None) -> Reloaded:
        """Read the configuration and put it into force.

        Args:
            by: Who or what asked for it, for the log.
            standings: Where experiments stand, as far as that is known, to say what becomes of them.

        Raises:
            ConfigError: With every fault; nothing was changed.
        """
        async with self._reloading:
            try:
                loaded, catalogue = await asyncio.to_thread(self._read)
            except ConfigError as error:
                self.faults = tuple(error.issues)
                _log.error("config_not_reloaded", by=by, faults=[str(issue) for issue in error.issues])
                raise
            reloaded = self._compared(loaded, catalogue, standings or {})
            self._holder.current, self._settings = catalogue, loaded.settings
            self.faults = ()
            if self._follow is not None:
                await self._follow(loaded.settings)
            _tell(reloaded, by)
            return reloaded

    def _read(self) -> tuple[Loaded, Catalogue]:
        loaded = self._source.read()
        before = self._holder.current
        catalogue = catalogue_of(loaded.config, loaded.settings, loaded.environ)
        if before.keys and not catalogue.keys:
            remedy = "Keep an admin key, or start the gateway again."
            raise ConfigError([ConfigIssue("auth", "A running gateway cannot stop asking for keys.", remedy)])
        return loaded, _Exchange(before, catalogue).with_what_stays()

    def _compared(
        self, loaded: Loaded, catalogue: Catalogue, standings: Mapping[str, ExperimentStanding]
    ) -> Reloaded:
        before, changed = self._holder.current, set(_different(self._settings, loaded.settings))
        restart = set(_different(self._started_with, loaded.settings)) - FOLLOWED
        if (self._started_with.token_secret is None) != (loaded.settings.token_secret is None):
            # changing between the store's key and the operator's is not possible at run time
            restart.add("token_secret")
        return Reloaded(
            config_hash=catalogue.config_hash,
            changes=changes_between(before.description, catalogue.description, standings),
            rotated=tuple(_Exchange(before, catalogue).rotated()),
            settings=tuple(_variables(changed & FOLLOWED - restart)),
            needs_restart=tuple(_variables(restart)),
        )


@dataclass(frozen=True, slots=True)
class _Exchange:
    """A catalogue and the one that replaces it.

    Attributes:
        before: The catalogue in force.
        after: The other one.
    """

    before: Catalogue
    after: Catalogue

    def with_what_stays(self) -> Catalogue:
        """The new catalogue with the old objects for unchanged parts, which are then not registered again."""
        targets = self.targets()
        if self.before.policies_shown != self.after.policies_shown:
            return replace(self.after, models=targets)
        definitions = dict(self.after.definitions)
        for name, definition in self.after.definitions.items():
            earlier = self.before.definitions.get(name)
            if earlier is not None and (earlier.experiment, earlier.spec) == (
                definition.experiment,
                definition.spec,
            ):
                definitions[name] = earlier
        return replace(self.after, models=targets, definitions=definitions)

    def targets(self) -> dict[str, ModelTarget]:
        """The new models, with the old object for each that is unchanged."""
        before, after = self.before.models, self.after.models
        made: dict[str, ModelTarget] = {}

        def target(name: str) -> ModelTarget:
            if name not in made:
                found, earlier = after[name], before.get(name)
                fallbacks = tuple(target(other.name) for other in found.fallbacks)
                made[name] = earlier if earlier == found else replace(found, fallbacks=fallbacks)
            return made[name]

        return {name: target(name) for name in after}

    def rotated(self) -> Iterator[str]:
        """Models and webhooks that changed although their descriptions are the same."""
        said, told = self.before.description, self.after.description
        for name, target in self.after.models.items():
            if said.models.get(name) != told.models[name]:
                continue
            if replace(self.before.models[name], fallbacks=()) != replace(target, fallbacks=()):
                yield name
        for name, webhook in self.after.webhooks.items():
            is_said_alike = said.webhooks.get(name) == told.webhooks[name]
            if is_said_alike and self.before.webhooks[name] != webhook:
                yield name


def _different(one: Settings, other: Settings) -> Iterator[str]:
    return (name for name in Settings.model_fields if getattr(one, name) != getattr(other, name))


def _variables(names: set[str]) -> list[str]:
    return [PREFIX + name.upper() for name in sorted(names)]


def _tell(reloaded: Reloaded, by: str) -> None:
    if reloaded.needs_restart:
        _log.warning("config_needs_restart", settings=reloaded.needs_restart)
    if not reloaded.has_changed:
        _log.info("config_unchanged", by=by, hash=reloaded.config_hash)
        return
    changed = [
        f"{change.kind} {change.name}" + (f" ({change.evidence})" if change.evidence else "")
        for change in reloaded.changes
    ]
    _log.info(
        "config_reloaded",
        by=by,
        hash=reloaded.config_hash,
        changed=changed,
        rotated=reloaded.rotated,
        settings=reloaded.settings,
    )
