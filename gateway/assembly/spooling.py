"""What keeps feedback while the store is away, and has it counted afterwards."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from gateway.assembly.foundation import Foundation
from gateway.experiments.sealing_key import SealingKeyHolder
from gateway.learning.feedback import FeedbackService
from gateway.learning.spool import Spool, replay_for_ever
from gateway.running.kept_file import kept_path
from gateway.running.store_health import StoreHealth
from gateway.settings import Settings
from gateway.telemetry.spool import SpoolCollector
from policy_store.data_directory import prepare


def open_spool(base: Foundation) -> Spool:
    """The spool of this process. It makes a file only once something has to be kept."""
    place = spool_place(base.settings)
    spool = Spool(place.parent, place.stem, base.settings.spool_bytes)
    base.resources.push_async_callback(spool.aclose)
    spool.tell_of_others()
    base.metrics.derive(SpoolCollector(spool))
    return spool


def spool_place(settings: Settings) -> Path:
    """What the names of a store's files begin with.

    Workers are told the address of the embedded store's socket, one process alone is not; it is one store.
    """
    url = settings.redis_url
    if url is not None and url.startswith("unix:") and url == prepare(settings.data_dir).url:
        url = None
    return kept_path(settings.data_dir, "spool", url, settings.redis_prefix)


async def replay_spool(
    base: Foundation,
    spool: Spool,
    feedback: FeedbackService,
    health: StoreHealth,
    keys: SealingKeyHolder,
) -> None:
    """Replay what waits, while the store answers, lost nothing, and gave the key that opens ids."""

    def is_ready() -> bool:
        return bool(health.is_up) and base.history.held is None and not keys.is_stand_in

    await base.run("spool", partial(replay_for_ever, spool, feedback.recount, is_ready))
