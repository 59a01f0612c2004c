"""What the planner's process is given and gives back, beside the store's records.

That process imports the modules of what it is given. So this module loads nothing of the configuration or of
the server, which would take that process longer to load than all that it computes with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.llm_po.stopping import Kind  # only for type checking: the server must not load numpy

Matrix = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """The conclusion that the evidence allows.

    Attributes:
        kind: `winner` and `no_worse` name a champion; other kinds do not.
        champion: Index of the certified policy.
        certificate: The conclusion and all the data from which it follows, in plain values.
    """

    kind: Kind
    champion: int | None
    certificate: dict[str, Any]


@dataclass(frozen=True, slots=True)
class InformingSource:
    """Counts that inform forecasts: a role (`policy_store.roles`), or `run` or `earlier`.

    Attributes:
        name: Where they come from.
        wins: How often each policy was preferred to each other, K x K.
    """

    name: str
    wins: Matrix

    @property
    def comparisons(self) -> int:
        """How many decisive comparisons they are."""
        return sum(map(sum, self.wins))
