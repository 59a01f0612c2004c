"""`/v1/keys`: make, list and revoke API keys while gateways run. Needs an admin key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from gateway.access.api_keys import KeyRegistry
from gateway.access.callers import Caller
from gateway.api.control_body import ControlBody
from gateway.api.described_body import body_of
from gateway.config.access import LimitsSpec
from gateway.config.api_keys import KeyRole
from gateway.config.configured_keys import ApiKey, KeySource
from gateway.config.values import Name


class KeyToMake(ControlBody):
    """The body of a request to make a key."""

    name: Annotated[
        Name, Field(description="Name of the key: 1 to 64 letters, digits, dots, dashes, underscores.")
    ]
    role: Annotated[KeyRole, Field(description="What the key may do.")] = "client"
    limits: Annotated[
        LimitsSpec,
        Field(
            description="The key's own limits; for limits not given here, a client key has the default ones."
        ),
    ] = Field(default_factory=LimitsSpec)

    @classmethod
    @cache
    def described(cls) -> dict[str, Any]:
        """The body with references resolved, because they would lead outside the OpenAPI document."""
        schema = cls.model_json_schema()
        limits = schema.pop("$defs")["LimitsSpec"]
        schema["properties"]["limits"] = limits
        return body_of(schema)


class KeyShown(BaseModel):
    """A key as the API shows it."""

    name: str
    role: KeyRole
    source: KeySource
    hash: str = Field(description="`sha256:` and the start of its hash.")
    limits: dict[str, int] = Field(description="Its limits, defaults included.")
    revoked_at: float | None = Field(default=None, description="Unix seconds; null while in force.")


class KeyMade(KeyShown):
    """A new key, with the key itself."""

    key: str = Field(description="The key. It is shown only now.")


class KeyList(BaseModel):
    """All keys: first those in force, then those revoked."""

    data: list[KeyShown]


def key_routes(
    registry: KeyRegistry,
    require_admin: Callable[[Request], Caller],
    read_body: Callable[[Request], Awaitable[dict[str, Any]]],
) -> APIRouter:
    """The routes below `/v1/keys`. `require_admin` raises for anyone else."""

    async def guard(request: Request) -> None:
        require_admin(request)

    router = APIRouter(prefix="/v1/keys", tags=["keys"], dependencies=[Depends(guard)])

    @router.get("")
    async def list_keys() -> KeyList:
        """List every key by name. The keys themselves are not kept."""
        await registry.refresh()
        in_force = [_shown(key) for key in registry.in_force]
        return KeyList(data=in_force + [_shown(each.key, each.at) for each in registry.revoked])

    @router.post("", openapi_extra=KeyToMake.described())
    async def make_key(request: Request) -> KeyMade:
        """Make a key. It works on every replica within a moment."""
        wanted = KeyToMake.of(await read_body(request))
        secret, key = await registry.create(
            wanted.name, wanted.role, wanted.limits, require_admin(request).name
        )
        return KeyMade(key=secret, **_shown(key).model_dump())

    @router.delete("/{name}")
    async def revoke_key(name: str, request: Request) -> KeyShown:
        """Revoke a key for good, wherever it was made. Every replica refuses it within a moment."""
        key = await registry.revoke(name, require_admin(request).name)
        at = next(each.at for each in registry.revoked if each.key.hash == key.hash)
        return _shown(key, at)

    return router


def _shown(key: ApiKey, revoked_at: float | None = None) -> KeyShown:
    return KeyShown(
        name=key.name,
        role=key.role,
        source=key.source,
        hash=f"sha256:{key.hash[:12]}",
        limits=key.limits.given(),
        revoked_at=revoked_at,
    )
