"""Counts which of two answers a caller continued a conversation from.

`serving/regenerating.py` notices it. Here it becomes a comparison, by the same rules and in the same step of
the store as reports of applications. The caller gets no notice, because it asked for something else.
"""

from __future__ import annotations

from typing import Final

from typing_extensions import override

from gateway.errors import InvalidFeedbackError, StoreHeldError, UnavailableError
from gateway.experiments.response_ids import Assignment, ResponseIds
from gateway.experiments.served import UNKNOWN_BUILD
from gateway.experiments.snapshot import SnapshotHolder, Unit
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import FeedbackDiscarded, FeedbackReceived
from gateway.learning.acknowledging import NotCounted
from gateway.learning.given_feedback import Feedback, Preferred
from gateway.learning.recording import ReportRecorder

KEPT_SIGNAL: Final = "kept"  # how a kept answer is labelled in metrics


class _KeptAnswer(Feedback):
    """A kept answer. A user may go back and continue from another one later; that is no contradiction."""

    @override
    def repeats(self, reported: str, unit: Unit) -> bool:
        return False


class KeptAnswers:
    """Counts kept answers.

    Args:
        recorder: Has reports counted.
        response_ids: Opens the ids of comparisons.
        snapshots: Hold this gateway's experiments.
        hooks: Hear what became of each.
    """

    def __init__(
        self, recorder: ReportRecorder, response_ids: ResponseIds, snapshots: SnapshotHolder, hooks: Hooks
    ) -> None:
        self._recorder = recorder
        self._response_ids = response_ids
        self._snapshots = snapshots
        self._hooks = hooks

    async def count(self, comparison: str, kept: Preferred, builds: tuple[str, str] = ("", "")) -> None:
        """Have a comparison counted once; the first answer that the caller continued from stands.

        Args:
            comparison: Id of the comparison.
            kept: Which answer was kept, in the order in which they were given.
            builds: The builds that served them in this order, in hex; empty if unknown.
        """
        try:
            assignment = self._response_ids.open(comparison)
            experiment = self._snapshots.current.experiments.get(assignment.experiment)
            if not isinstance(assignment, Assignment) or experiment is None:
                return
            of_pair = builds if assignment.side == 0 else builds[::-1]
            served = b"".join(bytes.fromhex(build) or UNKNOWN_BUILD for build in of_pair)
            became = await self._recorder.record(
                _KeptAnswer(comparison, preferred=kept), assignment._replace(served=served), experiment
            )
        except InvalidFeedbackError as error:
            self._hooks.tell(FeedbackDiscarded(error.reason))
        except UnavailableError as error:
            is_held = isinstance(error, StoreHeldError)
            self._hooks.tell(FeedbackDiscarded("store_held" if is_held else "store_unavailable"))
        else:
            if isinstance(became, NotCounted):
                self._hooks.tell(FeedbackDiscarded(became.value))
            else:
                self._hooks.tell(FeedbackReceived(experiment.name, KEPT_SIGNAL, became.receipt.value))
