"""`GET /v1/models`: the names clients may send as `model`, including experiments."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Depends

from gateway.api.guards import Guard
from gateway.experiments.snapshot import SnapshotHolder, unknown_model


def model_routes(snapshots: SnapshotHolder, require_client: Guard, started_at: float) -> APIRouter:
    """`/v1/models` with the fields of both OpenAI's and Anthropic's shape, which share only `id`.

    Experiments look like any model: which policy answers stays hidden.
    """
    router = APIRouter(prefix="/v1/models", dependencies=[Depends(require_client)], tags=["models"])

    created_at = datetime.fromtimestamp(int(started_at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def shown(name: str) -> dict[str, Any]:
        of_openai = {"object": "model", "created": int(started_at), "owned_by": "llmpo-gateway"}
        of_anthropic = {
            "type": "model",
            "display_name": name,
            "created_at": created_at,
            "lifecycle": "active",
        }
        return {"id": name, **of_openai, **of_anthropic}

    @router.head("", include_in_schema=False)
    @router.get("")
    async def list_models() -> dict[str, Any]:
        """List every experiment and model, experiments first."""
        names = list(snapshots.current.names)
        page = {"has_more": False, "first_id": names[0], "last_id": names[-1]}
        return {"object": "list", "data": [shown(name) for name in names], **page}

    @router.head("/{name:path}", include_in_schema=False)
    @router.get("/{name:path}")
    async def show_model(name: str) -> dict[str, Any]:
        """Show one experiment or model."""
        snapshot = snapshots.current
        if name not in snapshot.experiments and name not in snapshot.models:
            raise unknown_model(name, snapshot)
        return shown(name)

    return router
