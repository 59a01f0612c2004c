"""Has outcomes counted that nobody reported, because the conversation shows them.

The rules, and the step of the store, are those of reports. The caller gets no notice, because it asked for
something else; the hooks hear what became of each.
"""

from __future__ import annotations

from gateway.errors import InvalidFeedbackError, UnavailableError
from gateway.experiments.response_ids import Assignment
from gateway.experiments.snapshot import LiveExperiment
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import FeedbackDiscarded, FeedbackReceived
from gateway.learning.acknowledging import NotCounted, discard_reason
from gateway.learning.given_feedback import Feedback
from gateway.learning.recording import ReportRecorder


class UnreportedOutcomes:
    """Counts them.

    Args:
        recorder: Has reports counted.
        hooks: Hear what became of each.
    """

    def __init__(self, recorder: ReportRecorder, hooks: Hooks) -> None:
        self._recorder = recorder
        self._hooks = hooks

    async def count(
        self, outcome: Feedback, label: str, assignment: Assignment, experiment: LiveExperiment
    ) -> None:
        """Have one counted, once; metrics name it by its label."""
        try:
            became = await self._recorder.record(outcome, assignment, experiment)
        except (InvalidFeedbackError, UnavailableError) as error:
            self.discarded(error)
            return
        if isinstance(became, NotCounted):
            self._hooks.tell(FeedbackDiscarded(became.value))
        else:
            self._hooks.tell(FeedbackReceived(experiment.name, label, became.receipt.value))

    def discarded(self, error: InvalidFeedbackError | UnavailableError) -> None:
        """Tell that one is not counted because of an error."""
        self._hooks.tell(FeedbackDiscarded(discard_reason(error)))
