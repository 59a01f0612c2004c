"""`POST /v1/experiments/{name}/pause` and its like: a person's hand on an experiment. Needs an admin key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, StringConstraints

from gateway.access.callers import Caller
from gateway.api.control_body import ControlBody
from gateway.experiments.snapshot import SnapshotHolder
from gateway.experiments.verbs import SUMMARIES, Verb
from gateway.learning.steering import Steering, Wish
from policy_store.models import ExperimentView

LONGEST_REASON: Final = 1_000


class HandMove(ControlBody):
    """What a person says to it."""

    reason: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_REASON),
        Field(description="Why, for the audit log and every page."),
    ]
    policy: str | None = Field(
        default=None,
        description="To `promote`, which policy. To `approve` or `reject`, the one that was seen awaiting "
        "approval: another one is refused.",
    )


class Moved(BaseModel):
    """Where the experiment stands now."""

    name: str
    generation: int
    state: str
    incumbent: str = Field(description="The policy that serves ordinary traffic now.")

    @classmethod
    def of(cls, view: ExperimentView) -> Moved:
        """What a reading of the store says."""
        experiment = view.experiment
        incumbent = experiment.policies[view.incumbent]
        return cls(
            name=experiment.name, generation=view.generation, state=view.state.value, incumbent=incumbent
        )


def steering_routes(
    steering: Steering,
    snapshots: SnapshotHolder,
    the_admin: Callable[[Request], Caller],
    read_body: Callable[[Request], Awaitable[dict[str, Any]]],
) -> APIRouter:
    """A route for each of the verbs. `the_admin` gives the caller, and raises for anyone else."""
    router = APIRouter(prefix="/v1/experiments", tags=["experiments"])
    schema = {"content": {"application/json": {"schema": HandMove.model_json_schema()}}, "required": True}

    def add(verb: Verb) -> None:
        async def move(name: str, request: Request) -> Moved:
            actor = the_admin(request).name
            snapshots.current.experiment(name)
            said = HandMove.of(await read_body(request))
            return Moved.of(await steering.move(name, Wish(verb, actor, said.reason, said.policy)))

        router.add_api_route(
            f"/{{name}}/{verb}",
            move,
            methods=["POST"],
            summary=SUMMARIES[verb],
            operation_id=f"{verb}_experiment",
            openapi_extra={"requestBody": schema},
        )

    for verb in SUMMARIES:
        add(verb)
    return router
