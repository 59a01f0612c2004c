"""Serves the page in a folder, and passes `/v1/` on to the gateway: what an application's own backend does.

    python examples/page_server.py examples/side_by_side [--port 8000]

The browser talks to this server only, so it needs no key and the gateway no permission for other origins.
Answers are passed on as they arrive, so streams stay streams.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

# What a page may ask for; nothing else of the gateway is reachable through here.
ALLOWED = {"/v1/chat/completions", "/v1/feedback"}
gateway = httpx.AsyncClient(
    base_url=os.environ.get("LLMPO_URL", "http://127.0.0.1:8080"),
    headers={"authorization": f"Bearer {os.environ.get('LLMPO_API_KEY', 'none-needed')}"},
    timeout=httpx.Timeout(10, read=600),
)


async def pass_on(request: Request) -> StreamingResponse:
    """The gateway's answer to the page's request."""
    asked = gateway.build_request(
        "POST", request.url.path, content=await request.body(), headers={"content-type": "application/json"}
    )
    answer = await gateway.send(asked, stream=True)
    return StreamingResponse(
        answer.aiter_bytes(),
        status_code=answer.status_code,
        media_type=answer.headers["content-type"],
        background=BackgroundTask(answer.aclose),
    )


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    app = Starlette(
        routes=[
            *(Route(path, pass_on, methods=["POST"]) for path in ALLOWED),
            Mount("/", StaticFiles(directory=options.folder, html=True)),
        ]
    )
    uvicorn.run(app, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
