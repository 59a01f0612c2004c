"""`llmpo simulate`: the algorithm in worlds whose truth is known."""

from __future__ import annotations

import json as json_format
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gateway.cli.world_options import AsJson, Delta, WorldFile
from gateway.llm_po import worlds
from gateway.llm_po.errors import LlmPoError
from gateway.llm_po.simulate import METHODS, STOPPING_RULES, Summary, Trial, batches, run_batch


def simulate(
    world: WorldFile,
    method: Annotated[str, typer.Option(help=f"One of: {', '.join(METHODS)}.")] = "llm-po",
    seeds: Annotated[int, typer.Option(min=1, help="Independent runs.")] = 200,
    delta: Delta = 0.05,
    epsilon: Annotated[float, typer.Option(help="Margin, in [0, 0.5); 0 looks for the winner.")] = 0.0,
    max_comparisons: Annotated[int | None, typer.Option(min=1, help="Budget of a run.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Fixes every run.")] = 0,
    stopping: Annotated[str, typer.Option(help=f"One of: {', '.join(STOPPING_RULES)}.")] = "e-process",
    json: AsJson = False,
) -> None:
    """Run a method in a world again and again: how long it takes, how often it is wrong."""
    try:
        trial = Trial(worlds.load(world), method, stopping, delta, epsilon, max_comparisons)
        _check_that_it_ends(trial)
        summary = _with_progress(trial, seeds, seed)
    except LlmPoError as error:
        raise typer.BadParameter(str(error)) from error
    if json:
        typer.echo(json_format.dumps(summary.to_json()))
    else:
        Console().print(_summary_table(summary))


def _check_that_it_ends(trial: Trial) -> None:
    """Without a margin, equals at the top can never be told apart: such a run needs a budget."""
    world = trial.world
    best = (world.preferences >= world.preferences.T).all(axis=1)
    if trial.max_comparisons is None and trial.epsilon == 0 and world.champion is None and best.any():
        raise typer.BadParameter(
            f"In world {world.name!r} {int(best.sum())} policies are beaten by nobody, and no number of "
            "comparisons tells equals apart: give --epsilon or --max-comparisons."
        )


def _with_progress(trial: Trial, seeds: int, seed: int) -> Summary:
    endings = []
    # Progress goes to standard error, results to standard output.
    with typer.progressbar(length=seeds, label="runs", file=typer.get_text_stream("stderr")) as bar:
        for batch in batches(trial, seeds):
            endings += run_batch(trial, batch, seed)
            bar.update(batch.runs)
    return Summary(trial, tuple(endings))


def _summary_table(summary: Summary) -> Table:
    values = summary.to_json()
    title = f"{values['method']} with {values['stopping']} in {values['world']}"
    table = Table(title=title, show_header=False)
    ended = ", ".join(f"{count} {kind}" for kind, count in values["outcomes"].items() if count)
    table.add_row("runs", str(values["seeds"]))
    mean, stderr = values["mean_comparisons"], values["stderr"]
    table.add_row("comparisons", f"{mean:.1f} ± {stderr:.1f} (standard error)")
    if values["ratio"] is not None:
        table.add_row("hardness", f"{values['hardness']:.1f} comparisons per nat")
        table.add_row("times hardness x log(1/delta)", f"{values['ratio']:.2f}")
    table.add_row("ended", ended)
    promise = f"promised: at most {values['delta']:.1%} of the runs"
    table.add_row("wrong promotions", f"{values['wrong']} ({promise})")
    return table
