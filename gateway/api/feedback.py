"""`POST /v1/feedback`: what a user said or did about an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request

from gateway.access.callers import Caller
from gateway.api.feedback_models import FeedbackAnswer, FeedbackBody, answer_of, parse_feedback
from gateway.errors import (
    BodyTooLargeError,
    InvalidFeedbackError,
    InvalidRequestError,
    UnsupportedMediaTypeError,
)
from gateway.learning.feedback import FeedbackService


def feedback_routes(
    service: FeedbackService,
    admit: Callable[[Request], Awaitable[Caller]],
    read_body: Callable[[Request], Awaitable[dict[str, Any]]],
) -> APIRouter:
    """The feedback route.

    Args:
        service: Counts reports.
        admit: Gives the caller, within the limits of the key.
        read_body: Reads the body, or raises InvalidRequestError.
    """
    router = APIRouter(tags=["feedback"])

    @router.post(
        "/v1/feedback",
        response_model_exclude_none=True,
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": FeedbackBody.model_json_schema()}},
            }
        },
    )
    async def give_feedback(request: Request) -> FeedbackAnswer:
        """Say what a user thought of a response. Counted once, however often it is sent.

        Feedback on any answer may be sent: an application cannot know which of them take part.
        """
        caller = await admit(request)
        try:
            feedback = parse_feedback(await read_body(request))
        except InvalidFeedbackError as error:
            service.discarded(error.reason)
            raise
        except BodyTooLargeError:
            service.discarded("body_too_large")
            raise
        except UnsupportedMediaTypeError:
            service.discarded("unsupported_media_type")
            raise
        except InvalidRequestError as error:
            service.discarded("invalid_body")
            raise InvalidFeedbackError(str(error), reason="invalid_body", status=error.status) from error
        outcome = await service.receive(feedback, caller.key, is_admin=caller.is_admin)
        return answer_of(outcome)

    return router
