"""`/v1/config`: what the gateway is configured to do, and an administrator's word to read it anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from gateway.access.callers import Caller
from gateway.errors import ConflictError
from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.standing import Standing
from gateway.learning.standings import Standings
from gateway.reloading.upkeep import Upkeep
from policy_store.errors import StoreError
from policy_store.replicas import ReplicaRecord


class ReplicaShown(BaseModel):
    """A process that serves on the same store."""

    name: str = Field(description="Host and process id.")
    config_hash: str = Field(description="What it runs.")
    state: Literal["current", "refused", "waiting"] = Field(
        description="`current`: it runs what it read last. `refused`: that had faults, named in its log; it "
        "runs what it had before. `waiting`: it has not read its file yet."
    )

    @classmethod
    def of(cls, replica: ReplicaRecord, asked: int = 0) -> ReplicaShown:
        """What a replica said of itself."""
        state: Literal["current", "refused"] = "refused" if replica.faults else "current"
        return cls(
            name=replica.shown_name,
            config_hash=replica.config_hash,
            state="waiting" if replica.asked < asked else state,
        )


class ConfigShown(BaseModel):
    """`GET /v1/config`."""

    config_hash: str = Field(description="Digest of what replicas must agree on.")
    description: dict[str, Any] = Field(description="The file without secrets, for `llmpo config diff`.")
    standings: dict[str, Any] = Field(
        description="Where experiments stand, by name, as the store knows them."
    )
    replicas: list[ReplicaShown] = Field(description="All that live; empty before the store answered.")
    replicas_differ: str | None = Field(description="Why nothing is decided; null where all run the same.")
    faults: list[str] = Field(description="Of the file that was read last; empty where it is in force.")


class ConfigReloaded(BaseModel):
    """`POST /v1/config/reload`."""

    config_hash: str = Field(description="Digest of what is in force now.")
    changed: bool = Field(description="Whether anything is other than before.")
    changes: list[dict[str, Any]] = Field(description="As `llmpo config diff --json` prints them.")
    loses_evidence: bool
    loses_traffic: bool
    rotated: list[str] = Field(
        description="Models and webhooks whose secrets, or other parts not shown, are others."
    )
    settings: list[str] = Field(description="Variables whose new values are followed.")
    needs_restart: list[str] = Field(description="Variables whose new values take a restart.")
    replicas: list[ReplicaShown] | None = Field(
        description="How all replicas on the store stand; null where the store does not say."
    )


def config_routes(
    catalogue: CatalogueHolder,
    upkeep: Upkeep,
    standings: Standings,
    the_admin: Callable[[Request], Caller],
) -> APIRouter:
    """The routes below `/v1/config`. `the_admin` gives the caller, and raises for anyone else."""
    agreement, reloader, replicas = upkeep.agreement, upkeep.reloader, upkeep.replicas

    async def guard(request: Request) -> None:
        the_admin(request)

    router = APIRouter(prefix="/v1/config", tags=["operations"], dependencies=[Depends(guard)])

    @router.get("")
    async def show_config() -> ConfigShown:
        """What is in force, where experiments stand, and which replicas run what."""
        found = await standings.read()
        return ConfigShown(
            config_hash=catalogue.current.config_hash,
            description=catalogue.current.description.to_json(),
            standings={name: standing.to_json() for name, standing in found.items()},
            replicas=[ReplicaShown.of(replica) for replica in agreement.replicas],
            replicas_differ=agreement.held,
            faults=[str(fault) for fault in reloader.faults] if reloader else [],
        )

    @router.post(
        "/reload",
        responses={
            409: {"description": "The gateway was not started from a file."},
            422: {"description": "The configuration has faults, which `faults` lists; nothing was changed."},
        },
    )
    async def reload_config(request: Request) -> ConfigReloaded:
        """Read the file again on all replicas. A file with faults changes nothing and they are all told."""
        if reloader is None:
            raise ConflictError("This gateway was not started from a file, so there is nothing to reload.")
        before: Mapping[str, Standing] = {}
        with suppress(StoreError):
            before = await standings.read()
        reloaded = await reloader.reload(the_admin(request).name, before)
        followed = await replicas.ask_all()
        if followed is None:
            reloader.rouse_siblings()
            return ConfigReloaded(**reloaded.to_json(), replicas=None)
        shown = [ReplicaShown.of(replica, replicas.asked) for replica in followed]
        return ConfigReloaded(**reloaded.to_json(), replicas=shown)

    return router
