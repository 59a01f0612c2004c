"""`llmpo experiments pause|resume|stop|approve|reject|promote|rollback|events`: the hand on an experiment."""

from __future__ import annotations

import json as json_text
from typing import Annotated, Any, Final

import typer

from gateway.cli.event_lines import event_lines
from gateway.cli.remote import (
    DEFAULT_URL,
    JsonOption,
    KeyOption,
    UrlOption,
    experiment_path,
    get_json,
    send_json,
)
from gateway.experiments.verbs import Verb
from policy_store.states import ExperimentState

EVENTS_SHOWN: Final = 50

ExperimentArgument = Annotated[str, typer.Argument(help="Name of the experiment.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the audit log and every page.")]
SeenOption = Annotated[
    str | None,
    typer.Option("--policy", help="The policy seen awaiting approval; another one is refused."),
]


def pause(
    name: ExperimentArgument,
    reason: ReasonOption,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Let the incumbent answer everything until `resume`; answers given before still count."""
    _move("pause", name, {"reason": reason}, url, api_key, as_json=json)


def resume(
    name: ExperimentArgument,
    reason: ReasonOption,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Let an experiment that was paused, stopped or rejected go on."""
    _move("resume", name, {"reason": reason}, url, api_key, as_json=json)


def stop(
    name: ExperimentArgument,
    reason: ReasonOption,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """End it without a verdict; the incumbent answers everything."""
    _move("stop", name, {"reason": reason}, url, api_key, as_json=json)


def approve(
    name: ExperimentArgument,
    reason: ReasonOption,
    policy: SeenOption = None,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Promote the certified policy that awaits approval, if its certificate still holds."""
    _move("approve", name, {"reason": reason, "policy": policy}, url, api_key, as_json=json)


def reject(
    name: ExperimentArgument,
    reason: ReasonOption,
    policy: SeenOption = None,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Turn the certified policy down that awaits approval; the incumbent stays."""
    _move("reject", name, {"reason": reason, "policy": policy}, url, api_key, as_json=json)


def promote(
    name: ExperimentArgument,
    policy: Annotated[str, typer.Option("--policy", help="The policy to promote.")],
    reason: ReasonOption,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Promote a policy by your own decision; nothing is claimed of the evidence."""
    _move("promote", name, {"reason": reason, "policy": policy}, url, api_key, as_json=json)


def rollback(
    name: ExperimentArgument,
    reason: ReasonOption,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Take a promotion back: the incumbent before it serves again, on every replica."""
    _move("rollback", name, {"reason": reason}, url, api_key, as_json=json)


def events(
    name: ExperimentArgument,
    limit: Annotated[int, typer.Option(min=1, help="How many of the latest.")] = EVENTS_SHOWN,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Say what happened to it, who did it and why; newest last."""
    answer = get_json(url, experiment_path(name, f"/events?limit={limit}"), api_key)
    if json:
        typer.echo(json_text.dumps(answer))
        return
    for line in event_lines(answer["data"]):
        typer.echo(line)


def _move(
    verb: Verb, name: str, said: dict[str, Any], url: str, api_key: str | None, *, as_json: bool
) -> None:
    answer = send_json("POST", url, experiment_path(name, f"/{verb}"), api_key, said)
    if as_json:
        typer.echo(json_text.dumps(answer))
        return
    label = ExperimentState(answer["state"]).facts.label
    typer.echo(
        f"{answer['name']} is {label} (generation {answer['generation']}); {answer['incumbent']} serves."
    )


HAND_COMMANDS: Final = (pause, resume, stop, approve, reject, promote, rollback, events)
