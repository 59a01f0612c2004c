"""What tells others of events: as streams, and as webhooks."""

from __future__ import annotations

from gateway.assembly.foundation import Foundation
from gateway.experiments.happenings import Generations
from gateway.notifying.delivering import Deliverer
from gateway.notifying.feed import EventFeed
from gateway.notifying.reading import EventPages
from gateway.notifying.sending import Sender
from gateway.telemetry.collectors import WebhookCollector
from policy_store.deliveries import DeliveryStore


async def open_notifying(base: Foundation) -> tuple[EventFeed, Deliverer]:
    """The feed of events and the deliverer to webhooks; both read the same pages."""
    reader = EventPages(base.store, Generations(base.store, base.history))
    feed = EventFeed(reader, base.lifecycle, interval_seconds=base.settings.refresh_seconds)
    await base.run("event feed", feed.run)
    sender = Sender(base.clock)
    base.resources.push_async_callback(sender.aclose)
    deliverer = Deliverer(
        base.store_part(DeliveryStore),
        reader,
        sender,
        base.catalogue,
        base.hooks,
        holder=base.process,
        clock=base.clock,
        rng=base.rng,
        look_seconds=base.settings.plan_interval_seconds,
        lease_seconds=base.settings.lease_seconds,
    )
    base.metrics.derive(WebhookCollector(lambda: deliverer.standings))
    await base.run("webhooks", deliverer.run)
    return feed, deliverer
