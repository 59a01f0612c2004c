"""`POST /v1/feedback`, and the paths of other products' clients: what a user said or did about an answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, NamedTuple, NoReturn

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.access.callers import Caller
from gateway.api.described_body import described_body
from gateway.api.errors import error_reply
from gateway.api.feedback_models import (
    FeedbackAnswer,
    FeedbackBatch,
    FeedbackBody,
    FeedbackResults,
    answer_of,
    invalid,
    parse_feedback,
)
from gateway.api.feedback_peers import (
    HeliconeRating,
    LangfuseScore,
    Peer,
    PortkeyFeedback,
    TensorZeroReport,
    peer_of,
)
from gateway.errors import (
    BodyTooLargeError,
    GatewayError,
    InvalidFeedbackError,
    InvalidRequestError,
    UnsupportedMediaTypeError,
)
from gateway.learning.acknowledging import Acknowledgement, WaitingPlace
from gateway.learning.feedback import FeedbackService, OpenedReport
from gateway.learning.given_feedback import Feedback

PATH: Final = "/v1/feedback"
MOST_REPORTS: Final = 100
"""How many reports one request may hold."""

_SHAPES: Final = (
    FeedbackBody,
    FeedbackBatch,
    TensorZeroReport,
    LangfuseScore,
    HeliconeRating,
    PortkeyFeedback,
)
_DONE: Final = 200
_ACCEPTED: Final = 202
_SEVERAL: Final = 207
_CREATED: Final = 201

Admit = Callable[[Request], Awaitable[Caller]]
ReadBody = Callable[[Request], Awaitable[dict[str, Any]]]


def feedback_routes(desk: FeedbackDesk) -> APIRouter:
    """The routes that take reports, which `desk` has counted."""
    router = APIRouter(tags=["feedback"])

    @router.post(
        PATH,
        response_model=FeedbackAnswer | FeedbackResults | dict[str, Any],
        responses={_ACCEPTED: {"model": FeedbackAnswer, "description": "It waits (`feedback.spool`)."}},
        openapi_extra=described_body(*_SHAPES),
    )
    async def give_feedback(request: Request) -> Response:
        """Report what a user thought of a response. It is counted once, however often it is sent.

        You may send feedback on any answer, because an application cannot know which answers take part.
        """
        return await desk.answer(request)

    @router.post("/v1/request/{request_id}/feedback", openapi_extra=described_body(HeliconeRating))
    async def rate_request(request: Request, request_id: str) -> Response:
        """Say what a user thought of a response, as clients of Helicone do."""
        caller, fields = await desk.open(request)
        return _json(
            await desk.take(
                caller, {**fields, "request_id": request_id}, HeliconeRating, _idempotency_key(request)
            )
        )

    @router.post("/api/public/scores", openapi_extra=described_body(LangfuseScore))
    async def score(request: Request) -> Response:
        """Say what a user thought of a response, as clients of Langfuse do."""
        caller, fields = await desk.open(request)
        return _json(await desk.take(caller, fields, LangfuseScore, _idempotency_key(request)))

    @router.post(
        "/api/public/ingestion",
        responses={_SEVERAL: {"description": "What became of each."}},
        openapi_extra=described_body(),
    )
    async def ingest(request: Request) -> Response:
        """Take the scores of a batch of Langfuse's events, as its libraries send them."""
        caller, fields = await desk.open(request)
        return _json(await desk.take_events(request, caller, fields), _SEVERAL)

    return router


class _Sent(NamedTuple):
    """A report, and the shape in which it came; None for our own."""

    report: OpenedReport
    peer: Peer | None


class FeedbackDesk:
    """Takes reports from requests.

    Args:
        service: Counts reports.
        admit: Gives the caller, after counting the request against the limits of its key.
        read_body: Reads the body, or raises InvalidRequestError.
    """

    def __init__(self, service: FeedbackService, admit: Admit, read_body: ReadBody) -> None:
        self._service = service
        self._admit = admit
        self._read_body = read_body

    async def answer(self, request: Request) -> Response:
        """The answer to `POST /v1/feedback`."""
        caller, fields = await self.open(request)
        if fields.keys() == {"reports"}:
            reports = self.several(fields, "reports")
            return _json({"results": await self.take_all(request, caller, reports)})
        became, peer = await self._taken(caller, fields, peer_of(fields), _idempotency_key(request))
        return _reply(became) if peer is None else _json(_told(became, peer))

    async def open(self, request: Request) -> tuple[Caller, dict[str, Any]]:
        """The caller, and what the body holds. Raises the error that refuses the request."""
        caller = await self._admit(request)
        try:
            return caller, await self._read_body(request)
        except InvalidRequestError as error:
            self._refuse(error)

    async def take(
        self, caller: Caller, fields: Any, shape: type[Peer] | None, idempotency_key: str | None = None
    ) -> Mapping[str, Any]:
        """Have one report counted, and say what became of it as its sender expects.

        Args:
            caller: The sender.
            fields: The report.
            shape: The product whose clients send it so; None for our own.
            idempotency_key: What the sender calls this report, if the report does not say.
        """
        return _told(*await self._taken(caller, fields, shape, idempotency_key))

    async def _taken(
        self, caller: Caller, fields: Any, shape: type[Peer] | None, idempotency_key: str | None
    ) -> tuple[Acknowledgement, Peer | None]:
        feedback, peer = self._read(fields, shape, idempotency_key)
        report = await self._service.opened(feedback, caller.key, is_admin=caller.is_admin)
        return await self._service.count(report), peer

    def _read(
        self, fields: Any, shape: type[Peer] | None, idempotency_key: str | None = None
    ) -> tuple[Feedback, Peer | None]:
        """A report, and the shape in which it was sent. Raises InvalidFeedbackError."""
        try:
            if not isinstance(fields, dict):
                raise invalid("A report must be an object; of events, only scores can be taken.")
            peer = None if shape is None else shape.of(fields)
            feedback = parse_feedback(fields) if peer is None else peer.feedback()
        except InvalidRequestError as error:
            self._refuse(error)
        if idempotency_key is not None and feedback.idempotency_key is None:
            feedback = feedback._replace(idempotency_key=idempotency_key)
        return feedback, peer

    def several(self, fields: Mapping[str, Any], name: str) -> list[Any]:
        """The reports of a batch, in the field of this name. Raises InvalidFeedbackError."""
        with self.refusals_told():
            reports = fields.get(name)
            if not isinstance(reports, list) or not 1 <= len(reports) <= MOST_REPORTS:
                raise invalid(f'"{name}" must be a list of 1 to {MOST_REPORTS} reports.', param=name)
        return reports

    async def take_all(
        self, request: Request, caller: Caller, reports: list[Any], shape: type[Peer] | None = None
    ) -> list[Mapping[str, Any]]:
        """Have several reports counted; each counts as a request under the key's limits.

        They are counted together, those about one unit one after the other. What concerns all that follow is
        raised: the store is away, or the key's requests are used up. The whole batch may be sent again then,
        because what was counted is not counted again.
        """
        results: dict[int, Mapping[str, Any]] = {}
        sent: dict[int, _Sent] = {}
        try:
            for number, report in enumerate(reports):
                if number:
                    await self._admit(request)
                try:
                    feedback, peer = self._read(report, shape or peer_of(report))
                    opened = await self._service.opened(feedback, caller.key, is_admin=caller.is_admin)
                    sent[number] = _Sent(opened, peer)
                except InvalidFeedbackError as error:
                    results[number] = _refused(error)
        except GatewayError:
            await self._all_counted(sent)  # they were within the limits
            raise
        results |= await self._all_counted(sent)
        return [results[number] for number in range(len(reports))]

    async def take_events(
        self, request: Request, caller: Caller, fields: Mapping[str, Any]
    ) -> dict[str, list[dict[str, Any]]]:
        """What became of a batch of Langfuse's events; only scores can be taken."""
        events = [event if isinstance(event, dict) else {} for event in self.several(fields, "batch")]
        bodies = [event.get("body") if event.get("type") == "score-create" else None for event in events]
        results = await self.take_all(request, caller, bodies, LangfuseScore)
        told: dict[str, list[dict[str, Any]]] = {"successes": [], "errors": []}
        for event, result in zip(events, results, strict=True):
            named = str(event.get("id", ""))
            if "error" in result:
                told["errors"].append({"id": named, "status": 400, "message": result["error"]["message"]})
            else:
                told["successes"].append({"id": named, "status": _CREATED})
        return told

    async def _all_counted(self, sent: Mapping[int, _Sent]) -> dict[int, Mapping[str, Any]]:
        """What became of each report. Raises what concerns not only one of them."""
        found: dict[int, Mapping[str, Any]] = {}
        for numbers in _rounds(sent):
            became = await asyncio.gather(
                *(self._service.count(sent[number].report) for number in numbers), return_exceptions=True
            )
            for number, result in zip(numbers, became, strict=True):
                if isinstance(result, InvalidFeedbackError):
                    found[number] = _refused(result)
                elif isinstance(result, BaseException):
                    raise result
                else:
                    found[number] = _told(result, sent[number].peer)
        return found

    async def linkable(self, caller: Caller, fields: Mapping[str, Any]) -> tuple[Feedback, float]:
        """A report that a link is to make, checked, and how long feedback on its answer counts."""
        with self.refusals_told():
            feedback = parse_feedback(fields)
        feedback, experiment = await self._service.linkable(feedback, caller.key, is_admin=caller.is_admin)
        return feedback, experiment.window_seconds

    async def follow(self, feedback: Feedback) -> FeedbackAnswer:
        """Have counted what a link says."""
        return answer_of(await self._service.receive(feedback))

    def discarded(self, reason: str) -> None:
        """Announce a report that changed nothing."""
        self._service.discarded(reason)

    @contextmanager
    def refusals_told(self) -> Iterator[None]:
        """Announce why what was sent is no report."""
        try:
            yield
        except InvalidRequestError as error:
            self._refuse(error)

    def _refuse(self, error: InvalidRequestError) -> NoReturn:
        """Announce why what was sent is no report, and raise it."""
        match error:
            case InvalidFeedbackError():
                self.discarded(error.reason)
                raise error
            case BodyTooLargeError():
                self.discarded("body_too_large")
                raise error
            case UnsupportedMediaTypeError():
                self.discarded("unsupported_media_type")
                raise error
            case _:
                self.discarded("invalid_body")
                raise InvalidFeedbackError(str(error), reason="invalid_body", status=error.status) from error


def _rounds(sent: Mapping[int, _Sent]) -> Iterable[Sequence[int]]:
    """The numbers of all reports, so that of several about one unit each has a round of its own, in order."""
    rounds: dict[int, list[int]] = {}
    earlier = Counter[tuple[str, bytes]]()
    for number, each in sent.items():
        unit = each.report.unit
        rounds.setdefault(0 if unit is None else earlier[unit], []).append(number)
        if unit is not None:
            earlier[unit] += 1
    return rounds.values()


def _told(became: Acknowledgement, peer: Peer | None) -> Mapping[str, Any]:
    """What became of a report, as the senders of its shape expect it."""
    answer = answer_of(became)
    return answer.content if peer is None else peer.reply(answer)


@lru_cache(maxsize=1024)  # there are few different answers for each experiment
def _reply(became: Acknowledgement) -> Response:
    """The reply to a report of our own shape."""
    is_waiting = became.became is WaitingPlace.SPOOLED
    return _json(answer_of(became).content, _ACCEPTED if is_waiting else _DONE)


def _refused(error: InvalidFeedbackError) -> dict[str, Any]:
    """The refusal of one of several reports."""
    refused: dict[str, Any] = orjson.loads(error_reply(error).body)
    return refused


def _idempotency_key(request: Request) -> str | None:
    for name, value in request.scope["headers"]:
        if name == b"idempotency-key":
            return str(value, "latin-1")
    return None


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
