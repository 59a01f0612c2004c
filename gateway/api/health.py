"""Liveness, readiness and metrics for the gateway's operators."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Depends, status
from fastapi.responses import Response

from gateway.api.guards import Guard
from gateway.api.store import store_state
from gateway.learning.progress import ProgressReader
from gateway.learning.spool import Spool
from gateway.learning.store_watch import StoreWatch
from gateway.reloading.upkeep import Upkeep
from gateway.running.lifecycle import Lifecycle
from gateway.running.store_health import StoreHealth
from gateway.telemetry.metrics import CONTENT_TYPE, Metrics


def health_routes(
    metrics: Metrics,
    progress: ProgressReader,
    store: StoreHealth,
    watch: StoreWatch,
    lifecycle: Lifecycle,
    upkeep: Upkeep,
    spool: Spool,
    may_see_metrics: Guard,
) -> APIRouter:
    """`/healthz`, `/readyz` and `/metrics`."""
    router = APIRouter(tags=["operations"])

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Say that the process answers."""
        return {"status": "ok"}

    @router.head("/readyz", include_in_schema=False)
    @router.get(
        "/readyz", responses={503: {"model": dict[str, str], "description": "The process is about to stop."}}
    )
    async def readyz(response: Response) -> dict[str, str]:
        """Say whether requests can be answered; 503 once this process is asked to stop.

        A store that is away, refuses writes or lost something does not change that, because the incumbents
        answer without it. `store_detail` says what is wrong with it. Where replicas run different
        configurations, or the file has faults, `config` names the one in force and `config_detail` says so.
        `spool_bytes` says how much feedback waits on this machine for the store, if any does.
        """
        if lifecycle.is_draining:
            response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        state, detail = store_state(store, watch)
        waiting = spool.waiting_bytes()
        return {
            "status": "draining" if lifecycle.is_draining else "ready",
            "store": state,
            **({"store_detail": detail} if detail else {}),
            **({"spool_bytes": str(waiting)} if waiting else {}),
            **({"config": upkeep.config_hash, "config_detail": upkeep.detail} if upkeep.detail else {}),
        }

    @router.get(
        "/metrics",
        dependencies=[Depends(may_see_metrics)],
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def show_metrics() -> Response:
        """Show all metrics in the Prometheus text format."""
        await progress.read()
        return Response(await asyncio.to_thread(metrics.rendering()), media_type=CONTENT_TYPE)

    return router
