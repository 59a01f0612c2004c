"""Runs many trials on all cores.

A trial's runs are divided into batches that depend only on the trial, the seed and the index of their first
run. So neither the number of processes nor an interruption changes the results.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np

from gateway.llm_po.lab.simulate import BatchOfRuns, RunEnding, Summary, Trial, batches, run_batch
from gateway.running.parent import follow_parent
from gateway.simulation.state import StateFile

_AHEAD: Final = 4  # batches queued per process: enough to keep it busy, few enough to stop quickly


@dataclass(frozen=True, slots=True)
class Job:
    """A trial to run many times.

    Attributes:
        name: Its unique name.
        trial: What to simulate.
        seeds: How many runs.
        seed: Fixes every run.
        budgets: Numbers of comparisons at which to note leader and evidence.
    """

    name: str
    trial: Trial
    seeds: int
    seed: int = 0
    budgets: tuple[int, ...] = ()

    @property
    def fingerprint(self) -> str:
        """A hash; equal for jobs with equal results."""
        trial = dataclasses.asdict(self.trial)
        if self.trial.space is None:
            del trial["space"]  # as in state files written before a space could be named
        if self.trial.promise == "no_worse_than_any":
            del trial["promise"]  # as in state files written before there was a choice
        if self.trial.world.outcomes is None:
            del trial["world"]["outcomes"]  # as in state files written before outcomes could be matched
        elif self.trial.world.outcomes.reported_failures is None:
            del trial["world"]["outcomes"]["reported_failures"]  # as before failures could report otherwise
        if self.trial.world.voters is None:
            del trial["world"]["voters"]  # as in state files written before there were any
        elif self.trial.world.voters.cap_in_all is None:
            del trial["world"]["voters"]["cap_in_all"]  # as before there was one over all pairs
        if self.trial.caps is None:
            del trial["caps"]  # as in state files written before there were any
        if not self.trial.min_opportunities:
            del trial["min_opportunities"]  # likewise
        content = {
            "trial": trial,
            "seeds": self.seeds,
            "seed": self.seed,
            "budgets": self.budgets,
        }
        # `default`: arrays become nested lists of exact numbers.
        text = json.dumps(content, sort_keys=True, default=np.ndarray.tolist)
        return hashlib.sha256(text.encode()).hexdigest()


def run_jobs(
    jobs: Sequence[Job],
    processes: int | None = None,
    state: StateFile | None = None,
    on_batch: Callable[[Job, int], None] = lambda _job, _runs: None,
) -> dict[str, Summary]:
    """Run every job and summarise its runs.

    Args:
        jobs: What to run.
        processes: How many run at once; None for one per core this process may use.
        state: Keeps finished batches for later.
        on_batch: Is told of every finished batch: its job, and how many runs it had.

    Returns:
        Job name -> summary, in the order of `jobs`.

    Raises:
        LlmPoError: If a job is out of range.
        StateError: If the state file holds results of other jobs under these names.
    """
    done = {job.name: dict[int, list[RunEnding]]() for job in jobs}
    todo = []
    for job in jobs:
        kept = {} if state is None else state.finished(job.name, job.fingerprint)
        for batch in batches(job.trial, job.seeds):
            if len(kept.get(batch.first, ())) == batch.runs:
                done[job.name][batch.first] = kept[batch.first]
                on_batch(job, batch.runs)
            else:
                todo.append((job, batch))
    for job, batch, endings in _run(todo, processes or available_cores()):
        done[job.name][batch.first] = endings
        if state is not None:
            state.add(job.name, job.fingerprint, batch.first, endings)
        on_batch(job, batch.runs)
    summaries = {}
    for job in jobs:
        in_order = (endings for _, endings in sorted(done[job.name].items()))
        summaries[job.name] = Summary(job.trial, tuple(chain.from_iterable(in_order)))
    return summaries


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _run(
    todo: Sequence[tuple[Job, BatchOfRuns]], processes: int
) -> Iterator[tuple[Job, BatchOfRuns, list[RunEnding]]]:
    """Finished batches as they become known."""
    if processes == 1 or len(todo) <= 1:
        for job, batch in todo:
            yield job, batch, _batch_endings(job, batch)
        return
    # Spawned, not forked: a fork of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(todo)), context, initializer=follow_parent)
    try:
        waiting = iter(todo)
        flying: dict[Future[list[RunEnding]], tuple[Job, BatchOfRuns]] = {}
        while True:
            while len(flying) < processes * _AHEAD and (work := next(waiting, None)) is not None:
                flying[pool.submit(_batch_endings, *work)] = work
            if not flying:
                return
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                yield (*flying.pop(future), future.result())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _batch_endings(job: Job, batch: BatchOfRuns) -> list[RunEnding]:
    return run_batch(job.trial, batch, job.seed, job.budgets)
