"""One request that two policies answer unseen, for a judge to compare; and why there may be no verdict."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from gateway.experiments.judge import CompiledJudge
from gateway.experiments.response_ids import Assignment
from gateway.experiments.served import BUILD_BYTES
from gateway.experiments.snapshot import LiveExperiment
from gateway.upstream.base import ModelTarget
from gateway.upstream.surfaces import Surface


class Dropped(StrEnum):
    """Why a request that was drawn for the judge has no verdict."""

    NOT_TEXT = "not_text"  # the request, or the answer the caller got, is more than a text
    QUEUE_FULL = "queue_full"  # `judge.queue` others wait in this process
    MEMORY_FULL = "memory_full"  # those that wait take up `judge.queue_bytes`
    SPENT = "spent"  # `judge.spend_per_day` is spent
    MOVED_ON = "moved_on"  # the experiment is decided, paused or defined anew
    VOTER_CAP = "voter_cap"  # the user has as many verdicts on the pair, or in all, as the file allows
    ANSWER_FAILED = "answer_failed"  # a policy did not answer
    ANSWER_NOT_TEXT = "answer_not_text"  # a policy's answer is empty, or more than a text
    RUBRIC_FAILED = "rubric_failed"  # the rubric's template failed on the request
    JUDGE_FAILED = "judge_failed"  # the judge's provider failed
    JUDGE_TIMEOUT = "judge_timeout"  # the judge took longer than `judge.timeout`
    STORE_UNAVAILABLE = "store_unavailable"
    SHUTDOWN = "shutdown"  # the process ended first
    ERROR = "error"  # a fault of the gateway, which the log names

    @property
    def tally(self) -> Mapping[str, int]:
        """What it adds to the fields of `JudgeTally`."""
        return {"dropped": 1}


@dataclass(frozen=True, slots=True, eq=False)
class UnseenPair:
    """A request for which two policies are compared after its caller was served.

    It is kept in memory only, and never logged or stored.

    Attributes:
        experiment: The experiment as it was then.
        judge: Its judge.
        models: How each model is called.
        assignment: The pair, and what a verdict is counted for.
        surface: The kind of request.
        headers: Headers of the caller that are passed on to providers.
        request: The body as JSON, for an answer that is not streamed.
        served: The texts of answers that the caller got, by policy.
    """

    experiment: LiveExperiment = field(repr=False)
    judge: CompiledJudge = field(repr=False)
    models: Mapping[str, ModelTarget] = field(repr=False)
    assignment: Assignment = field(repr=False)
    surface: Surface
    headers: Mapping[str, str] = field(repr=False)
    request: bytes = field(repr=False)
    served: Mapping[int, str] = field(repr=False)

    @property
    def pair(self) -> tuple[int, int]:
        """The policies that are compared."""
        return self.assignment.first, self.assignment.second

    def served_by(self, first: bytes | None, second: bytes | None) -> UnseenPair:
        """The pair with the builds that served both policies; None leaves what is known of one."""
        before = self.assignment.served[:BUILD_BYTES], self.assignment.served[BUILD_BYTES:]
        builds = (before[0] if first is None else first) + (before[1] if second is None else second)
        return replace(self, assignment=self.assignment._replace(served=builds))

    @property
    def size(self) -> int:
        """The bytes that it takes up while it waits."""
        return sys.getsizeof(self.request) + sum(map(sys.getsizeof, self.served.values()))
