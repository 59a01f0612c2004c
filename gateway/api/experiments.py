"""`GET /v1/experiments`: the state of experiments. Needs an admin key if there are keys."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from gateway.api.experiments_shown import (
    ExperimentDetail,
    ExperimentList,
    ExperimentSummary,
)
from gateway.api.guards import Guard
from gateway.errors import UnavailableError
from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.snapshot import LiveExperiment, SnapshotHolder
from gateway.learning.progress import ExperimentProgress, ProgressReader
from gateway.proof.experiment_log import ExperimentLog


def experiment_routes(
    catalogue: CatalogueHolder,
    progress: ProgressReader,
    snapshots: SnapshotHolder,
    logs: ExperimentLog,
    require_admin: Guard,
) -> APIRouter:
    """`/v1/experiments` and the routes below it."""
    router = APIRouter(prefix="/v1/experiments", dependencies=[Depends(require_admin)], tags=["experiments"])

    async def reading(name: str) -> tuple[LiveExperiment, ExperimentProgress]:
        live = snapshots.current.experiment(name)
        found = await progress.read_one(name)
        if found is None:
            raise UnavailableError(
                "Nothing of it was read from the store yet; the incumbent serves. Try again later; if this "
                "lasts, see `store` in /readyz."
            )
        return live, found

    @router.get("")
    async def list_experiments() -> ExperimentList:
        """List every experiment, one line each."""
        readings = await progress.read()
        return ExperimentList(
            data=[
                ExperimentSummary.of(live, readings.get(live.name))
                for live in snapshots.current.experiments.values()
            ],
            config_hash=catalogue.current.config_hash,
        )

    @router.get("/{name}")
    async def show_experiment(name: str) -> ExperimentDetail:
        """Show everything known about one experiment."""
        return ExperimentDetail.shown(*await reading(name))

    @router.get(
        "/{name}/log",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
    )
    async def experiment_log(name: str) -> StreamingResponse:
        """Export what was counted and planned, one JSON object per line, for `llmpo verify`."""
        lines = logs.lines(snapshots.current.experiment(name).name)
        # Fetched before the status is sent, so that a dead store gives a 503 and not a truncated file.
        first = await anext(lines)

        async def all_lines() -> AsyncIterator[bytes]:
            yield first
            async for line in lines:
                yield line

        return StreamingResponse(all_lines(), media_type="application/x-ndjson")

    return router
