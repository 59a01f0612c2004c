"""Whether all replicas run the same configuration: while they do not, nothing is decided.

Until they agree, replicas count, plan and promote by different rules. Each one tells the store which file it
runs (`reloading/replicas.py`); a replica that is silent for a few seconds is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from policy_store.replicas import ReplicaRecord

SHOWN_DIGITS: Final = 12
_MOST_NAMED: Final = 4


class Agreement:
    """What is known about the replicas.

    Attributes:
        replicas: The live replicas; none before the store has answered.
    """

    def __init__(self) -> None:
        self.replicas: Sequence[ReplicaRecord] = ()

    @property
    def by_hash(self) -> Mapping[str, list[str]]:
        """The names of the replicas, by the hash of their configuration."""
        found: dict[str, list[str]] = {}
        for replica in self.replicas:
            found.setdefault(replica.config_hash[:SHOWN_DIGITS], []).append(replica.shown_name)
        return found

    @property
    def held(self) -> str | None:
        """Why nothing is decided, in a sentence; None while the replicas agree."""
        if len(self.by_hash) < 2:  # noqa: PLR2004 - two are needed to differ
            return None
        files = []
        for digits, names in sorted(self.by_hash.items()):
            more = len(names) - _MOST_NAMED
            shown = ", ".join(sorted(names)[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
            files.append(f"{digits} on {shown}")
        return (
            f"No decision while replicas run different configurations: {'; '.join(files)}. Give all the same "
            "file, and reload."
        )
