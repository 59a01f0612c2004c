"""Remembers what this replica saw of the store, to notice a store that went back in time.

A restored copy, an emptied or new server, or keys dropped for lack of memory would undo promotions, give
generations' numbers to other policies and count reports a second time. If a value that only grows is smaller
than before, decisions and feedback wait until an operator accepts the store as it is. Requests are answered
as before all the while.

Many tasks read the store at once, over several connections, and answers are taken in out of order. So an
answer is compared with what was known before its question was sent: what became known meanwhile may be later.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from gateway.running.logs import get_logger
from policy_store.vitals import Pulse

_log = get_logger(__name__)

# A server that takes over from another, or comes back after a power cut, may lack the last moments. Whether
# anything was counted in them is checked separately.
SLACK_SECONDS: Final = 10.0


class Loss(StrEnum):
    """The ways in which a store shows that it lost something."""

    KEYS_GONE = "keys_gone"  # something that never expires is missing
    OLDER = "older"  # something that only grows is smaller
    ANOTHER_STORE = "another_store"  # the store began anew, or it is another one
    ANOTHER_SEALING_KEY = "another_sealing_key"


class StoreHistory:
    """The highest values seen of everything that only grows.

    Attributes:
        held: What kind of loss was found, until an operator accepts the store; None if nothing was lost.
        id: The store's id; empty before it answered.
        epoch: The store's epoch; 0 before it answered.
    """

    def __init__(self) -> None:
        self.held: Loss | None = None
        self.id = ""
        self.epoch = 0
        self._written_at = 0.0
        self._revisions: dict[str, int] = {}
        self._comparisons: dict[str, int] = {}

    def take_up(self, store_id: str, epoch: int, written_at: float) -> None:
        """Begin with what this replica saw before its restart."""
        self.id, self.epoch, self._written_at = store_id, epoch, written_at

    def is_ahead_of(self, pulse: Pulse) -> Loss | None:
        """The loss that a pulse of the store shows; None if it shows none."""
        if not self.id or pulse.epoch > self.epoch:
            return None
        if not pulse.id:
            return Loss.KEYS_GONE
        if pulse.id != self.id:
            return Loss.ANOTHER_STORE
        is_older = pulse.epoch < self.epoch or pulse.written_at < self._written_at - SLACK_SECONDS
        return Loss.OLDER if is_older else None

    def saw(self, pulse: Pulse) -> None:
        """Remember a pulse; a higher epoch makes everything remembered before void."""
        if pulse.epoch > self.epoch:
            self._revisions.clear()
            self._comparisons.clear()
            self.held, self._written_at = None, 0.0
        self.id, self.epoch = pulse.id, pulse.epoch
        self._written_at = max(self._written_at, pulse.written_at)

    def revision(self, name: str) -> int:
        """The latest revision at which an experiment was seen; 0 if it never was."""
        return self._revisions.get(name, 0)

    def knows(self, name: str) -> bool:
        """Whether this experiment was seen in the store before."""
        return name in self._revisions

    def saw_revision(self, name: str, revision: int) -> None:
        """Remember an experiment's revision."""
        self._revisions[name] = max(revision, self.revision(name))

    def comparisons(self, name: str, generation: int) -> int:
        """The most comparisons that a generation of an experiment was seen with."""
        return self._comparisons.get(_run(name, generation), 0)

    def saw_comparisons(self, name: str, generation: int, comparisons: int) -> None:
        """Remember how many comparisons a generation has."""
        run = _run(name, generation)
        if comparisons > self._comparisons.get(run, 0):
            self._comparisons[run] = comparisons

    def hold(self, loss: Loss, *, epoch: int, **about: Any) -> None:
        """Hold decisions and feedback, and log that once.

        Args:
            loss: What was found.
            epoch: The epoch in which the loss was found; a later acceptance makes it no loss.
            about: Details for the log.
        """
        if self.held is None and epoch == self.epoch:
            self.held = loss
            _log.error(
                "store_went_back",
                loss=loss.value,
                held="decisions and feedback, until `llmpo store accept`",
                **about,
            )


def _run(name: str, generation: int) -> str:
    return f"{generation}:{name}"
