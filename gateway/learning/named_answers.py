"""The answer that a report is about: named by its own id, or by the id of the request it was given to.

Some clients keep the request's id and drop the response's. An id the gateway made holds the answer's; what an
id of the caller's own stands for was noted when the answer was given (`serving/answer_notes.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gateway.errors import InvalidFeedbackError, UnavailableError
from gateway.experiments.response_ids import Assignment, ResponseIds, Unassigned
from policy_store.answer_names import SEVERAL
from policy_store.errors import StoreUnavailableError

FindAnswer = Callable[[str | None, str], Awaitable[str | None]]


async def nothing_noted(_key: str | None, _request_id: str) -> str | None:
    """A `FindAnswer` where no requests are remembered."""
    return None


class NamedAnswers:
    """Opens what reports name.

    Args:
        response_ids: Opens ids.
        find_answer: Tells which answer of an API key, or of any key for None, a request's id stands for.
    """

    def __init__(self, response_ids: ResponseIds, find_answer: FindAnswer) -> None:
        self._response_ids = response_ids
        self._find_answer = find_answer

    async def open(self, named: str, key: str | None) -> Assignment | Unassigned:
        """What the answer was sealed for.

        Args:
            named: The id in the report.
            key: Name of the API key that reports; its own answers come before those of others.

        Raises:
            InvalidFeedbackError: If there is no such answer, or more than one.
            UnavailableError: If the store does not answer.
        """
        try:
            return self._response_ids.open(named)
        except InvalidFeedbackError as error:
            found = await self._noted(named, key) if error.reason == "malformed_id" else None
            if found is None:
                raise
        if found == SEVERAL:
            raise InvalidFeedbackError(
                "Several answers were given to requests of that id: quote the response's own id.",
                reason="ambiguous_id",
                status=422,
                param="id",
            )
        return self._response_ids.open(found)

    async def _noted(self, request_id: str, key: str | None) -> str | None:
        try:
            found = None if key is None else await self._find_answer(key, request_id)
            return found or await self._find_answer(None, request_id)
        except StoreUnavailableError as error:
            raise UnavailableError(
                "What that request was answered with cannot be looked up now. Send it again later."
            ) from error
