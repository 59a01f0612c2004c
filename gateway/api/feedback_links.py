"""Links for one report: an application makes them with its key, and a browser uses them without one.

Opening a link reports nothing, because mail scanners and prefetching open every link. It shows a page with a
button, and only pressing the button reports. A web page's own script posts to the link instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Annotated, Final
from urllib.parse import parse_qsl

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, StrictInt
from starlette.responses import HTMLResponse, Response

from gateway.api.described_body import described_body
from gateway.api.errors import error_reply
from gateway.api.feedback import FeedbackDesk
from gateway.api.feedback_models import FeedbackAnswer, FeedbackBody, invalid
from gateway.errors import BodyTooLargeError, GatewayError, InvalidFeedbackError
from gateway.experiments.feedback_links import FeedbackLink, FeedbackLinks
from gateway.learning.given_feedback import Feedback, Preferred
from gateway.learning.signals import needs_value, takes_truth

LINK_PATH: Final = "/v1/feedback/link"
_MOST_BYTES: Final = 4096
_LIFETIME: Final = "expires_in"
_PREFERENCES: Final[Mapping[str, Preferred]] = {"0": 0, "1": 1, "tie": "tie", "both_bad": "both_bad"}
_TRUTHS: Final = {"true": True, "false": False}
_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex",
}
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Feedback</title></head>
<body><h1>{title}</h1>
{content}
</body></html>
"""
_BUTTON: Final = '<button name="value" value="{value}">{label}</button>'


class NewLink(FeedbackBody):
    """The body of `POST /v1/feedback/links`: a feedback report whose value the user may choose."""

    expires_in: Annotated[
        StrictInt | None,
        Field(
            ge=1, description="Seconds for which the link works; by default and at most `feedback.window`."
        ),
    ] = None


class LinkMade(BaseModel):
    """A link with the address that the caller used, and its path for other addresses of the gateway."""

    url: str
    path: str
    expires_at: int = Field(description="Unix seconds.")


def feedback_link_routes(desk: FeedbackDesk, links: FeedbackLinks, clock: Callable[[], float]) -> APIRouter:
    """The routes that make and use links.

    Args:
        desk: Takes the reports.
        links: Signs links and checks them.
        clock: Unix seconds.
    """
    router = APIRouter(tags=["feedback"])

    @router.post("/v1/feedback/links", openapi_extra=described_body(NewLink))
    async def make_link(request: Request) -> LinkMade:
        """Make a link by which a user can give this feedback without an API key."""
        caller, fields = await desk.open(request)
        with desk.refusals_told():
            lifetime = fields.pop(_LIFETIME, None)
            is_count = isinstance(lifetime, int) and not isinstance(lifetime, bool) and lifetime >= 1
            if lifetime is not None and not is_count:
                raise invalid(
                    f'"{_LIFETIME}" must be a whole number of seconds, at least 1.', param=_LIFETIME
                )
        feedback, most_seconds = await desk.linkable(caller, fields)
        expires_at = int(clock() + (most_seconds if lifetime is None else min(lifetime, most_seconds)))
        value = "" if feedback.value is None else orjson.dumps(feedback.value).decode()
        preferred = "" if feedback.preferred is None else str(feedback.preferred)
        link = FeedbackLink(feedback.response_id, expires_at, feedback.signal or "", value, preferred)
        path = f"{LINK_PATH}?{links.signed(link)}"
        return LinkMade(url=str(request.base_url).rstrip("/") + path, path=path, expires_at=expires_at)

    @router.get(LINK_PATH, response_class=HTMLResponse)
    async def show_link(request: Request) -> Response:
        """Ask the user to confirm. Nothing is reported."""
        try:
            with desk.refusals_told():
                link = links.open(request.query_params, clock())
        except InvalidFeedbackError as error:
            return _refused(request, error)
        return _page("Your feedback", _form(link))

    @router.post(LINK_PATH, response_model=FeedbackAnswer, response_model_exclude_none=True)
    async def follow_link(request: Request) -> Response:
        """Make the link's report, once."""
        try:
            answer = await desk.follow(await _followed(request))
        except GatewayError as error:
            return _refused(request, error)
        if _wants_page(request):
            return _page("Thank you", f"<p>{escape(answer.detail)}</p>")
        return Response(orjson.dumps(answer.content), media_type="application/json")

    async def _followed(request: Request) -> Feedback:
        with desk.refusals_told():
            link = links.open(request.query_params, clock())
            said = link.value
            if link.signal and not said and needs_value(link.signal):
                said = await _said(request)
            return _feedback(link, said)

    return router


def _wants_page(request: Request) -> bool:
    """Whether the answer is for a person, not a program."""
    return "text/html" in request.headers.get("accept", "")


def _refused(request: Request, error: GatewayError) -> Response:
    """The refusal as a page; for a program it is raised instead."""
    if not _wants_page(request):
        raise error
    return _page(str(error), status=error_reply(error).status)


def _feedback(link: FeedbackLink, said: str) -> Feedback:
    """The report of a link, with the value it has or the user gave. Raises InvalidFeedbackError."""
    if link.preferred:
        return Feedback(link.response_id, preferred=_PREFERENCES[link.preferred])
    try:
        truth = _TRUTHS.get(said)
        value = float(said) if said and truth is None else truth
    except ValueError:
        raise InvalidFeedbackError(
            "The value must be true, false or a number.", reason="invalid_value", status=422, param="value"
        ) from None
    return Feedback(link.response_id, link.signal, value)


async def _said(request: Request) -> str:
    """The `value` in a form or in a JSON object; empty if there is none. Raises BodyTooLargeError."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            raise BodyTooLargeError(
                f"The body of the request is larger than {_MOST_BYTES} bytes.", code="request_too_large"
            )
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return dict(parse_qsl(body.decode("utf-8", "replace"))).get("value", "")
    value = fields.get("value") if isinstance(fields, dict) else None
    return "" if value is None else orjson.dumps(value).decode()


def _form(link: FeedbackLink) -> str:
    """The question, with a button for each possible answer."""
    what = escape(link.signal or "preferred")
    said = escape(link.value or link.preferred)
    if said or not needs_value(link.signal):
        shown = f"{what}: {said}" if said else what
        content = f"<p>{shown}</p>{_BUTTON.format(value=said, label='Send')}"
    elif takes_truth(link.signal):
        content = _BUTTON.format(value="true", label="Good") + _BUTTON.format(value="false", label="Bad")
    else:
        content = (
            f'<label>{what} <input name="value" inputmode="decimal" required></label> <button>Send</button>'
        )
    return f'<form method="post">{content}</form>'


def _page(title: str, content: str = "", status: int = 200) -> HTMLResponse:
    return HTMLResponse(_PAGE.format(title=escape(title), content=content), status, _HEADERS)
