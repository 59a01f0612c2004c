"""Answers a route's requests past FastAPI's middleware and router, which would take most of their time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.api.accounts import CALLER_LEFT, account_of
from gateway.api.body import ClientLeftError
from gateway.api.errors import error_reply, refusing
from gateway.errors import GatewayError
from gateway.running.logs import get_logger
from policy_store.errors import StoreError

_log = get_logger(__name__)


class DirectRoute:
    """An application for requests of one path and method, whose errors are answered as those of any route.

    Args:
        answer: Makes the answer. It checks the caller and reads the body by itself.
    """

    def __init__(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer: ASGIApp
        try:
            answer = await self._answer(Request(scope, receive, send))
        except (ClientLeftError, ClientDisconnect):
            answer = Response(status_code=CALLER_LEFT)
        except (GatewayError, StoreError) as error:
            answer = refusing(error_reply(error))
        except Exception as error:  # noqa: BLE001 - the caller gets an answer in any case
            kind = type(error).__name__
            _log.error("unforeseen_error", endpoint=account_of(scope).endpoint, error=kind, exc_info=error)
            answer = refusing(error_reply(error))
        await answer(scope, receive, send)
