"""Which writes are confirmed by replicas before anyone is told of them, and the commands that ask for that.

Replication is asynchronous: a failover may lose what the old primary has written but not sent. `WAIT` waits
until replicas have everything up to the connection's own last write. A repeated call may write nothing, yet
its answer rests on what another connection wrote, so a write of its own comes between. All go to one server
over one connection: after a failover the new primary could confirm what it never had.
"""

from __future__ import annotations

from typing import Final

from policy_store.errors import UnconfirmedError
from policy_store.names import Names

TOLD_AS_DONE: Final = frozenset(
    {
        *("record_preference", "record_outcome", "hold_report"),
        *("acquire_lease", "decide", "move_by_hand", "take_step", "begin_watch", "change_guards"),
        *("reveal_look", "add_key", "revoke_key", "accept_store", "replay_dead", "restore_experiment"),
    }
)
"""Scripts whose replies somebody acts on as done: users, operators, and planners with their numbers."""

MOST_REPLICAS: Final = 16
_SHARE: Final = 0.5  # of a call's time, so that an answer without a confirmation still arrives in time
_MARK_SECONDS: Final = 60

Command = tuple[str | int, ...]
"""A command's name and its arguments."""


class Confirmation:
    """How many replicas have to confirm, and for how long they are waited for.

    Args:
        replicas: How many; 0 asks for no confirmation.
        timeout_seconds: The longest time of a whole call.
    """

    def __init__(self, replicas: int, timeout_seconds: float) -> None:
        self.replicas = replicas
        self._milliseconds = max(1, int(timeout_seconds * _SHARE * 1000))  # 0 would wait for ever

    def commands(self, names: Names, key: str) -> tuple[Command, Command]:
        """What follows commands about this key, on the same connection."""
        mark = ("SET", names.confirmed(key), "0", "EX", _MARK_SECONDS)
        return mark, ("WAIT", self.replicas, self._milliseconds)

    def fault(self, confirmed: int) -> UnconfirmedError | None:
        """The error of a write that only so many replicas confirmed; None if these are enough."""
        if confirmed >= self.replicas:
            return None
        return UnconfirmedError(
            f"Written, but {confirmed} of {self.replicas} replicas confirmed it within "
            f"{self._milliseconds / 1000:g} s."
        )
