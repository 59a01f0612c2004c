"""`POST /v1/experiments/{name}/pause` and the other moves by hand. They need an admin key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, StringConstraints

from gateway.access.callers import Caller
from gateway.api.control_body import ControlBody
from gateway.api.described_body import described_body
from gateway.experiments.snapshot import SnapshotHolder
from gateway.experiments.verbs import LONGEST_REASON, SUMMARIES, Verb
from gateway.learning.steering import Steering, Wish
from policy_store.view import ExperimentView


class HandMove(ControlBody):
    """The body of a request for a move by hand."""

    reason: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_REASON),
        Field(description="The reason, for the audit log and every page."),
    ]
    policy: str | None = Field(
        default=None,
        description="For `promote` and `readmit`: the policy. For `approve` or `reject`: the policy that you "
        "saw waiting for approval; if another one waits now, the request is refused.",
    )


class Moved(BaseModel):
    """The state of the experiment after the move."""

    name: str
    generation: int
    state: str
    incumbent: str = Field(description="The policy that answers ordinary traffic now.")

    @classmethod
    def of(cls, view: ExperimentView) -> Moved:
        """The state as the store has it."""
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
    """A route for each of the verbs. `the_admin` gives the caller, and raises if it is not an admin."""
    router = APIRouter(prefix="/v1/experiments", tags=["experiments"])

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
            openapi_extra=described_body(HandMove),
        )

    for verb in SUMMARIES:
        add(verb)
    return router
