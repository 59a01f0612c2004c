"""The composition root: settings and configuration in, a running gateway out.

The only module that names concrete classes. Everything that needs closing is opened in the lifespan, in the
order it is needed, and closed in the opposite one:

    embedded store -> store client -> refresher -> API keys -> providers -> limits -> routes -> planning
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from secrets import token_hex

from fastapi import FastAPI

from gateway import __version__
from gateway.access.api_keys import KeyRegistry
from gateway.access.callers import Authenticator
from gateway.access.failed_attempts import FailedAttempts
from gateway.access.kept_keys import KeptKeys
from gateway.access.limiting import Limiter
from gateway.api.accounts import Accounts
from gateway.api.application import GatewayApp
from gateway.api.body_room import BodyRoom
from gateway.api.catalogue import model_routes
from gateway.api.config import config_routes
from gateway.api.count_tokens import count_tokens_routes
from gateway.api.error_formats import reply_for
from gateway.api.errors import install_error_handlers
from gateway.api.events import event_routes
from gateway.api.experiments import experiment_routes
from gateway.api.feedback import FeedbackDesk, feedback_routes
from gateway.api.feedback_links import feedback_link_routes
from gateway.api.front_page import front_page_routes
from gateway.api.guards import Guards
from gateway.api.health import health_routes
from gateway.api.hosts import LoopbackHosts
from gateway.api.inference import InferenceDeps, inference_endpoints, inference_routes
from gateway.api.keys import key_routes
from gateway.api.openapi import openapi_document
from gateway.api.steering import steering_routes
from gateway.api.store import store_routes
from gateway.api.webhooks import webhook_routes
from gateway.config.gateway_file import GatewayConfig
from gateway.console import console_routes
from gateway.experiments.agreement import Agreement
from gateway.experiments.catalogue import CatalogueHolder, catalogue_of
from gateway.experiments.feedback_links import FeedbackLinks
from gateway.experiments.happenings import Generations
from gateway.experiments.response_ids import ResponseIds
from gateway.experiments.store_history import StoreHistory
from gateway.instrumentation.hooks import Hook, Hooks
from gateway.learning.confirming import Confirmer
from gateway.learning.feedback import FeedbackService
from gateway.learning.kept_answers import KeptAnswers
from gateway.learning.missing_outcomes import MissingOutcomes
from gateway.learning.plan_pool import PlanPool
from gateway.learning.planning import Planner
from gateway.learning.progress import ProgressReader
from gateway.learning.promotion import Promoter
from gateway.learning.recording import ReportRecorder
from gateway.learning.refreshing import Refresher
from gateway.learning.standings import Standings
from gateway.learning.steering import Steering
from gateway.learning.store_watch import StoreWatch
from gateway.learning.usage import UsageKeeper
from gateway.notifying.asking import ask_hook
from gateway.notifying.delivering import Deliverer
from gateway.notifying.feed import EventFeed
from gateway.notifying.reading import EventPages
from gateway.notifying.sending import Sender
from gateway.proof.experiment_log import ExperimentLog
from gateway.reloading.source import ReadFrom
from gateway.reloading.upkeep import Upkeep
from gateway.running.background import background
from gateway.running.lifecycle import Lifecycle
from gateway.running.store_breaker import StoreBreaker
from gateway.running.store_health import StoreHealth
from gateway.serving.answer_notes import AnswerNotes
from gateway.serving.answering import Answering
from gateway.serving.attempts import Attempts
from gateway.serving.continuing import Continuing
from gateway.serving.ejection import EjectionBook
from gateway.serving.makers import Makers
from gateway.serving.regenerating import Regenerating
from gateway.serving.sticky import Sticky
from gateway.serving.token_counts import TokenCounts
from gateway.settings import Settings
from gateway.telemetry.collectors import (
    ExperimentCollector,
    ReplicaCollector,
    StoreCollector,
    WebhookCollector,
)
from gateway.telemetry.lines import LogHook
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.observers import MetricsHook
from gateway.telemetry.process import ProcessCollector
from gateway.upstream.base import Timeouts
from gateway.upstream.dispatch import Upstreams
from gateway.upstream.relay import Relay
from gateway.upstream.retry_budget import RetryBudget
from gateway.upstream.translating.upstream import LitellmUpstream
from policy_store.answer_names import AnswerNameStore
from policy_store.api_keys import ApiKeyStore
from policy_store.clients import StoreClient
from policy_store.connect import EmbeddedValkey, connect
from policy_store.conversations import ConversationStore
from policy_store.deliveries import DeliveryStore
from policy_store.generations import GenerationBook
from policy_store.limits import LimitStore
from policy_store.store import PolicyStore
from policy_store.turns import TurnStore
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
        """Open the resources, join the routes to the app, start the background tasks."""
        catalogue, metrics = self.catalogue, Metrics()
        redis = await self._open_redis(resources)
        store = PolicyStore(redis, timeout_seconds=self.settings.store_timeout_seconds)
        usage = UsageKeeper(store, catalogue, interval_seconds=self.settings.plan_interval_seconds)
        lines = LogHook(tells_all=self.settings.log_level == "debug")
        counting = MetricsHook(metrics, lambda: catalogue.current.prices)
        hooks = Hooks(counting, lines, usage, *self.more_hooks)
        health, history, breaker = StoreHealth(), StoreHistory(), StoreBreaker()
        name = _process_name()
        upkeep = Upkeep(catalogue, self.settings, self.origin, name, redis, store, self.timer)
        vitals = StoreVitals(redis, timeout_seconds=self.settings.store_timeout_seconds)
        watch = StoreWatch(
            vitals,
            history,
            health,
            breaker,
            upkeep.kept("store") if self.settings.kept_keys_seconds else None,
        )
        watch.start()
        await watch.look()
        refresher = Refresher(
            store, catalogue, health, history, interval_seconds=self.settings.refresh_seconds
        )
        await refresher.refresh()
        await resources.enter_async_context(background("refresher", refresher.run))
        authenticator, registry = await self._open_keys(redis, history, hooks, upkeep, resources)
        progress = ProgressReader(store, catalogue, upkeep.agreement, self.timer)
        await upkeep.sealing.open()
        await resources.enter_async_context(background("sealing key", upkeep.sealing.run))
        keys = upkeep.sealing.holder
        watch.look_after(refresher, refresher.holder, keys if self.settings.token_secret is None else None)
        await resources.enter_async_context(background("store watch", watch.run))
        response_ids = ResponseIds(keys, lambda: refresher.holder.current.experiments)
        limiter = Limiter(
            LimitStore(redis, timeout_seconds=self.settings.limits_timeout_seconds), name, hooks, breaker
        )
        resources.push_async_callback(limiter.aclose)
        budget = RetryBudget(self.settings.retry_ratio, self.settings.retry_burst)
        upstream = self._open_upstream(budget, resources)
        conversations = ConversationStore(redis, timeout_seconds=self.settings.store_timeout_seconds)
        makers = Makers(conversations, keys, breaker)
        resources.push_async_callback(makers.aclose)
        attempts = self._attempts(upstream, budget, hooks)
        recorder = ReportRecorder(store, history, self.clock, authenticator.has_several_clients)
        missing = await self._open_missing(recorder, resources)
        answering = Answering(
            attempts=attempts,
            response_ids=response_ids,
            sticky=Sticky(conversations, keys, hooks, breaker),
            continuing=Continuing(self._turns(redis), keys, breaker),
            regenerating=Regenerating(
                store=self._turns(redis),
                keys=keys,
                response_ids=response_ids,
                report=KeptAnswers(recorder, response_ids, refresher.holder, hooks).count,
                hooks=hooks,
                breaker=breaker,
                draws=self.rng,
            ),
            makers=makers,
            hooks=hooks,
            draws=self.rng,
            note_missing=missing.note,
            clock=self.clock,
        )
        notes = await self._open_notes(redis, response_ids, resources)
        inference = InferenceDeps(
            snapshots=refresher.holder,
            answering=answering,
            authenticator=authenticator,
            hooks=hooks,
            bodies=BodyRoom(self.settings.max_body_bytes, self.settings.bodies_memory_bytes),
            lifecycle=self.lifecycle,
            limiter=limiter,
            note_answer=notes.note,
        )
        feedback = FeedbackService(
            *(store, response_ids, refresher.holder, hooks, history, self.clock),
            has_several_keys=authenticator.has_several_clients,
            find_answer=notes.find,
        )
        pool = PlanPool()
        resources.callback(pool.close)
        steering = Steering(store, catalogue, pool.compute, history, upkeep.agreement, hooks, self.clock)
        self._join_routes(
            app,
            inference,
            TokenCounts(upstream),
            feedback,
            FeedbackLinks(keys),
            registry,
            progress,
            steering,
            *await self._open_notifying(store, redis, hooks, metrics, resources),
            health,
            watch,
            metrics,
            ExperimentLog(store),
            upkeep,
            Standings(
                store, GenerationBook(redis, timeout_seconds=self.settings.store_timeout_seconds), catalogue
            ),
            resources,
        )
        await upkeep.open(resources, [refresher.refresh, registry.refresh], attempts.keep)
        await self._open_planning(store, pool, steering, history, upkeep.agreement, hooks, name, resources)
        await resources.enter_async_context(background("usage", usage.run))
        if metrics.are_shared:
            await resources.enter_async_context(background("metrics", counting.run))

    async def _open_redis(self, resources: AsyncExitStack) -> StoreClient:
        settings = self.settings
        url = settings.redis_url
        if url is None:
            valkey = EmbeddedValkey()
            url = await asyncio.to_thread(valkey.start, settings.data_dir)
            resources.push_async_callback(asyncio.to_thread, valkey.stop)
        redis = connect(url, prefix=settings.redis_prefix, timeout_seconds=settings.store_timeout_seconds)
        resources.push_async_callback(redis.aclose)
        return redis

    async def _open_planning(
        self,
        store: PolicyStore,
        pool: PlanPool,
        steering: Steering,
        history: StoreHistory,
        agreement: Agreement,
        hooks: Hooks,
        holder: str,
        resources: AsyncExitStack,
    ) -> None:
        """What decides, and asks confirm hooks. Both take an experiment's lease under one name."""
        interval = self.settings.plan_interval_seconds
        planner = Planner(
            store,
            self.catalogue,
            pool.compute,
            Promoter(store, self.catalogue, clock=self.clock, hooks=hooks),
            history=history,
            agreement=agreement,
            holder=holder,
            interval_seconds=interval,
            lease_seconds=self.settings.lease_seconds,
            hooks=hooks,
            rng=self.rng,
        )
        sender = Sender(self.clock)
        resources.push_async_callback(sender.aclose)
        confirmer = Confirmer(
            store,
            self.catalogue,
            partial(ask_hook, sender),
            steering.check_certificate,
            history=history,
            agreement=agreement,
            hooks=hooks,
            holder=holder,
            clock=self.clock,
            interval_seconds=interval,
            lease_seconds=self.settings.lease_seconds,
        )
        await resources.enter_async_context(background("confirm hooks", confirmer.run))
        await resources.enter_async_context(background("planner", planner.run))

    async def _open_notifying(
        self,
        store: PolicyStore,
        redis: StoreClient,
        hooks: Hooks,
        metrics: Metrics,
        resources: AsyncExitStack,
    ) -> tuple[EventFeed, Deliverer]:
        """What tells others of events: as streams, and as webhooks."""
        reader = EventPages(store, Generations(store))
        feed = EventFeed(reader, self.lifecycle, interval_seconds=self.settings.refresh_seconds)
        await resources.enter_async_context(background("event feed", feed.run))
        sender = Sender(self.clock)
        resources.push_async_callback(sender.aclose)
        deliverer = Deliverer(
            DeliveryStore(redis, timeout_seconds=self.settings.store_timeout_seconds),
            reader,
            sender,
            self.catalogue,
            hooks,
            holder=_process_name(),
            clock=self.clock,
            rng=random.Random(),
            look_seconds=self.settings.plan_interval_seconds,
            lease_seconds=self.settings.lease_seconds,
        )
        metrics.derive(WebhookCollector(lambda: deliverer.standings))
        await resources.enter_async_context(background("webhooks", deliverer.run))
        return feed, deliverer

    def _turns(self, redis: StoreClient) -> TurnStore:
        return TurnStore(redis, timeout_seconds=self.settings.store_timeout_seconds)

    def _open_upstream(self, budget: RetryBudget, resources: AsyncExitStack) -> Upstreams:
        settings = self.settings
        timeouts = Timeouts(
            connect=settings.connect_timeout_seconds,
            first_byte=settings.first_byte_timeout_seconds,
            stall=settings.stall_timeout_seconds,
            total=settings.upstream_timeout_seconds,
        )
        upstream = Upstreams(Relay(timeouts, budget), LitellmUpstream(timeouts))
        resources.push_async_callback(upstream.aclose)
        return upstream

    async def _open_notes(
        self, redis: StoreClient, response_ids: ResponseIds, resources: AsyncExitStack
    ) -> AnswerNotes:
        store = AnswerNameStore(redis, timeout_seconds=self.settings.store_timeout_seconds)
        notes = AnswerNotes(store, response_ids.request_digests)
        resources.push_async_callback(notes.write)
        await resources.enter_async_context(background("answer notes", notes.run))
        return notes

    async def _open_missing(self, recorder: ReportRecorder, resources: AsyncExitStack) -> MissingOutcomes:
        missing = MissingOutcomes(recorder)
        resources.push_async_callback(missing.write)
        await resources.enter_async_context(background("missing outcomes", missing.run))
        return missing

    def _attempts(self, upstream: Upstreams, budget: RetryBudget, hooks: Hooks) -> Attempts:
        settings = self.settings
        ejections = EjectionBook(
            hooks,
            self.timer,
            failures=settings.eject_after_failures,
            longest_seconds=settings.eject_max_seconds,
        )
        return Attempts(upstream, ejections, budget, hooks, total_seconds=settings.request_timeout_seconds)

    async def _open_keys(
        self,
        redis: StoreClient,
        history: StoreHistory,
        hooks: Hooks,
        upkeep: Upkeep,
        resources: AsyncExitStack,
    ) -> tuple[Authenticator, KeyRegistry]:
        """The keys that may call, kept up to date from now on."""
        authenticator = Authenticator(self.catalogue.current.keys, FailedAttempts(hooks))
        registry = KeyRegistry(
            ApiKeyStore(redis, timeout_seconds=self.settings.store_timeout_seconds),
            self.catalogue,
            authenticator.use,
            history=history,
            kept=KeptKeys(upkeep.kept("keys"), self.settings.kept_keys_seconds, self.clock),
            interval_seconds=self.settings.refresh_seconds,
            clock=self.clock,
        )
        registry.start()
        await registry.refresh()
        await resources.enter_async_context(background("API keys", registry.run))
        return authenticator, registry

    def _join_routes(
        self,
        app: GatewayApp,
        inference: InferenceDeps,
        counts: TokenCounts,
        feedback: FeedbackService,
        links: FeedbackLinks,
        registry: KeyRegistry,
        progress: ProgressReader,
        steering: Steering,
        feed: EventFeed,
        deliverer: Deliverer,
        health: StoreHealth,
        watch: StoreWatch,
        metrics: Metrics,
        logs: ExperimentLog,
        upkeep: Upkeep,
        standings: Standings,
        resources: AsyncExitStack,
    ) -> None:
        """Add the routes and the numbers that follow from them, and take the routes away at the end."""
        snapshots = inference.snapshots
        metrics.derive(ProcessCollector(self.settings.revision))
        metrics.derive(ExperimentCollector(lambda: progress.last))
        metrics.derive(StoreCollector(health, watch))
        metrics.derive(ReplicaCollector(snapshots, upkeep))
        guards = Guards(
            inference.authenticator,
            inference.limiter,
            metrics_public=self.settings.metrics_public,
            bodies=inference.bodies,
        )
        before = list(app.router.routes)
        resources.callback(lambda: app.router.routes.__setitem__(slice(None), before))
        endpoints = inference_endpoints(inference)
        app.model_endpoints.update({endpoint.path: endpoint for endpoint in endpoints})
        resources.callback(app.model_endpoints.clear)
        app.hosts = LoopbackHosts(
            lambda: inference.authenticator.is_open,
            self.settings.allowed_hosts,
            lambda: self.catalogue.current.cors_origins,
        )
        app.router.routes.extend(inference_routes(endpoints))
        app.include_router(count_tokens_routes(counts, snapshots, guards.admitted, inference.bodies))
        desk = FeedbackDesk(feedback, guards.reporter, guards.control_body)
        app.include_router(feedback_routes(desk))
        app.include_router(feedback_link_routes(desk, links, self.clock))
        app.include_router(model_routes(snapshots, guards.require_client, self.clock()))
        app.include_router(experiment_routes(self.catalogue, progress, snapshots, logs, guards.require_admin))
        app.include_router(event_routes(feed, snapshots, guards.require_admin))
        app.include_router(steering_routes(steering, snapshots, guards.admin, guards.control_body))
        app.include_router(webhook_routes(deliverer, guards.require_admin, guards.control_body))
        app.include_router(key_routes(registry, guards.admin, guards.control_body))
        app.include_router(store_routes(watch, health, guards.admin))
        app.include_router(config_routes(self.catalogue, upkeep, standings, guards.admin))
        app.include_router(
            health_routes(metrics, progress, health, watch, self.lifecycle, upkeep, guards.may_see_metrics)
        )
        app.router.routes.extend([*console_routes(), *front_page_routes(app.openapi)])
        if upkeep.reloader is not None:
            app.ask_to_reload = upkeep.reloader.ask
        app.accounts = Accounts(app.router.routes, inference.hooks, inference.timer)


def _process_name() -> str:
    """The name of this process in the store; no other process has it."""
    return f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}"
