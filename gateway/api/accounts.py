"""Puts an id into the answer to every request, and makes events of its beginning and end.

The endpoints that ask models (`inference.py`) and those that take reports (`direct.py`) do this themselves;
`Accounts` is for all other requests, including those for paths that do not exist.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import RequestBegun, RequestFinished
from gateway.running.request_id import ABOUT, HEADER, request_id_of

UNMATCHED: Final = "unmatched"
"""The one endpoint name for all paths that do not exist, because callers can make up any number of them."""
CALLER_LEFT: Final = 499
_INTERNAL: Final = 500
ACCOUNT: Final = "llmpo_account"
"""Where a request's scope has its account."""


@dataclass(slots=True)
class RequestAccount:
    """What is known about a request so far.

    Attributes:
        request_id: The caller's own, or a new one.
        endpoint: The route's path as declared.
        started: When it began, in seconds of a monotonic timer.
        status: The answer's, once there is one.
        code: What was wrong; empty as long as nothing was.
        key: Name of the caller's API key, once it is known.
    """

    request_id: str
    endpoint: str
    started: float = 0.0
    status: int = CALLER_LEFT
    code: str = ""
    key: str = ""

    def finished(self, ended: float) -> RequestFinished:
        """The event of the request's end, at this time of the timer."""
        code = self.code or ("" if self.status < CALLER_LEFT else "caller_left")
        return RequestFinished(
            self.request_id, self.endpoint, self.status, self.started, ended, None, code, "", self.key
        )


def account_of(scope: Scope) -> RequestAccount:
    """The account of a request in its scope; an empty account if there is none."""
    account = scope.get(ACCOUNT)
    return account if isinstance(account, RequestAccount) else RequestAccount("", UNMATCHED)


class Accounts:
    """Passes requests on, and tells the hooks about them.

    Args:
        routes: The routes, in the order in which they are tried.
        hooks: Told of every request.
        timer: Monotonic seconds.
    """

    def __init__(
        self,
        routes: Iterable[BaseRoute],
        hooks: Hooks,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._paths = [(route.path_format, route.path_regex) for route in routes if isinstance(route, Route)]
        # Most paths are written as they are declared.
        self._known = {declared: self._declared_as(declared) for declared, _ in self._paths}
        self._hooks = hooks
        self._timer = timer

    async def passed_to(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Let `app` answer one HTTP request."""
        path = scope["path"]
        endpoint = self._known.get(path) or self._declared_as(path)
        account = RequestAccount(request_id_of(scope["headers"]), endpoint, self._timer())

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                account.status = message["status"]
                named = (HEADER, account.request_id.encode())
                message = {**message, "headers": [*message.get("headers", ()), named]}
            await send(message)

        self._hooks.tell(RequestBegun(account.request_id, account.endpoint))
        token = ABOUT.set(account.request_id)
        try:
            await app({**scope, ACCOUNT: account}, receive, send_named)
        except Exception:
            account.status, account.code = _INTERNAL, account.code or "internal_error"
            raise
        finally:
            self._hooks.tell(account.finished(self._timer()))
            ABOUT.reset(token)

    def _declared_as(self, path: str) -> str:
        """The path of the first route that takes it."""
        return next((declared for declared, regex in self._paths if regex.match(path)), UNMATCHED)
