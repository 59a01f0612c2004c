"""Counts which of two answers a caller continued a conversation from.

`serving/regenerating.py` notices it. Here it becomes a comparison.
"""

from __future__ import annotations

from typing import Final

from typing_extensions import override

from gateway.errors import InvalidFeedbackError, UnavailableError
from gateway.experiments.response_ids import Assignment, ResponseIds
from gateway.experiments.served import UNKNOWN_BUILD
from gateway.experiments.snapshot import SnapshotHolder, Unit
from gateway.learning.given_feedback import Feedback, Preferred
from gateway.learning.unreported import UnreportedOutcomes

KEPT_SIGNAL: Final = "kept"  # how a kept answer is labelled in metrics


class _KeptAnswer(Feedback):
    """A kept answer. A user may go back and continue from another one later; that is no contradiction."""

    @override
    def repeats(self, reported: str, unit: Unit) -> bool:
        return False


class KeptAnswers:
    """Counts kept answers.

    Args:
        outcomes: Has them counted.
        response_ids: Opens the ids of comparisons.
        snapshots: Hold this gateway's experiments.
    """

    def __init__(
        self, outcomes: UnreportedOutcomes, response_ids: ResponseIds, snapshots: SnapshotHolder
    ) -> None:
        self._outcomes = outcomes
        self._response_ids = response_ids
        self._snapshots = snapshots

    async def count(self, comparison: str, kept: Preferred, builds: tuple[str, str] = ("", "")) -> None:
        """Have a comparison counted once; the first answer that the caller continued from stands.

        Args:
            comparison: Id of the comparison.
            kept: Which answer was kept, in the order in which they were given.
            builds: The builds that served them in this order, in hex; empty if unknown.
        """
        try:
            assignment = self._response_ids.open(comparison)
        except (InvalidFeedbackError, UnavailableError) as error:
            self._outcomes.discarded(error)
            return
        experiment = self._snapshots.current.experiments.get(assignment.experiment)
        if not isinstance(assignment, Assignment) or experiment is None:
            return
        of_pair = builds if assignment.side == 0 else builds[::-1]
        served = b"".join(bytes.fromhex(build) or UNKNOWN_BUILD for build in of_pair)
        kept_answer = _KeptAnswer(comparison, preferred=kept)
        await self._outcomes.count(kept_answer, KEPT_SIGNAL, assignment._replace(served=served), experiment)
