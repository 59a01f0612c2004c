"""The progress of simulated runs, as a bar on standard error; results go to standard output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gateway.simulation.runner import Job


@contextmanager
def runs_progress(jobs: Sequence[Job]) -> Iterator[Callable[[Job, int], None]]:
    """Shows a bar; gives the function to call with the job and the number of runs of every finished batch."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        everything = progress.add_task("runs", total=sum(job.seeds for job in jobs))

        def on_batch(job: Job, runs: int) -> None:
            progress.update(everything, advance=runs, description=job.name)

        yield on_batch
