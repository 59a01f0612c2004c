"""The routes, and the numbers that are computed when metrics are shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import APIRouter

from gateway.access.api_keys import KeyRegistry
from gateway.api.accounts import Accounts
from gateway.api.application import GatewayApp
from gateway.api.catalogue import model_routes
from gateway.api.config import config_routes
from gateway.api.count_tokens import count_tokens_routes
from gateway.api.direct import DirectRoute
from gateway.api.events import event_routes
from gateway.api.experiments import experiment_routes
from gateway.api.feedback import PATH as FEEDBACK_PATH
from gateway.api.feedback import FeedbackDesk, feedback_routes
from gateway.api.feedback_links import feedback_link_routes
from gateway.api.front_page import front_page_routes
from gateway.api.guards import Guards
from gateway.api.health import health_routes
from gateway.api.hosts import LoopbackHosts
from gateway.api.inference import InferenceDeps, inference_endpoints, inference_routes
from gateway.api.keys import key_routes
from gateway.api.metrics_posted import metric_routes
from gateway.api.steering import steering_routes
from gateway.api.store import store_routes
from gateway.api.webhooks import webhook_routes
from gateway.assembly.foundation import Foundation
from gateway.console import console_routes
from gateway.experiments.feedback_links import FeedbackLinks
from gateway.learning.feedback import FeedbackService
from gateway.learning.posted_metrics import PostedMetrics
from gateway.learning.progress import ProgressReader
from gateway.learning.spool import Spool
from gateway.learning.standings import Standings
from gateway.learning.steering import Steering
from gateway.learning.store_watch import StoreWatch
from gateway.notifying.delivering import Deliverer
from gateway.notifying.feed import EventFeed
from gateway.proof.experiment_log import ExperimentLog
from gateway.reloading.upkeep import Upkeep
from gateway.running.store_health import StoreHealth
from gateway.serving.token_counts import TokenCounts
from gateway.telemetry.collectors import ReplicaCollector, StoreCollector
from gateway.telemetry.experiment_figures import ExperimentCollector
from gateway.telemetry.process import ProcessCollector


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """The parts that routes reach."""

    inference: InferenceDeps
    counts: TokenCounts
    feedback: FeedbackService
    spool: Spool
    links: FeedbackLinks
    metrics: PostedMetrics
    registry: KeyRegistry
    progress: ProgressReader
    steering: Steering
    feed: EventFeed
    deliverer: Deliverer
    health: StoreHealth
    watch: StoreWatch
    logs: ExperimentLog
    upkeep: Upkeep
    standings: Standings


def join_routes(app: GatewayApp, base: Foundation, parts: Reached) -> None:
    """Add the routes and the numbers that follow from them, and take the routes away at the end."""
    inference, settings = parts.inference, base.settings
    base.metrics.derive(ProcessCollector(settings.revision))
    base.metrics.derive(ExperimentCollector(lambda: parts.progress.last), is_lazy=True)
    base.metrics.derive(StoreCollector(parts.health, parts.watch))
    base.metrics.derive(ReplicaCollector(inference.snapshots, parts.upkeep))
    before = list(app.router.routes)
    base.resources.callback(lambda: app.router.routes.__setitem__(slice(None), before))
    endpoints = inference_endpoints(inference)
    app.model_endpoints.update({endpoint.path: endpoint for endpoint in endpoints})
    base.resources.callback(app.model_endpoints.clear)
    app.hosts = LoopbackHosts(
        lambda: inference.authenticator.is_open,
        settings.allowed_hosts,
        lambda: base.catalogue.current.cors_origins,
    )
    app.router.routes.extend(inference_routes(endpoints))
    guards = Guards(
        inference.authenticator,
        inference.limiter,
        metrics_public=settings.metrics_public,
        bodies=inference.bodies,
    )
    desk = FeedbackDesk(parts.feedback, guards.reporter, guards.control_body)
    app.direct_routes[FEEDBACK_PATH] = DirectRoute(
        FEEDBACK_PATH, desk.answer, inference.hooks, inference.timer
    )
    base.resources.callback(app.direct_routes.clear)
    for router in routers(base, parts, guards, desk):
        app.router.routes.extend(router.routes)  # `include_router` would describe each a second time
    app.router.routes.extend([*console_routes(), *front_page_routes(app.openapi)])
    if parts.upkeep.reloader is not None:
        app.ask_to_reload = parts.upkeep.reloader.ask
    app.accounts = Accounts(app.router.routes, inference.hooks, inference.timer)


def routers(base: Foundation, parts: Reached, guards: Guards, desk: FeedbackDesk) -> Iterator[APIRouter]:
    """The routes beside those that ask models, in the order in which the API's document lists them."""
    inference, snapshots = parts.inference, parts.inference.snapshots
    admin, control_body = guards.admin, guards.control_body
    yield count_tokens_routes(parts.counts, snapshots, guards.admitted, inference.bodies)
    yield feedback_routes(desk)
    yield feedback_link_routes(desk, parts.links, base.clock)
    yield metric_routes(parts.metrics, snapshots, guards.reporter, control_body)
    yield model_routes(snapshots, guards.require_client, base.clock())
    yield experiment_routes(base.catalogue, parts.progress, snapshots, parts.logs, guards.require_admin)
    yield event_routes(parts.feed, snapshots, guards.require_admin)
    yield steering_routes(parts.steering, snapshots, admin, control_body)
    yield webhook_routes(parts.deliverer, guards.require_admin, control_body)
    yield key_routes(parts.registry, admin, control_body)
    yield store_routes(parts.watch, parts.health, admin)
    yield config_routes(base.catalogue, parts.upkeep, parts.standings, admin)
    yield health_routes(
        *(base.metrics, parts.progress, parts.health, parts.watch, base.lifecycle, parts.upkeep),
        parts.spool,
        guards.may_see_metrics,
    )
