"""The console: one page, served by the gateway itself, that shows experiments and moves them.

The page is static except for two tables that are written into it: the states of experiments, and the verbs.
Its script reads `GET /v1/experiments` and moves experiments like any other client, with the user's API key.
It loads nothing from other places, and the headers below make the browser enforce that.
"""

from __future__ import annotations

import json
from functools import cache
from html import escape
from importlib.resources import files
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.experiments.verbs import SUMMARIES
from policy_store.states import STATES

PAGE: Final = "console.html"
_STATES_PLACE: Final = b"STATES_OF_EXPERIMENTS"
_VERBS_PLACE: Final = b"VERBS_OF_PEOPLE"
ASSETS: Final = {
    PAGE: "text/html; charset=utf-8",
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def console_routes() -> list[Route]:
    """The page at /console and its files beside it."""
    return [
        Route(path, _respond, methods=["GET"], include_in_schema=False)
        for path in ("/console", "/console/{asset}")
    ]


async def _respond(request: Request) -> Response:
    name = request.path_params.get("asset")
    if name == PAGE or name not in {None, *ASSETS}:  # the page has one address, without its file's name
        raise HTTPException(404, "The console has no file of that name. It is at /console.", PAGE_HEADERS)
    content = _content(name or PAGE)
    return Response(content, media_type=ASSETS[name or PAGE], headers=PAGE_HEADERS)


@cache
def _content(name: str) -> bytes:
    content = files(__package__).joinpath("static", name).read_bytes()
    if name != PAGE:
        return content
    states = {
        state.value: {
            "label": facts.label,
            "tone": facts.tone.value,
            "sentence": facts.sentence,
            "sentence_if_named": facts.sentence_if_named,
            "is_planned": facts.is_planned,
        }
        for state, facts in STATES.items()
    }
    for place, table in ((_STATES_PLACE, states), (_VERBS_PLACE, dict(SUMMARIES))):
        content = content.replace(place, escape(json.dumps(table)).encode())  # the value of an attribute
    return content
