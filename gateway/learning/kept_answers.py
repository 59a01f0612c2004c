"""What a conversation shows about its answers, counted: which of two the caller went on from.

`serving/regenerating.py` sees it; here it becomes a comparison, by the same rules and in the same step of the
store as what applications report. The caller is told nothing, since it asked for something else.
"""

from __future__ import annotations

from typing import Final

from typing_extensions import override

from gateway.errors import InvalidFeedbackError, StoreHeldError, UnavailableError
from gateway.experiments.response_ids import Assignment, ResponseIds
from gateway.experiments.snapshot import SnapshotHolder, Unit
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import FeedbackDiscarded, FeedbackReceived
from gateway.learning.acknowledging import NotCounted
from gateway.learning.given_feedback import Feedback, Preferred
from gateway.learning.recording import ReportRecorder

KEPT_SIGNAL: Final = "kept"  # how a kept answer is labelled in metrics


class _KeptAnswer(Feedback):
    """A user may go back and go on from another answer: that contradicts nothing, it comes later."""

    @override
    def repeats(self, reported: str, unit: Unit) -> bool:
        return False


class KeptAnswers:
    """Counts kept answers.

    Args:
        recorder: Has reports counted.
        response_ids: Opens the ids of comparisons.
        snapshots: Holds the experiments this gateway has.
        hooks: Are told what became of each.
    """

    def __init__(
        self, recorder: ReportRecorder, response_ids: ResponseIds, snapshots: SnapshotHolder, hooks: Hooks
    ) -> None:
        self._recorder = recorder
        self._response_ids = response_ids
        self._snapshots = snapshots
        self._hooks = hooks

    async def count(self, comparison: str, kept: Preferred) -> None:
        """Have a comparison counted, once: what a caller went on from first stands.

        Args:
            comparison: Its id.
            kept: Which answer, in the order in which they were given.
        """
        try:
            assignment = self._response_ids.open(comparison)
            experiment = self._snapshots.current.experiments.get(assignment.experiment)
            if not isinstance(assignment, Assignment) or experiment is None:
                return
            became = await self._recorder.record(
                _KeptAnswer(comparison, preferred=kept), assignment, experiment
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
