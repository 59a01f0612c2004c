"""Everything in a replica for changing its configuration: reading, following and agreeing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

from pydantic import SecretStr

from gateway.experiments.agreement import SHOWN_DIGITS, Agreement
from gateway.experiments.catalogue import Catalogue, CatalogueHolder
from gateway.experiments.guardrails import Measure
from gateway.reloading.reloader import Reloader
from gateway.reloading.replicas import Replicas
from gateway.reloading.sealing import KeyGiver, Sealing
from gateway.reloading.source import ReadFrom
from gateway.running.background import background
from gateway.running.kept_file import KeptFile, kept_path
from gateway.running.logs import get_logger
from gateway.settings import Settings
from policy_store.clients import StoreClient
from policy_store.replicas import ReplicaBook

_log = get_logger(__name__)


class Upkeep:
    """Puts these parts together.

    Args:
        catalogue: Holds the configuration in force.
        settings: The settings of the process.
        origin: How the configuration is read again; None if it is not from a file.
        name: Name of this replica.
        redis: The store, in which replicas register.
        keys: Keeps the sealing key if the operator sets no secret.
        timer: Monotonic seconds.
    """

    def __init__(
        self,
        catalogue: CatalogueHolder,
        settings: Settings,
        origin: ReadFrom | None,
        name: str,
        redis: StoreClient,
        keys: KeyGiver,
        timer: Callable[[], float],
    ) -> None:
        self.agreement = Agreement()
        self.reloader = None if origin is None else Reloader(origin, catalogue)
        book = ReplicaBook(redis, timeout_seconds=settings.store_timeout_seconds)
        self.replicas = Replicas(book, name, catalogue, self.agreement, self.reloader, timer)
        self.sealing = Sealing(keys, settings)
        self._catalogue = catalogue
        self._settings = settings
        self._files: list[KeptFile] = []

    @property
    def has_faults(self) -> bool:
        """Whether the configuration that was read last is not in force."""
        return self.reloader is not None and bool(self.reloader.faults)

    @property
    def config_hash(self) -> str:
        """The first digits of the hash of the configuration in force, as metrics and logs show them."""
        return self._catalogue.current.config_hash[:SHOWN_DIGITS]

    @property
    def detail(self) -> str:
        """What is wrong with the configuration, here or on other replicas; empty if nothing is."""
        if self.has_faults:
            return "The file has faults and was not taken up; the log names them."
        return "Replicas run different configurations: nothing is decided." if self.agreement.held else ""

    def kept(self, what: str) -> KeptFile:
        """A kept file in the data directory, sealed with the present secret."""
        settings = self._settings
        path = kept_path(settings.data_dir, what, settings.redis_url, settings.redis_prefix)
        self._files.append(KeptFile(path, _revealed(settings.token_secret)))
        return self._files[-1]

    async def open(
        self,
        resources: AsyncExitStack,
        refreshed: Sequence[Callable[[], Awaitable[None]]],
        keep: Sequence[Callable[[Catalogue], None]],
    ) -> None:
        """Begin to follow.

        Args:
            resources: Closes what this opens.
            refreshed: The functions to call for another catalogue, in this order.
            keep: Each releases what does not belong to a catalogue.
        """

        async def follow(settings: Settings) -> None:
            self.sealing.follow(settings)
            for file in self._files:
                file.secret = _revealed(settings.token_secret)
            for refresh in refreshed:
                await refresh()
            for release in keep:
                release(self._catalogue.current)
            warn_of_unpriced(self._catalogue.current)

        warn_of_unpriced(self._catalogue.current)
        if self.reloader is not None:
            self.reloader.tell(follow)
            await resources.enter_async_context(background("reloads", self.reloader.follow_signals))
            if interval := self._settings.watch_config_seconds:
                watch = partial(self.reloader.watch, interval)
                await resources.enter_async_context(background("configuration watch", watch))
        await self.replicas.look()
        await resources.enter_async_context(background("replicas", self.replicas.run))


def warn_of_unpriced(catalogue: Catalogue) -> None:
    """Log which guardrails on costs have answers that they cannot measure."""
    for name, definition in catalogue.definitions.items():
        if unpriced := definition.unpriced(catalogue.prices):
            _log.warning(
                "guardrail_without_prices",
                experiment=name,
                guardrail=Measure.COST.value,
                models=sorted({definition.policies[each].model for each in unpriced}),
                remedy="set input_cost_per_token and output_cost_per_token",
            )


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
