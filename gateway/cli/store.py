"""`llmpo store`: shows the state of a gateway's store, and accepts a store that lost data."""

from __future__ import annotations

import json as json_text
from typing import Any, Final

import typer

from gateway.cli.remote import DEFAULT_URL, JsonOption, KeyOption, UrlOption, get_json, send_json

STORE_PATH: Final = "/v1/store"
_FACTS: Final = {
    "evicts": {True: "may drop keys", False: "drops no keys", None: "does not say whether it drops keys"},
    "persists": {
        True: "keeps its data on disk",
        False: "keeps nothing on disk",
        None: "does not say whether it keeps its data",
    },
}

app = typer.Typer(no_args_is_help=True)


@app.callback()
def store() -> None:
    """Show or accept the store of a running gateway."""


@app.command("show")
def show_store(url: UrlOption = DEFAULT_URL, api_key: KeyOption = None, json: JsonOption = False) -> None:
    """Show the state of the store as the gateway sees it."""
    _print(get_json(url, STORE_PATH, api_key), as_json=json)


@app.command()
def accept(url: UrlOption = DEFAULT_URL, api_key: KeyOption = None, json: JsonOption = False) -> None:
    """Accept a store that lost data: from then on there are decisions and feedback counts again."""
    _print(send_json("POST", url, f"{STORE_PATH}/accept", api_key), as_json=json)


def _print(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json_text.dumps(answer))
        return
    detail = f" ({answer['detail']})" if answer["detail"] else ""
    typer.echo(f"The store is {answer['store'].replace('_', ' ')}{detail}, epoch {answer['epoch']}.")
    typer.echo("Its server " + " and ".join(words[answer[name]] for name, words in _FACTS.items()) + ".")
