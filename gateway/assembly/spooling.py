"""What keeps feedback while the store is away, and has it counted afterwards."""

from __future__ import annotations

from functools import partial

from gateway.assembly.foundation import Foundation
from gateway.experiments.sealing_key import SealingKeyHolder
from gateway.learning.feedback import FeedbackService
from gateway.learning.spool import Spool, replay_for_ever
from gateway.running.kept_file import kept_path
from gateway.running.store_health import StoreHealth
from gateway.telemetry.spool import SpoolCollector


def open_spool(base: Foundation) -> Spool:
    """The spool of this process. It makes a file only once something has to be kept."""
    settings = base.settings
    place = kept_path(settings.data_dir, "spool", settings.redis_url, settings.redis_prefix)
    spool = Spool(place.parent, place.stem, settings.spool_bytes)
    base.resources.push_async_callback(spool.aclose)
    spool.tell_of_others()
    base.metrics.derive(SpoolCollector(spool))
    return spool


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
