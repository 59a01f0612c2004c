"""The ASGI application: requests for models and reports go past FastAPI, straight to what answers them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api.accounts import Accounts
from gateway.api.cors import DeclaredOrigins
from gateway.api.direct import DirectRoute
from gateway.api.error_formats import reply_for
from gateway.api.errors import refusing
from gateway.api.hosts import LoopbackHosts
from gateway.api.inference import InferenceEndpoint
from gateway.api.paths import written_in_full
from gateway.errors import ForeignHostError
from gateway.experiments.catalogue import CatalogueHolder


class GatewayApp(FastAPI):
    """Hands requests for models, and reports, to their endpoints, past its middleware and router.

    Middleware and router would take a tenth of a request's time and contribute nothing, because the
    endpoints report requests, limit bodies and turn every fault into an answer themselves. Anything else
    than a POST to exactly such a path goes through the router, where these endpoints are routes too.

    Attributes:
        catalogue: The configuration in force; assigning another one to its `current` changes what is served.
        model_endpoints: The endpoints by path; empty until the lifespan begins.
        direct_routes: Further endpoints by path, which ask no model; empty until then.
        hosts: The host names that a gateway without keys accepts; None until the lifespan begins.
        accounts: Reports requests that no endpoint answers; None until the lifespan begins.
        ask_to_reload: Makes the gateway read its configuration anew, soon; for signals.
    """

    def __init__(self, catalogue: CatalogueHolder, **options: Any) -> None:
        super().__init__(**options)
        self.catalogue = catalogue
        self.model_endpoints: dict[str, InferenceEndpoint] = {}
        self.direct_routes: dict[str, DirectRoute] = {}
        self.hosts: LoopbackHosts | None = None
        self.accounts: Accounts | None = None
        self.ask_to_reload: Callable[[], None] = lambda: None
        self._origins = DeclaredOrigins(catalogue, self._answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        endpoint = self._endpoint(scope)
        if endpoint is None:
            scope = {**scope, "path": written_in_full(scope["path"])}
            endpoint = self._endpoint(scope)
        refusal = self._refusal(scope)
        if endpoint is not None and refusal is None and not self._origins.concern(scope):
            await endpoint(scope, receive, send)
        elif self.accounts is None or (refusal is None and endpoint is not None):
            await self._answer_pages(scope, receive, send)
        else:
            await self.accounts.passed_to(refusal or self._answer_pages, scope, receive, send)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        """The application that refuses a request meant for another host."""
        if self.hosts is not None:
            try:
                self.hosts.check(scope["headers"])
            except ForeignHostError as error:
                return refusing(reply_for(scope["path"], error))
        return None

    async def _answer_pages(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._origins.concern(scope):
            await self._origins(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._endpoint(scope) or super().__call__)(scope, receive, send)

    def _endpoint(self, scope: Scope) -> ASGIApp | None:
        if scope["method"] != "POST":
            return None
        path = scope["path"]
        return self.model_endpoints.get(path) or self.direct_routes.get(path)
