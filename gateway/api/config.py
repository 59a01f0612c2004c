"""`/v1/config`: shows the configuration in force, and lets an administrator reload it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from gateway.access.callers import Caller
from gateway.errors import ConflictError
from gateway.experiments.catalogue import CatalogueHolder
from gateway.experiments.standing import ExperimentStanding
from gateway.learning.standings import Standings
from gateway.reloading.upkeep import Upkeep
from policy_store.errors import StoreError
from policy_store.replicas import ReplicaRecord


class ReplicaShown(BaseModel):
    """A process that uses the same store."""

    name: str = Field(description="Host and process id.")
    config_hash: str = Field(description="Hash of the configuration that it runs.")
    state: Literal["current", "refused", "waiting"] = Field(
        description="`current`: it runs the configuration that it read last. `refused`: that one had "
        "faults, which its log names; it runs the one before. `waiting`: it has not read its file yet."
    )

    @classmethod
    def of(cls, replica: ReplicaRecord, asked: int = 0) -> ReplicaShown:
        """The replica as it described itself."""
        state: Literal["current", "refused"] = "refused" if replica.faults else "current"
        return cls(
            name=replica.shown_name,
            config_hash=replica.config_hash,
            state="waiting" if replica.asked < asked else state,
        )


class ConfigShown(BaseModel):
    """`GET /v1/config`."""

    config_hash: str = Field(description="Digest of everything that replicas must agree on.")
    description: dict[str, Any] = Field(description="The file without secrets, for `llmpo config diff`.")
    standings: dict[str, Any] = Field(description="The state of each experiment in the store, by name.")
    replicas: list[ReplicaShown] = Field(
        description="All live replicas; empty before the store has answered."
    )
    replicas_differ: str | None = Field(
        description="Why nothing is decided; null if all replicas run the same configuration."
    )
    faults: list[str] = Field(description="Faults of the file that was read last; empty if it is in force.")


class ConfigReloaded(BaseModel):
    """`POST /v1/config/reload`."""

    config_hash: str = Field(description="Digest of the configuration in force now.")
    changed: bool = Field(description="Whether anything changed.")
    changes: list[dict[str, Any]] = Field(description="As `llmpo config diff --json` prints them.")
    loses_evidence: bool
    loses_traffic: bool
    rotated: list[str] = Field(
        description="Models and webhooks whose secrets, or other parts that are not shown, changed."
    )
    settings: list[str] = Field(description="Variables whose new values are in effect.")
    needs_restart: list[str] = Field(description="Variables whose new values need a restart.")
    replicas: list[ReplicaShown] | None = Field(
        description="All replicas that use the store; null if the store does not answer."
    )


def config_routes(
    catalogue: CatalogueHolder,
    upkeep: Upkeep,
    standings: Standings,
    the_admin: Callable[[Request], Caller],
) -> APIRouter:
    """The routes below `/v1/config`. `the_admin` gives the caller, and raises if it is not an admin."""
    agreement, reloader, replicas = upkeep.agreement, upkeep.reloader, upkeep.replicas

    async def guard(request: Request) -> None:
        the_admin(request)

    router = APIRouter(prefix="/v1/config", tags=["operations"], dependencies=[Depends(guard)])

    @router.get("")
    async def show_config() -> ConfigShown:
        """Show the configuration in force, the states of experiments, and the replicas' configurations."""
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
        """Reload the file on all replicas. A file with faults changes nothing; all are reported."""
        if reloader is None:
            raise ConflictError("This gateway was not started from a file, so there is nothing to reload.")
        before: Mapping[str, ExperimentStanding] = {}
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
