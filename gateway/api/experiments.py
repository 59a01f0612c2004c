"""`GET /v1/experiments`: what people and scripts read of experiments. Needs an admin key, if keys are set."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from gateway.api.experiments_shown import ExperimentDetail, ExperimentList, ExperimentSummary
from gateway.api.guards import Guard
from gateway.errors import UnavailableError, UnknownModelError
from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.snapshot import LiveExperiment, SnapshotHolder
from gateway.learning.progress import ProgressReader
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

    def known(name: str) -> LiveExperiment:
        experiment = snapshots.current.experiments.get(name)
        if experiment is None:
            names = ", ".join(snapshots.current.experiments) or "none"
            raise UnknownModelError(
                f"There is no experiment {name!r}. Configured: {names}.",
                param="name",
                code="unknown_experiment",
            )
        return experiment

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
        live = known(name)
        reading = await progress.read_one(name)
        if reading is None:
            raise UnavailableError("The store has not answered yet; the incumbent serves. Try again later.")
        return ExperimentDetail.shown(live, reading)

    @router.get(
        "/{name}/log",
        response_class=StreamingResponse,
        responses={200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}}},
    )
    async def experiment_log(name: str) -> StreamingResponse:
        """What was counted and planned, one JSON object a line: what `llmpo verify` recomputes."""
        lines = logs.lines(known(name).name)
        # Fetched before the status is sent, so that a dead store is a 503 and not a cut file.
        first = await anext(lines)

        async def all_lines() -> AsyncIterator[bytes]:
            yield first
            async for line in lines:
                yield line

        return StreamingResponse(all_lines(), media_type="application/x-ndjson")

    return router
