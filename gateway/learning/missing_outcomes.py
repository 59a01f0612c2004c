"""What answers without feedback come to, put into the store beside the requests and not in them.

Each is held there from the answer on, until a report takes its place or the answer is as old as every answer
is when it counts (docs/decisions/0067-what-is-missing.md). An answer whose process dies before that is as if
it had not taken part, whatever it would have come to.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from gateway.config.feedback import Missing
from gateway.config.found_signals import FoundSignal
from gateway.experiments.missing_answers import Lack
from gateway.experiments.response_ids import Assignment
from gateway.experiments.snapshot import LiveExperiment
from gateway.learning.recording import ReportRecorder
from gateway.running.logs import get_logger
from policy_store.errors import StoreError, StoreUnavailableError

MOST_MISSING: Final = 10_000
_PAUSE_SECONDS: Final = 0.5

_log = get_logger(__name__)


class MissingOutcomes:
    """Those of one process.

    Args:
        recorder: Puts them into the store.
    """

    def __init__(self, recorder: ReportRecorder) -> None:
        self._recorder = recorder
        self._waiting: deque[tuple[Assignment, LiveExperiment, Missing | FoundSignal | Lack]] = deque()
        self._something = asyncio.Event()
        self._is_losing = False

    def note(
        self, assignment: Assignment, experiment: LiveExperiment, what: Missing | FoundSignal | Lack
    ) -> None:
        """Remember what is missing of an answer, soon."""
        if len(self._waiting) >= MOST_MISSING:
            if not self._is_losing:
                self._is_losing = True
                _log.warning("missing_outcomes_lost", experiment=experiment.name)
            return
        self._waiting.append((assignment, experiment, what))
        self._something.set()

    async def run(self) -> None:
        """Put what is noted into the store, for ever."""
        while True:
            await self._something.wait()
            if await self.write():
                self._something.clear()
            else:
                await asyncio.sleep(_PAUSE_SECONDS)

    async def write(self) -> bool:
        """Put what waits into the store; whether it took all of it."""
        while self._waiting:
            try:
                await self._recorder.note_missing(*self._waiting[0])
            except StoreUnavailableError:
                return False
            except StoreError:
                pass  # the unit reported, or the experiment is over
            self._waiting.popleft()
            self._is_losing = False
        return True
