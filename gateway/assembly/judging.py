"""What compares answers beside the traffic: clients of providers, the queue, and what counts verdicts."""

from __future__ import annotations

from collections.abc import Callable

from gateway.assembly.answers import open_upstreams
from gateway.assembly.foundation import Foundation
from gateway.experiments.catalogue import Catalogue
from gateway.experiments.response_ids import ResponseIds
from gateway.experiments.snapshot import SnapshotHolder
from gateway.judging.comparing import UnseenComparisons
from gateway.judging.queue import JudgeQueue
from gateway.learning.recording import ReportRecorder
from gateway.learning.verdicts import JudgesVerdicts


def open_judging(
    base: Foundation,
    response_ids: ResponseIds,
    snapshots: SnapshotHolder,
    has_several_keys: Callable[[], bool],
) -> tuple[JudgeQueue, Callable[[Catalogue], None]]:
    """The queue, and what lets go of all that belongs to another catalogue.

    Connections and second attempts are the judge's own, so that it takes none from live requests.
    """
    upstreams, _ = open_upstreams(base)
    recorder = ReportRecorder(base.store, base.history, base.clock, has_several_keys)
    verdicts = JudgesVerdicts(recorder, snapshots)
    comparisons = UnseenComparisons(
        upstreams,
        base.store,
        lambda: base.catalogue.current.prices,
        verdicts.may_count,
        verdicts.count,
        base.hooks,
        response_ids.builds.of,
    )
    queue = JudgeQueue(comparisons.compare, base.hooks, drain_seconds=base.settings.judge_drain_seconds)
    base.resources.push_async_callback(queue.aclose)
    return queue, lambda catalogue: upstreams.keep(catalogue.models)
