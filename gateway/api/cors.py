"""Lets pages of the origins that the file declares call this gateway from a browser.

Only answers to declared origins have the permitting headers. Cookies are not used: a page sends an API key
like any other client.
"""

from __future__ import annotations

from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.experiments.catalogue import CatalogueHolder

_METHODS: Final = ("GET", "HEAD", "POST", "DELETE")
_MAX_AGE_SECONDS: Final = 600
_STANDINGS: Final = ("limit", "remaining", "reset")
_UNITS: Final = ("requests", "tokens")
# The headers that a page may read besides the body; a browser hides all others.
_EXPOSED: Final = (
    "request-id",
    "retry-after",
    "x-request-id",
    "x-llmpo-fallback",
    "x-llmpo-model",
    "x-llmpo-policy",
    "x-llmpo-response-id",
    *(f"x-ratelimit-{what}-{unit}" for what in _STANDINGS for unit in _UNITS),
    *(f"anthropic-ratelimit-{unit}-{what}" for what in _STANDINGS for unit in _UNITS),
)


class DeclaredOrigins:
    """Answers preflight requests, and marks answers to pages of declared origins.

    Args:
        catalogue: Declares the origins; it is read for each request that has an origin.
        app: Answers everything but preflight requests.
    """

    def __init__(self, catalogue: CatalogueHolder, app: ASGIApp) -> None:
        self._catalogue = catalogue
        self._app = app
        self._origins: tuple[str, ...] = ()
        self._middleware: ASGIApp = app

    def concern(self, scope: Scope) -> bool:
        """Whether a request comes from a page and the file declares any origins."""
        if not self._catalogue.current.cors_origins or scope["type"] != "http":
            return False
        return any(name == b"origin" for name, _ in scope["headers"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request from a page."""
        origins = self._catalogue.current.cors_origins
        if origins != self._origins:
            self._origins = origins
            self._middleware = CORSMiddleware(
                self._app,
                allow_origins=origins,
                allow_methods=_METHODS,
                allow_headers=("*",),
                expose_headers=_EXPOSED,
                max_age=_MAX_AGE_SECONDS,
            )
        await self._middleware(scope, receive, send)
