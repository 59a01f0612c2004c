"""What a line of the comparison log has to say for anything to be recomputed from it.

The server reads logs too, so this module loads no numpy.
"""

from __future__ import annotations

from typing import Protocol


class LoggedComparison(Protocol):
    """One line of the comparison log; `policy_store.log_records.Comparison` is one."""

    @property
    def number(self) -> int:
        """Counts up from 1 without gaps."""
        ...

    @property
    def first(self) -> int:
        """The lower index of the pair."""
        ...

    @property
    def second(self) -> int:
        """The higher index of the pair."""
        ...

    @property
    def result(self) -> str:
        """`win`, `loss` or `tie`, seen from `first`."""
        ...

    @property
    def probability_millionths(self) -> int:
        """The forecast of P(first preferred) it was counted with."""
        ...

    @property
    def second_millionths(self) -> int | None:
        """The forecast of P(second preferred) it was counted with; None where the other one leaves it."""
        ...

    @property
    def plan_version(self) -> int:
        """The plan that published the forecasts; 0 before the first plan."""
        ...
