"""Errors of the shared state, and whether trying again helps.

StoreError
+-- StoreUnavailableError      the store did not answer in time: retry later
|   +-- StoreRefusedError      the server answered that it cannot do it now: retry later
|   +-- UnconfirmedError       it is written, but too few replicas have it so far: retry later
+-- UnknownExperimentError     no such experiment or generation: do not retry
+-- ExperimentFinishedError    the experiment no longer counts outcomes: do not retry
+-- ContradictingOutcomeError  the unit already reported something else: do not retry
+-- OverCapError               the voter or its API key has given all votes allowed: do not retry
+-- AfterHoldError             the unit reported after the end of its hold: do not retry
+-- StaleFenceError            another planner took over: stop planning this experiment
+-- DecisionConflictError      the experiment is no longer in the state the decision started from
+-- NewerVersionError          a newer version wrote something that this one cannot read: upgrade
+-- BackupFileError            a backup's file cannot be written or used: it says why
+-- RestoreError               the experiment is not as the restore found it: look at it, then restore again
+-- KeyNameTakenError          another API key has that name: choose another one
+-- EmbeddedStoreError         the embedded server cannot be started: first correct what it names
    +-- DataDirectoryInUseError    another gateway uses the data directory
"""


class StoreError(Exception):
    """Base of every error of the shared state."""


class StoreUnavailableError(StoreError):
    """The store could not be reached or did not answer in time. Retry.

    The change may or may not have happened; every write may safely be repeated.
    """


class StoreRefusedError(StoreUnavailableError):
    """The server answers, but refuses; `word` is its error word, a key of `refusals.REFUSALS`."""

    def __init__(self, message: str, *, word: str) -> None:
        super().__init__(message)
        self.word = word


class UnconfirmedError(StoreUnavailableError):
    """The server did it, but too few of its replicas confirmed that; a failover may undo it. Repeat it."""


class UnknownExperimentError(StoreError):
    """The store holds no experiment of that name and generation."""


class ExperimentFinishedError(StoreError):
    """The experiment (or that generation of it) no longer counts outcomes; nothing was changed."""


class ContradictingOutcomeError(StoreError):
    """The unit already reported a different outcome; the first one stands.

    `reported` is the fingerprint of what it reported first.
    """

    def __init__(self, message: str, *, reported: str) -> None:
        super().__init__(message)
        self.reported = reported


class OverCapError(StoreError):
    """The voter or its API key has given all votes allowed; nothing was changed.

    `cap` says which: `voter_cap`, `voter_cap_per_experiment` or `key_share`.
    """

    def __init__(self, message: str, *, cap: str) -> None:
        super().__init__(message)
        self.cap = cap


class AfterHoldError(StoreError):
    """The unit no longer counts, because it did not report before the end of its hold."""


class StaleFenceError(StoreError):
    """The caller's fencing number is older than the lease's current one; nothing was changed."""


class DecisionConflictError(StoreError):
    """The experiment is not in the state the decision started from; nothing was changed."""


class NewerVersionError(StoreError):
    """A newer version wrote something that this one cannot read; nothing was changed."""


class BackupFileError(StoreError):
    """A backup's file cannot be written, or is not whole, unchanged and readable by this version."""


class RestoreError(StoreError):
    """An experiment cannot be put in force from a backup; the store has it as before."""


class KeyNameTakenError(StoreError):
    """Another API key, not revoked, has the name; nothing was changed."""


class EmbeddedStoreError(StoreError):
    """The embedded server cannot be started. The message says why and what to do."""


class DataDirectoryInUseError(EmbeddedStoreError):
    """Another gateway runs its embedded server on this data directory. The message names both."""
