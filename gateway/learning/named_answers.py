"""The answer that a report is about: named by its own id, by that of its request, or by that of its trace.

Some clients keep the request's id or their trace's and drop the response's. A request id that the gateway
made contains the answer's id; an id that the caller chose was noted when the answer was given
(`serving/answer_notes.py`).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.errors import InvalidFeedbackError, UnavailableError
from gateway.experiments.response_ids import Assignment, ResponseIds, Unassigned, malformed_id
from policy_store.answer_names import SEVERAL
from policy_store.errors import StoreUnavailableError

FindAnswer = Callable[[str | None, str], Awaitable[str | None]]
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


async def nothing_noted(_key: str | None, _request_id: str) -> str | None:
    """A `FindAnswer` for gateways that remember no requests."""
    return None


class NamedAnswers:
    """Opens the ids in reports.

    Args:
        response_ids: Opens ids.
        find_answer: Tells which answer of an API key, or of any key for None, a request's or trace's id
            stands for.
    """

    def __init__(self, response_ids: ResponseIds, find_answer: FindAnswer) -> None:
        self._response_ids = response_ids
        self._find_answer = find_answer

    def open(self, named: str) -> Assignment | Unassigned | None:
        """What the answer of an id was assigned; None if it is no such id, but perhaps another name.

        Raises:
            InvalidFeedbackError: If the id is not one of ours.
        """
        try:
            return self._response_ids.open(named)
        except InvalidFeedbackError as error:
            if error.reason != "malformed_id":
                raise
            return None

    async def find(self, named: str, key: str | None) -> tuple[str, Assignment | Unassigned]:
        """The id of the answer of that name, and what the answer was assigned.

        Args:
            named: A name that is no answer's id, such as the `traceparent` that the request had.
            key: Name of the API key that reports; its own answers take precedence.

        Raises:
            InvalidFeedbackError: If there is no such answer, or more than one.
            UnavailableError: If the store does not answer.
        """
        found = await self._noted(named, key)
        if found is None:
            raise malformed_id()
        if found == SEVERAL:
            raise InvalidFeedbackError(
                "Several answers were given to requests or in traces of that id: quote the response's own.",
                reason="ambiguous_id",
                status=422,
                param="id",
            )
        return found, self._response_ids.open(found)

    async def _noted(self, named: str, key: str | None) -> str | None:
        in_trace = _TRACEPARENT.fullmatch(named)
        noted_as = in_trace[1] if in_trace else named
        try:
            found = None if key is None else await self._find_answer(key, noted_as)
            return found or await self._find_answer(None, noted_as)
        except StoreUnavailableError as error:
            raise UnavailableError(
                "The answer to this request cannot be looked up now. Send the report again later."
            ) from error
