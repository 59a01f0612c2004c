"""Answers a route's requests past FastAPI's middleware and router, which would take most of their time."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.api.accounts import ACCOUNT, CALLER_LEFT, RequestAccount
from gateway.api.body import ClientLeftError
from gateway.api.errors import as_response, error_reply
from gateway.errors import GatewayError
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import RequestBegun
from gateway.running.logs import get_logger
from gateway.running.request_id import ABOUT, HEADER, request_id_of
from policy_store.errors import StoreError

_log = get_logger(__name__)


class DirectRoute:
    """An application for requests of one path and method, reported and refused as those of any route.

    Args:
        path: The path.
        answer: Makes the answer. It checks the caller and reads the body by itself.
        hooks: Told of every request.
        timer: Monotonic seconds.
    """

    def __init__(
        self,
        path: str,
        answer: Callable[[Request], Awaitable[Response]],
        hooks: Hooks,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._path = path
        self._answer = answer
        self._hooks = hooks
        self._timer = timer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        account = RequestAccount(request_id_of(scope["headers"]), self._path, self._timer())
        scope[ACCOUNT] = account
        self._hooks.tell(RequestBegun(account.request_id, self._path))
        token = ABOUT.set(account.request_id)
        try:
            try:
                answer = await self._answer(Request(scope, receive, send))
            except Exception as error:  # noqa: BLE001 - the caller gets an answer in any case
                answer = self._refusal(account, error)
            account.status = answer.status_code
            named = (HEADER, account.request_id.encode())
            headers = [*answer.raw_headers, named]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
            await send({"type": "http.response.body", "body": answer.body})
        finally:
            self._hooks.tell(account.finished(self._timer()))
            ABOUT.reset(token)

    def _refusal(self, account: RequestAccount, error: Exception) -> Response:
        if isinstance(error, ClientLeftError | ClientDisconnect):
            return Response(status_code=CALLER_LEFT)
        if not isinstance(error, GatewayError | StoreError):
            kind = type(error).__name__
            _log.error("unforeseen_error", endpoint=self._path, error=kind, exc_info=error)
        reply = error_reply(error)
        account.code = reply.code
        return as_response(reply)
