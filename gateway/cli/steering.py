"""`llmpo experiments pause|resume|stop|approve|reject|promote|rollback|readmit`: moves made by hand."""

from __future__ import annotations

import json as json_text
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import typer

from gateway.cli.remote import (
    DEFAULT_URL,
    JsonOption,
    KeyOption,
    UrlOption,
    experiment_path,
    send_json,
)
from gateway.experiments.verbs import SUMMARIES, Verb
from policy_store.states import ExperimentState

ExperimentArgument = Annotated[str, typer.Argument(help="Name of the experiment.")]
ReasonOption = Annotated[
    str, typer.Option("--reason", help="The reason, which the audit log and every page show.")
]
SeenOption = Annotated[
    str | None,
    typer.Option(
        "--policy",
        help="The policy that you saw waiting for approval; if another one waits now, "
        "the command is refused.",
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add a command for each of the verbs, in their order."""
    shapes = {
        "approve": _move_of_policy_seen,
        "reject": _move_of_policy_seen,
        "promote": _move_of_policy,
        "readmit": _move_of_policy,
    }
    for verb, summary in SUMMARIES.items():
        app.command(verb, help=summary)(shapes.get(verb, _plain_move)(verb))


def _plain_move(verb: Verb) -> Callable[..., None]:
    def command(
        name: ExperimentArgument,
        reason: ReasonOption,
        url: UrlOption = DEFAULT_URL,
        api_key: KeyOption = None,
        json: JsonOption = False,
    ) -> None:
        _move(verb, name, {"reason": reason}, url, api_key, as_json=json)

    return command


def _move_of_policy_seen(verb: Verb) -> Callable[..., None]:
    def command(
        name: ExperimentArgument,
        reason: ReasonOption,
        policy: SeenOption = None,
        url: UrlOption = DEFAULT_URL,
        api_key: KeyOption = None,
        json: JsonOption = False,
    ) -> None:
        _move(verb, name, {"reason": reason, "policy": policy}, url, api_key, as_json=json)

    return command


def _move_of_policy(verb: Verb) -> Callable[..., None]:
    def command(
        name: ExperimentArgument,
        policy: Annotated[str, typer.Option("--policy", help="The policy.")],
        reason: ReasonOption,
        url: UrlOption = DEFAULT_URL,
        api_key: KeyOption = None,
        json: JsonOption = False,
    ) -> None:
        _move(verb, name, {"reason": reason, "policy": policy}, url, api_key, as_json=json)

    return command


def _move(
    verb: Verb, name: str, said: dict[str, Any], url: str, api_key: str | None, *, as_json: bool
) -> None:
    answer = send_json("POST", url, experiment_path(name, f"/{verb}"), api_key, said)
    if as_json:
        typer.echo(json_text.dumps(answer))
        return
    label = answer["state"].replace("_", " ")
    with suppress(ValueError):  # the gateway may be of a newer version
        label = ExperimentState(answer["state"]).facts.label
    typer.echo(
        f"{answer['name']} is {label} (generation {answer['generation']}); {answer['incumbent']} serves."
    )
