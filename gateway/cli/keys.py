"""`llmpo keys`: make the API keys clients and administrators use."""

from __future__ import annotations

import typer

from gateway.config.keys import hash_key, new_key

app = typer.Typer(no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Make API keys."""


@app.command()
def new() -> None:
    """Make a key. The first line is the key, shown only now; the second is what the configuration keeps."""
    key = new_key()
    typer.echo(key)
    typer.echo(hash_key(key))
    typer.echo(
        "Give the first line to whoever calls the gateway; it is not stored anywhere.\n"
        "Put the second under auth.client_keys or auth.admin_keys.",
        err=True,
    )
