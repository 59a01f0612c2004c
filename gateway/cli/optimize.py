"""`llmpo optimize`: find the best policy on a list of tasks, offline, with the core that the gateway uses."""

from __future__ import annotations

import asyncio
import json as json_text
import os
import time
from pathlib import Path
from typing import Annotated, Final

import stamina.instrumentation
import typer
from rich.console import Console

from gateway.cli import INTERRUPTED
from gateway.cli.printing import table_console
from gateway.errors import GatewayError
from gateway.llm_po.errors import LlmPoError
from gateway.offline.assembly import Assembly, assemble
from gateway.offline.checkpoint import RunFiles
from gateway.offline.config import load_optimize
from gateway.offline.outcome import Outcome
from gateway.offline.plots import draw_plots
from gateway.offline.report import headline, write_report
from gateway.offline.session import Session
from gateway.offline.view import ProgressView, summary_table
from gateway.plotting import check_installed, is_installed
from gateway.upstream.base import Timeouts
from gateway.upstream.dispatch import Upstreams
from gateway.upstream.relay import Relay
from gateway.upstream.translating.upstream import LitellmUpstream

NO_CHAMPION: Final = 3


def optimize(
    config: Annotated[Path, typer.Option("--config", help="The YAML file; docs/optimize.md describes it.")],
    tasks: Annotated[
        Path | None, typer.Option(help="Tasks as JSON lines, instead of those that the file names.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory of the run [default: NAME-run beside the file].")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    plots: Annotated[
        bool | None,
        typer.Option("--plots/--no-plots", help="Draw pictures [default: if matplotlib is installed]."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare policies on tasks until the best is certified: 0 decided, 3 inconclusive or no winner."""
    assembly = assemble(load_optimize(config, os.environ), config.parent, tasks)
    files = RunFiles(out or config.parent / f"{assembly.name}-run")
    if plots:
        check_installed()
    try:
        # Retries are counted and shown; their log lines would only break up the progress bars.
        stamina.instrumentation.set_on_retry_hooks([])
        outcome = asyncio.run(_finish(assembly, files, resumes=resume))
    except KeyboardInterrupt:
        typer.echo(
            f"Stopped. Go on with: llmpo optimize --config {config} --out {files.directory} --resume",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from None
    except LlmPoError as error:
        raise GatewayError(str(error)) from error
    drawn = draw_plots(files.directory, outcome) if plots is not False and is_installed() else ()
    report = write_report(files.directory, outcome.summary, drawn)
    if json:
        where = {"directory": str(files.directory), "log": str(files.directory / "log.jsonl")}
        typer.echo(json_text.dumps({**outcome.summary, **where}))
    else:
        _print(outcome, report)
    raise typer.Exit(0 if outcome.summary["champion"] else NO_CHAMPION)


async def _finish(assembly: Assembly, files: RunFiles, *, resumes: bool) -> Outcome:
    timeouts = Timeouts()
    upstream = Upstreams(Relay(timeouts), LitellmUpstream(timeouts))
    try:
        session = Session(assembly, files, upstream, time.time)
        with ProgressView(Console(stderr=True), session.spending) as view:
            return await session.finish(view, resumes=resumes)
    finally:
        await upstream.aclose()


def _print(outcome: Outcome, report: Path) -> None:
    console, summary = table_console(), outcome.summary
    console.print(summary_table(summary))
    share = summary["answers"] / summary["answers_of_full_evaluation"]
    cost = "" if summary["usd"] is None else f", {summary['usd']:.4f} USD"
    typer.echo(
        f"{headline(summary)}: {summary['comparisons']} comparisons, {summary['calls']} calls{cost}; "
        f"{share:.0%} of the answers of a full evaluation."
    )
    typer.echo(f"{report}; check it: llmpo verify {summary['name']} --log {report.parent / 'log.jsonl'}")
