"""The one process that computes plans. It starts with the first plan and is replaced when it dies."""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from gateway.learning.plan_worker import PlanJob, PlanResult, compute_in_worker, prepare_worker


class PlanPool:
    """Computes plans away from the event loop, one at a time."""

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None

    async def compute(self, job: PlanJob) -> PlanResult:
        """The plan for `job`.

        Raises:
            BrokenProcessPool: The process died or took too long; the next call starts another one.
            Exception: Whatever the computation raised.
        """
        if self._executor is None:
            # Spawned, not forked: a fork would inherit the server's threads and open sockets.
            self._executor = ProcessPoolExecutor(
                max_workers=1,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=prepare_worker,
            )
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, compute_in_worker, job)
        except BrokenProcessPool:
            self.close()
            raise

    def close(self) -> None:
        """Let the process go, without waiting for a plan that it is computing."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None
