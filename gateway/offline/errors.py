"""The errors of an offline run.

GatewayError
+-- OfflineError
    +-- TasksError         the file of tasks cannot be used
    +-- JudgeError         a judge that cannot be loaded, raises, or returns no score
    +-- CallFailedError    a provider kept failing; all counts are kept, `--resume` continues
    +-- RunDirectoryError  the directory of a run is in use, damaged, or from another configuration
    +-- BudgetSpentError   the next call would exceed the budget; the run ends as inconclusive
"""

from __future__ import annotations

from gateway.errors import GatewayError


class OfflineError(GatewayError):
    """Base of the errors that an offline run raises on purpose."""


class TasksError(OfflineError):
    """The tasks cannot be used as they are."""


class JudgeError(OfflineError):
    """The judge gave no verdict."""


class CallFailedError(OfflineError):
    """A provider kept failing. Retry later with `--resume`."""


class RunDirectoryError(OfflineError):
    """The directory of a run cannot be used for this one."""


class BudgetSpentError(OfflineError):
    """The next call would exceed the budget.

    Attributes:
        limit: `calls` or `usd`.
    """

    def __init__(self, message: str, limit: str) -> None:
        super().__init__(message)
        self.limit = limit
