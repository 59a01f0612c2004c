"""`/v1/store`: shows the state of the shared store, and lets an operator accept it. Needs an admin key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from gateway.access.callers import Caller
from gateway.learning.store_watch import StoreWatch
from gateway.running.store_health import StoreHealth

_WORDS: Final = {True: "up", False: "down", None: "unknown"}


class StoreShown(BaseModel):
    """Show the state of the store as this replica sees it."""

    store: Annotated[str, Field(description="`up`, `down`, `not_writable`, `held` or `unknown`.")]
    detail: Annotated[str, Field(description="The server's words, or what was lost; may be empty.")]
    epoch: Annotated[int, Field(description="Rises whenever an operator accepts the store.")]
    evicts: Annotated[bool | None, Field(description="Whether the server drops keys; null: it does not say.")]
    persists: Annotated[bool | None, Field(description="Whether it keeps its data; null: it does not say.")]


def store_state(health: StoreHealth, watch: StoreWatch) -> tuple[str, str]:
    """The state of the store in a word and, if something is wrong, in a sentence."""
    if health.is_up and health.is_writable is False:
        return "not_writable", health.says
    if health.is_up and watch.history.held is not None:
        return "held", f"{watch.history.held.value}: decisions and feedback wait for `llmpo store accept`"
    return _WORDS[health.is_up], health.says


def store_routes(
    watch: StoreWatch, health: StoreHealth, require_admin: Callable[[Request], Caller]
) -> APIRouter:
    """The routes below `/v1/store`. `require_admin` raises for anyone else."""

    async def guard(request: Request) -> None:
        require_admin(request)

    router = APIRouter(prefix="/v1/store", tags=["operations"], dependencies=[Depends(guard)])

    def shown() -> StoreShown:
        state, detail = store_state(health, watch)
        return StoreShown(
            store=state,
            detail=detail,
            epoch=watch.history.epoch,
            evicts=watch.server.evicts,
            persists=watch.server.persists,
        )

    @router.get("")
    async def show_store() -> StoreShown:
        """Show the state of the store as this replica sees it."""
        return shown()

    @router.post("/accept")
    async def accept_store(request: Request) -> StoreShown:
        """Accept the store as it is although it lost something. Every replica follows within seconds."""
        await watch.accept(require_admin(request).name)
        return shown()

    return router
