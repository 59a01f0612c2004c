"""`llmpo config diff`: shows what another file would do to evidence and traffic."""

from __future__ import annotations

import json as json_text
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from gateway.cli.printing import table_console
from gateway.cli.remote import KeyOption, get_json
from gateway.config.environment import Environment
from gateway.config.load import load_config
from gateway.errors import GatewayError
from gateway.experiments.catalogue import definitions_of
from gateway.experiments.changes import Change, changes_between, changes_document
from gateway.experiments.description import Description, describe
from gateway.experiments.standing import ExperimentStanding

CONFIG_PATH: Final = "/v1/config"
LOSES: Final = 3
_EVIDENCE: Final[Mapping[str | None, str]] = {
    None: "",
    "anew": "STARTS ANEW",
    "begins": "begins",
    "inherited": "partly kept",
    "kept": "kept",
    "resumed": "back to an earlier generation's",
    "unused": "NOT USED ANY MORE",
}


def diff(
    file: Annotated[Path, typer.Argument(help="The file in force; with --url, the new one.")],
    new: Annotated[
        Path | None, typer.Argument(help="The file that would replace it.", show_default=False)
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="Compare with what this gateway runs.", show_default=False)
    ] = None,
    api_key: KeyOption = None,
    may_be_unset: Annotated[
        bool,
        typer.Option("--without-environment", help="Leave out what refers to variables that are not set."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
) -> None:
    """Show which evidence another file keeps, what starts anew and why, and which callers lose answers.

    Nothing is changed. Exit status 0: no experiment loses evidence and no caller an answer. 3: one does.
    2: a file is wrong. 1: the gateway did not answer.
    """
    if (new is None) == (url is None):
        raise typer.BadParameter("Name two files, or one file and --url.")
    standings: Mapping[str, ExperimentStanding] = {}
    if url is None:
        old = file_description(file, may_be_unset=may_be_unset)
    else:
        old, standings = _running(url, api_key)
    wanted = file_description(new or file, may_be_unset=may_be_unset)
    changes = changes_between(old, wanted, standings)
    if json:
        typer.echo(json_text.dumps(changes_document(changes)))
    else:
        show(changes)
        if url is None and changes:
            typer.echo("The present state of experiments may change this; --url asks the gateway.")
    if any(change.loses_evidence or change.lost for change in changes):
        raise typer.Exit(LOSES)


def file_description(path: Path, *, may_be_unset: bool) -> Description:
    """The description of a file. Raises ConfigError with every fault of it."""
    config = load_config(path, Environment(os.environ), may_be_unset=may_be_unset)
    return describe(config, definitions_of(config))


def _running(url: str, api_key: str | None) -> tuple[Description, dict[str, ExperimentStanding]]:
    answer: dict[str, Any] = get_json(url, CONFIG_PATH, api_key)
    try:
        standings = {name: ExperimentStanding.from_json(said) for name, said in answer["standings"].items()}
        return Description.from_json(answer["description"]), standings
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise GatewayError(f"The gateway at {url} has another version than this command.") from error


def show(changes: Sequence[Change]) -> None:
    """Print a table, and below it the callers that lose answers."""
    if not changes:
        typer.echo("Nothing changes.")
        return
    table = Table("what", "evidence", "changes", box=None, pad_edge=False)
    for change in changes:
        evidence = _EVIDENCE[change.evidence]
        table.add_row(*map(Text, (f"{change.kind} {change.name}", evidence, "; ".join(change.what))))
    table_console().print(table)
    for change in changes:
        for sentence in change.lost:
            typer.echo(f"LOSES TRAFFIC: {sentence}")
