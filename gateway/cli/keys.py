"""`llmpo keys`: make, list and revoke the API keys that clients and administrators use."""

from __future__ import annotations

import json as json_text
from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import quote

import typer
from rich.table import Table
from rich.text import Text

from gateway.cli.printing import table_console
from gateway.cli.remote import DEFAULT_URL, JsonOption, KeyOption, UrlOption, get_json, send_json
from gateway.config.api_keys import hash_key, new_key

KEYS_PATH: Final = "/v1/keys"

app = typer.Typer(no_args_is_help=True)
KeyName = Annotated[str, typer.Argument(help="Name of the key.")]


@app.callback()
def keys() -> None:
    """Make, list and revoke API keys."""


@app.command()
def new() -> None:
    """Make a key for the configuration. The first line is the key, shown only now; the second is its hash."""
    key = new_key()
    typer.echo(key)
    typer.echo(hash_key(key))
    typer.echo(
        "Give the first line to the callers of the gateway; it is not stored anywhere.\n"
        "Put the second under auth.client_keys or auth.admin_keys.",
        err=True,
    )


@app.command()
def create(
    name: KeyName,
    admin: Annotated[
        bool, typer.Option("--admin", help="Make an admin key, which may do everything.")
    ] = False,
    concurrent_requests: Annotated[int | None, typer.Option(help="Requests in progress at once.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Requests within any minute.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Tokens within any minute.")] = None,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
) -> None:
    """Make a key on a running gateway. It works at once on all replicas, and is shown only now."""
    limits = {
        "concurrent_requests": concurrent_requests,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
    }
    given = {limit: size for limit, size in limits.items() if size is not None}
    wanted = {"name": name, "role": "admin" if admin else "client", "limits": given}
    typer.echo(send_json("POST", url, KEYS_PATH, api_key, wanted)["key"])
    typer.echo("Give this key to the callers; the gateway stores only its hash.", err=True)


@app.command("list")
def list_keys(url: UrlOption = DEFAULT_URL, api_key: KeyOption = None, json: JsonOption = False) -> None:
    """List the keys of a running gateway: those of the configuration and those made at run time."""
    answer = get_json(url, KEYS_PATH, api_key)
    if json:
        typer.echo(json_text.dumps(answer))
        return
    table = Table("name", "role", "made in", "limits", "state", box=None, pad_edge=False)
    for key in answer["data"]:
        limits = ", ".join(f"{size} {name.replace('_', ' ')}" for name, size in key["limits"].items())
        state = "in force"
        if key["revoked_at"] is not None:
            state = f"revoked {datetime.fromtimestamp(key['revoked_at'], UTC):%Y-%m-%d %H:%M} UTC"
        table.add_row(*map(Text, (key["name"], key["role"], key["source"], limits or "-", state)))
    table_console().print(table)


@app.command()
def revoke(name: KeyName, url: UrlOption = DEFAULT_URL, api_key: KeyOption = None) -> None:
    """Revoke a key for good, wherever it was made. All replicas refuse it within a moment."""
    key = send_json("DELETE", url, f"{KEYS_PATH}/{quote(name, safe='')}", api_key)
    typer.echo(f"{key['name']} is revoked.")
    if key["source"] == "configuration":
        typer.echo(
            "Remove it from the configuration as well: only the store remembers that it is revoked.", err=True
        )
