"""`llmpo webhooks`: shows, tests and repeats deliveries of a running gateway."""

from __future__ import annotations

import json as json_text
from datetime import datetime
from typing import Annotated
from urllib.parse import quote

import typer
from rich.table import Table
from rich.text import Text

from gateway.cli.printing import table_console
from gateway.cli.remote import DEFAULT_URL, JsonOption, KeyOption, UrlOption, get_json, send_json

app = typer.Typer(no_args_is_help=True)
WebhookName = Annotated[str, typer.Argument(help="Name of the webhook.")]


@app.callback()
def webhooks() -> None:
    """Show webhooks, test them, and send undelivered events again."""


@app.command("list")
def list_webhooks(url: UrlOption = DEFAULT_URL, api_key: KeyOption = None, json: JsonOption = False) -> None:
    """List the webhooks with the state of their deliveries."""
    answer = get_json(url, "/v1/webhooks", api_key)
    if json:
        typer.echo(json_text.dumps(answer))
        return
    table = Table("webhook", "receiver", "state", box=None, pad_edge=False)
    for column in ("delivered", "waiting", "dead letters"):
        table.add_column(column, justify="right")
    for row in answer["data"]:
        counts = (row["delivered"], row["waiting"], row["dead_letters"])
        table.add_row(*map(Text, (row["name"], row["host"], row["state"])), *map(str, counts))
    table_console().print(table)


@app.command("test")
def send_test(
    name: WebhookName, url: UrlOption = DEFAULT_URL, api_key: KeyOption = None, json: JsonOption = False
) -> None:
    """Send a test to a webhook now; status 1 if the receiver does not accept it."""
    answer = send_json("POST", url, _path(name, "test"), api_key)
    if json:
        typer.echo(json_text.dumps(answer))
    elif answer["delivered"]:
        typer.echo(f"{name} answered {answer['status']}.")
    else:
        typer.echo(f"{name} was not told: {answer['reason']}.")
    if not answer["delivered"]:
        raise typer.Exit(1)


@app.command("dead-letters")
def dead_letters(
    name: WebhookName,
    limit: Annotated[int, typer.Option(min=1, help="How many of the latest.")] = 50,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """List the latest events that could not be delivered to a webhook."""
    answer = get_json(url, _path(name, f"dead-letters?limit={limit}"), api_key)
    if json:
        typer.echo(json_text.dumps(answer))
        return
    for letter in answer["data"]:
        at = datetime.fromtimestamp(letter["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        what = f"{letter['experiment']} {letter['kind'].replace('_', ' ')}"
        sent = f"(sent {letter['attempts']} times)"
        typer.echo(f"{at}  {letter['id']}  {what}: {letter['reason']} {sent}")


@app.command("replay")
def replay_letters(
    name: WebhookName,
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="Only this event; may be given several times.")
    ] = None,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Send dead letters again; a receiver that was gone is asked again."""
    answer = send_json("POST", url, _path(name, "replay"), api_key, {"ids": ids or []})
    typer.echo(json_text.dumps(answer) if json else f"Sent again: {answer['replayed']}.")


def _path(name: str, suffix: str) -> str:
    return f"/v1/webhooks/{quote(name, safe='')}/{suffix}"
