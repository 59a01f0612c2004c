"""What can go wrong with shared state, and whether trying again helps.

StoreError
+-- StoreUnavailableError      the store did not answer in time: retry later
+-- UnknownExperimentError     no such experiment or generation: do not retry
+-- ExperimentFinishedError    the experiment no longer counts outcomes: do not retry
+-- ContradictingOutcomeError  the unit already reported something else: do not retry
+-- StaleFenceError            another planner took over: stop planning this experiment
+-- DecisionConflictError      the experiment is no longer in the state the decision started from
"""


class StoreError(Exception):
    """Base of every fault of shared state."""


class StoreUnavailableError(StoreError):
    """The store could not be reached or did not answer in time. Nothing is known to have changed; retry."""


class UnknownExperimentError(StoreError):
    """The store holds no experiment of that name and generation."""


class ExperimentFinishedError(StoreError):
    """The experiment (or that generation of it) no longer counts outcomes; nothing was changed."""


class ContradictingOutcomeError(StoreError):
    """The unit already reported a different outcome; the first one stands."""


class StaleFenceError(StoreError):
    """The caller's fencing number is older than the lease's current one; nothing was changed."""


class DecisionConflictError(StoreError):
    """The experiment is not in the state the decision started from; nothing was changed."""
