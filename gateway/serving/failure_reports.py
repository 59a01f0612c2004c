"""What is told of policies that could not answer: to the hooks, to the log and to the caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from gateway.errors import UpstreamError
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import FellBack, PolicyFailed
from gateway.running.logs import get_logger
from gateway.serving.panel import EJECTED, Panel, PolicyFailure, failure_reason, is_callers_fault
from gateway.upstream.failures import NOT_ASKED

_log = get_logger(__name__)


class FailureReports:
    """Reports failures of policies. A request that all policies call invalid is reported as no failure."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def fell_back(self, panel: Panel, failures: Mapping[int, PolicyFailure]) -> str | None:
        """Report the policies that could not answer; returns why the first could not, if any."""
        if not failures:
            return None
        for policy, error in failures.items():
            self._failed(panel, policy, error)
        reason = failure_reason(next(iter(failures.values())))
        answered: Literal["incumbent", "fallback"] = (
            "fallback" if panel.experiment.incumbent in failures else "incumbent"
        )
        self._hooks.tell(FellBack(panel.exchange.request_id, panel.experiment.name, reason, answered))
        return reason

    def refused(
        self, panel: Panel, failures: Mapping[int, PolicyFailure], error: PolicyFailure
    ) -> PolicyFailure:
        """The error for the caller; a request that all policies call invalid is no policy's failure."""
        told = error
        if isinstance(error, UpstreamError) and error.reason == "retry_budget":
            # The budget kept the others from being asked, so the refusal of the one that was asked says more.
            told = next(filter(is_callers_fault, failures.values()), error)
        failed = {**failures, panel.experiment.incumbent: told}
        if not all(map(is_callers_fault, failed.values())):
            for policy, failure in failed.items():
                self._failed(panel, policy, failure)
        return panel.under_own_name(told)

    def _failed(self, panel: Panel, policy: int, error: PolicyFailure) -> None:
        experiment, name = panel.experiment, panel.experiment.policies[policy].name
        reason = failure_reason(error)
        self._hooks.tell(PolicyFailed(panel.exchange.request_id, experiment.name, name, reason))
        gauge = panel.exchange.gauge
        if gauge is not None and reason not in NOT_ASKED:
            gauge.failed(name)
        if reason != EJECTED:  # that is logged once, when it is ejected
            _log.warning("policy_failed", experiment=experiment.name, policy=name, reason=reason)
