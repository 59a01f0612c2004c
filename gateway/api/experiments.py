"""`GET /v1/experiments`: what people and scripts read of experiments. Needs an admin key, if keys are set."""

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
    """`/v1/experiments` and what is below it."""
    router = APIRouter(prefix="/v1/experiments", dependencies=[Depends(require_admin)], tags=["experiments"])

    async def reading(name: str) -> tuple[LiveExperiment, ExperimentProgress]:
        live = snapshots.current.experiment(name)
        found = await progress.read_one(name)
        if found is None:
            raise UnavailableError("The store has not answered yet; the incumbent serves. Try again later.")
        return live, found

    @router.get("")
    async def list_experiments() -> ExperimentList:
        """Every experiment in a line each."""
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
        """Everything known about one experiment."""
        return ExperimentDetail.shown(*await reading(name))

    @router.get(
        "/{name}/log",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
    )
    async def experiment_log(name: str) -> StreamingResponse:
        """What was counted and planned, one JSON object a line: what `llmpo verify` recomputes."""
        lines = logs.lines(snapshots.current.experiment(name).name)
        # Fetched before the status is sent, so that a dead store is a 503 and not a cut file.
        first = await anext(lines)

        async def all_lines() -> AsyncIterator[bytes]:
            yield first
            async for line in lines:
                yield line

        return StreamingResponse(all_lines(), media_type="application/x-ndjson")

    return router
