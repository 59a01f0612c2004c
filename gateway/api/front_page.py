"""The page at `/` and `/docs`. It lists every route, and loads nothing from other places."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>llmpo-gateway</title></head>
<body>
<h1>llmpo-gateway</h1>
<p>Set your client's base URL to this address followed by <code>/v1</code>.</p>
<ul>
<li><a href="/console">Console</a>: how the experiments are going</li>
<li><a href="/openapi.json">OpenAPI document</a>: every route and field</li>
</ul>
<table>
{rows}
</table>
</body></html>
"""
_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}


def front_page_routes(document: Callable[[], dict[str, Any]]) -> list[Route]:
    """The page at both paths. `document` gives the OpenAPI document."""

    async def show(_: Request) -> Response:
        rows = "\n".join(
            f"<tr><td>{method.upper()}</td><td><code>{escape(path)}</code></td>"
            f"<td>{escape(operation.get('summary', ''))}</td></tr>"
            for path, operations in document()["paths"].items()
            for method, operation in operations.items()
        )
        return HTMLResponse(_PAGE.format(rows=rows), headers=_HEADERS)

    return [Route(path, show, methods=["GET"], include_in_schema=False) for path in ("/", "/docs")]
