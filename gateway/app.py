"""The composition root: settings and configuration in, a running gateway out.

Only this module and those of `gateway.assembly` name concrete classes. Everything that needs closing is
opened in the lifespan, in the order it is needed, and closed in the opposite one:

    embedded store -> store client -> refresher -> API keys -> limits -> providers -> judging -> routes
    -> planning
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI

from gateway import __version__
from gateway.api.application import GatewayApp
from gateway.api.body_room import BodyRoom
from gateway.api.error_formats import reply_for
from gateway.api.errors import install_error_handlers
from gateway.api.inference import InferenceDeps
from gateway.api.openapi import openapi_document
from gateway.assembly.answers import open_answering, open_attempts, open_notes
from gateway.assembly.foundation import Foundation, open_redis, process_name
from gateway.assembly.guarding import open_gauges
from gateway.assembly.judging import open_judging
from gateway.assembly.keys import open_keys, open_limiter
from gateway.assembly.notifying import open_notifying
from gateway.assembly.planning import open_planning
from gateway.assembly.routes import Reached, join_routes
from gateway.assembly.spooling import open_spool, replay_spool
from gateway.config.gateway_file import GatewayConfig
from gateway.experiments.catalogue import CatalogueHolder, catalogue_of
from gateway.experiments.feedback_links import FeedbackLinks
from gateway.experiments.response_ids import ResponseIds
from gateway.experiments.store_history import StoreHistory
from gateway.instrumentation.hooks import Hook, Hooks
from gateway.learning.feedback import FeedbackService
from gateway.learning.plan_pool import PlanPool
from gateway.learning.posted_metrics import PostedMetrics
from gateway.learning.progress import ProgressReader
from gateway.learning.refreshing import Refresher
from gateway.learning.standings import Standings
from gateway.learning.steering import Steering
from gateway.learning.store_watch import StoreWatch
from gateway.learning.trials import TrialCounter
from gateway.learning.usage import UsageKeeper
from gateway.proof.experiment_log import ExperimentLog
from gateway.reloading.source import ReadFrom
from gateway.reloading.upkeep import Upkeep
from gateway.running.lifecycle import Lifecycle
from gateway.running.store_breaker import StoreBreaker
from gateway.running.store_health import StoreHealth
from gateway.serving.token_counts import TokenCounts
from gateway.settings import Settings
from gateway.telemetry.lines import LogHook
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.observers import MetricsHook
from policy_store.generations import GenerationBook
from policy_store.layout import LAYOUT, LayoutKeeper, check_layout
from policy_store.store import PolicyStore
from policy_store.vitals import StoreVitals

Clock = Callable[[], float]


def create_app(
    config: GatewayConfig,
    settings: Settings,
    *,
    clock: Clock = time.time,
    timer: Clock = time.monotonic,
    rng: random.Random | None = None,
    lifecycle: Lifecycle | None = None,
    hooks: Sequence[Hook] = (),
    origin: ReadFrom | None = None,
) -> GatewayApp:
    """The gateway as an ASGI application. Its routes exist while its lifespan is entered.

    Args:
        config: What to serve.
        settings: How to run. Without a Redis URL the embedded store is started in the data directory.
        clock: Unix seconds.
        timer: Seconds that only ever grow; they say when what was left alone is asked again.
        rng: Source of everything drawn: who takes part, which pair, the plans' seeds.
        lifecycle: The process announces here that it is about to stop.
        hooks: Told of every event, after the gateway's own numbers and log lines.
        origin: How the configuration is read again; None where it is from no file.
    """
    catalogue = CatalogueHolder(catalogue_of(config, settings))
    gateway = _Gateway(
        catalogue, settings, clock, timer, rng or random.Random(), lifecycle or Lifecycle(), hooks, origin
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as resources:
            await gateway.open(app, resources)
            yield

    app = GatewayApp(
        catalogue,
        title="llmpo-gateway",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redirect_slashes=False,
        redoc_url=None,
    )
    install_error_handlers(app, reply_for)
    app.openapi = openapi_document(app)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    return app


@dataclass(frozen=True, slots=True)
class _Gateway:
    """Opens everything a gateway consists of."""

    catalogue: CatalogueHolder
    settings: Settings
    clock: Clock
    timer: Clock
    rng: random.Random
    lifecycle: Lifecycle
    more_hooks: Sequence[Hook]
    origin: ReadFrom | None

    async def open(self, app: GatewayApp, resources: AsyncExitStack) -> None:
        """Open the store and what is told of every event, then everything that is built on them."""
        catalogue, settings, metrics = self.catalogue, self.settings, Metrics()
        redis = await open_redis(settings, resources)
        store = PolicyStore(redis, timeout_seconds=settings.store_timeout_seconds)
        usage = UsageKeeper(store, catalogue, interval_seconds=settings.plan_interval_seconds)
        trials = TrialCounter(
            *(store, catalogue, self.timer),
            lag_seconds=settings.request_timeout_seconds,
            interval_seconds=settings.plan_interval_seconds,
        )
        lines = LogHook(tells_all=settings.log_level == "debug")
        counting = MetricsHook(metrics, lambda: catalogue.current.prices)
        base = Foundation(
            catalogue=catalogue,
            settings=settings,
            clock=self.clock,
            timer=self.timer,
            rng=self.rng,
            lifecycle=self.lifecycle,
            resources=resources,
            process=process_name(),
            redis=redis,
            store=store,
            history=StoreHistory(),
            breaker=StoreBreaker(slow_seconds=settings.store_timeout_seconds / 4),
            metrics=metrics,
            hooks=Hooks(counting, lines, usage, trials, *self.more_hooks),
        )
        await self.open_parts(app, base)
        await base.run("usage", usage.run)
        await base.run("trials", trials.run)
        if metrics.are_shared:
            await base.run("metrics", counting.run)

    async def open_parts(self, app: GatewayApp, base: Foundation) -> None:
        """Open the parts, join the routes to the app, start the background tasks."""
        catalogue, settings, store = base.catalogue, base.settings, base.store
        health, history, hooks = StoreHealth(), base.history, base.hooks
        upkeep = Upkeep(catalogue, settings, self.origin, base.process, base.redis, store, base.timer)
        kept = upkeep.kept("store") if settings.kept_keys_seconds else None
        watch = StoreWatch(
            *(base.store_part(StoreVitals), history, health, base.breaker, kept),
            layout=base.store_part(LayoutKeeper),
        )
        watch.start()
        await watch.look()
        check_layout(watch.layout or LAYOUT)
        refresher = Refresher(store, catalogue, health, history, interval_seconds=settings.refresh_seconds)
        await refresher.refresh()
        await base.run("refresher", refresher.run)
        authenticator, registry = await open_keys(base, upkeep.kept("keys"))
        reading = base.reading_part(PolicyStore)
        progress = ProgressReader(reading, catalogue, upkeep.agreement, history, base.timer)
        await upkeep.sealing.open()
        await base.run("sealing key", upkeep.sealing.run)
        keys, snapshots = upkeep.sealing.holder, refresher.holder
        watch.look_after(refresher, snapshots, keys if settings.token_secret is None else None)
        await base.run("store watch", watch.run)
        response_ids = ResponseIds(keys, lambda: snapshots.current.experiments)
        limiter = open_limiter(base)
        upstreams, attempts = open_attempts(base)
        has_several_keys = authenticator.has_several_clients
        judges, keep_judges = open_judging(base, response_ids, snapshots, has_several_keys)
        gauges = await open_gauges(base)
        answering = await open_answering(
            base, attempts, response_ids, keys, snapshots, has_several_keys, judges, gauges.gauge
        )
        notes = await open_notes(base, response_ids)
        pool = PlanPool()
        base.resources.callback(pool.close)
        steering = Steering(store, catalogue, pool.compute, history, upkeep.agreement, hooks)
        feed, deliverer = await open_notifying(base)
        spool = open_spool(base)
        feedback = FeedbackService(
            *(store, response_ids, snapshots, hooks, history, base.clock),
            has_several_keys=has_several_keys,
            find_answer=notes.find,
            spool=spool,
        )
        parts = Reached(
            inference=InferenceDeps(
                snapshots=snapshots,
                answering=answering,
                authenticator=authenticator,
                hooks=hooks,
                bodies=BodyRoom(settings.max_body_bytes, settings.bodies_memory_bytes),
                lifecycle=base.lifecycle,
                limiter=limiter,
                note_answer=notes.note,
            ),
            counts=TokenCounts(upstreams),
            feedback=feedback,
            spool=spool,
            links=FeedbackLinks(keys),
            metrics=PostedMetrics(
                *(store, response_ids, snapshots, history, gauges, base.clock), find_answer=notes.find
            ),
            registry=registry,
            progress=progress,
            steering=steering,
            feed=feed,
            deliverer=deliverer,
            health=health,
            watch=watch,
            logs=ExperimentLog(store),
            upkeep=upkeep,
            standings=Standings(base.reading_part(PolicyStore), base.reading_part(GenerationBook), catalogue),
        )
        join_routes(app, base, parts)
        await upkeep.open(base.resources, [refresher.refresh, registry.refresh], [attempts.keep, keep_judges])
        await replay_spool(base, spool, feedback, health, keys)
        await open_planning(base, pool, steering, upkeep.agreement)
