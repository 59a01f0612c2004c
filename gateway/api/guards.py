"""FastAPI dependencies that decide whether a caller may use a route that asks no model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from gateway.access.callers import Authenticator, Caller
from gateway.access.limiting import Limiter
from gateway.api.accounts import account_of
from gateway.api.body import read_control
from gateway.api.body_room import BodyRoom
from gateway.api.caller_headers import caller_address, reporters_key, shown_key

Guard = Callable[[Request], Awaitable[None]]
"""Raises an error if the caller may not use the route."""


@dataclass(frozen=True, slots=True)
class Guards:
    """The checks before a route. Each raises an error to refuse the request.

    Attributes:
        authenticator: Knows the keys in force.
        limiter: Counts requests of keys that have limits.
        metrics_public: Whether metrics need no key.
        bodies: The room for bodies.
    """

    authenticator: Authenticator
    limiter: Limiter
    metrics_public: bool
    bodies: BodyRoom

    def client(
        self,
        request: Request,
        key_in: Callable[[Mapping[bytes, bytes]], bytes | None] = shown_key,
    ) -> Caller:
        """The caller, who has a key wherever one is needed; `key_in` finds it in the headers."""
        caller = self.authenticator.authenticate(
            key_in(dict(request.scope["headers"])), caller_address(request.scope)
        )
        account_of(request.scope).key = caller.name
        return caller

    async def require_client(self, request: Request) -> None:
        """Refuse callers without a valid key."""
        self.client(request)

    async def admitted(self, request: Request) -> Caller:
        """The caller, whose request has been counted against the limits of its key."""
        caller = self.client(request)
        if caller.is_limited:
            await self._count(request, caller)
        return caller

    async def reporter(self, request: Request) -> Caller:
        """The sender of a report, which has been counted against the limits of its key."""
        caller = self.client(request, reporters_key)
        if caller.is_limited:
            await self._count(request, caller)
        return caller

    async def _count(self, request: Request, caller: Caller) -> None:
        request_id = account_of(request.scope).request_id
        metered = await self.limiter.admit(request_id, caller.name, caller.limits, {})
        metered.settle(())

    def admin(self, request: Request) -> Caller:
        """The caller, who must be an admin."""
        caller = self.client(request)
        caller.require_admin()
        return caller

    async def require_admin(self, request: Request) -> None:
        """Refuse callers who are not admins."""
        self.admin(request)

    async def may_see_metrics(self, request: Request) -> None:
        """Refuse callers who are not admins, unless metrics are public."""
        if not self.metrics_public:
            self.admin(request)

    async def control_body(self, request: Request) -> dict[str, Any]:
        """The fields of a request to the gateway itself."""
        with self.bodies.place() as place:
            return await read_control(request.receive, request.scope["headers"], place)
