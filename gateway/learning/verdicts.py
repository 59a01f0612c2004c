"""Counts what a judge says of answers that no user saw, in one step of the store, as reports are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.errors import InvalidFeedbackError, UnavailableError
from gateway.experiments.response_ids import NOBODY, Assignment
from gateway.experiments.snapshot import SnapshotHolder
from gateway.judging.unseen import Dropped, UnseenPair
from gateway.judging.verdicts import ResultWord
from gateway.learning.acknowledging import NotCounted
from gateway.learning.recording import ReportRecorder
from policy_store.log_records import Result

_ATTEMPTS: Final = 4
_PAUSE_SECONDS: Final = 0.5
_MOST_KNOWN: Final = 50_000

_Vote = tuple[str, int, int, int, bytes]


class JudgesVerdicts:
    """The verdicts of the judges of one process.

    A verdict is about one request, whose unit the store counts once. So an attempt whose answer was lost can
    be repeated, and a verdict whose process dies is not there.

    Args:
        recorder: Has reports counted.
        snapshots: Hold this gateway's experiments.
        sleep: Waits between two attempts.
    """

    def __init__(
        self,
        recorder: ReportRecorder,
        snapshots: SnapshotHolder,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._recorder = recorder
        self._snapshots = snapshots
        self._sleep = sleep
        # Votes known to be the last that their user may give; asking the judge for another would be in vain.
        self._spent: dict[_Vote, None] = {}

    def may_count(self, unseen: UnseenPair) -> Dropped | None:
        """Why a verdict could not be counted now, as far as this process knows; None if it could."""
        live = self._snapshots.current.experiments.get(unseen.experiment.name)
        is_same = live is not None and live.generation == unseen.assignment.generation and live.matches_store
        if not is_same or live is None or not live.state.facts.draws_pairs:
            return Dropped.MOVED_ON
        own = unseen.assignment
        is_spent = _vote_of(own) in self._spent or _any_vote_of(own) in self._spent
        return Dropped.VOTER_CAP if is_spent else None

    async def count(self, unseen: UnseenPair, result: ResultWord) -> Dropped | None:
        """Have a verdict counted once; why it was not, or None."""
        try:
            became = await self._became(unseen, Result(result))
        except UnavailableError:
            return Dropped.STORE_UNAVAILABLE
        except InvalidFeedbackError:
            return Dropped.MOVED_ON
        caps, in_all = unseen.experiment, NotCounted.VOTER_CAP_PER_EXPERIMENT
        if became is in_all or caps.voter_cap_per_experiment == 1:
            self._note_spent(_any_vote_of(unseen.assignment))
        elif became is NotCounted.VOTER_CAP or caps.voter_cap == 1:
            self._note_spent(_vote_of(unseen.assignment))
        if isinstance(became, NotCounted):
            return Dropped.VOTER_CAP if became in (NotCounted.VOTER_CAP, in_all) else Dropped.MOVED_ON
        return None

    def _note_spent(self, vote: _Vote) -> None:
        if vote[-1] == NOBODY:
            return
        if len(self._spent) >= _MOST_KNOWN:
            self._spent.pop(next(iter(self._spent)))
        self._spent[vote] = None

    async def _became(self, unseen: UnseenPair, result: Result) -> object:
        for attempt in range(1, _ATTEMPTS):
            try:
                return await self._recorder.record_verdict(unseen.assignment, unseen.experiment, result)
            except UnavailableError:
                await self._sleep(attempt * _PAUSE_SECONDS)
        return await self._recorder.record_verdict(unseen.assignment, unseen.experiment, result)


def _any_vote_of(assignment: Assignment) -> _Vote:
    """A vote on whichever pair."""
    return assignment.experiment, assignment.generation, -1, -1, assignment.voter


def _vote_of(assignment: Assignment) -> _Vote:
    name, generation, first, second = assignment[:4]
    return name, generation, first, second, assignment.voter
