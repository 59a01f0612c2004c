"""`llmpo experiments events`: shows past events of an experiment, and follows new ones."""

from __future__ import annotations

import json as json_text
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Annotated, Any, Final

import typer

from gateway.cli.event_lines import event_lines
from gateway.cli.remote import (
    DEFAULT_URL,
    JsonOption,
    KeyOption,
    UnansweredError,
    UrlOption,
    experiment_path,
    get_json,
    get_lines,
)
from gateway.cli.steering import ExperimentArgument

EVENTS_SHOWN: Final = 50
_EVENT_STREAM: Final = "text/event-stream"
_AGAIN_SECONDS: Final = 1.0


def events(
    name: ExperimentArgument,
    limit: Annotated[int, typer.Option(min=1, help="How many of the latest events.")] = EVENTS_SHOWN,
    follow: Annotated[bool, typer.Option("--follow", help="Continue with new events until Ctrl-C.")] = False,
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Show what happened to an experiment, who did it and why; newest last."""
    path = experiment_path(name, "/events")
    page = get_json(url, f"{path}?limit={limit}", api_key)
    page["data"].reverse()
    if not follow:
        if json:
            typer.echo(json_text.dumps(page))
        else:
            _show(page["data"], as_json=False)
        return
    _show(page["data"], as_json=json)
    after = page["data"][-1]["id"] if page["data"] else None
    for event in _followed(url, path, api_key, after):
        _show([event], as_json=json)


def _show(shown: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    for line in map(json_text.dumps, shown) if as_json else event_lines(shown):
        typer.echo(line)


def _followed(url: str, path: str, api_key: str | None, after: str | None) -> Iterator[dict[str, Any]]:
    """Every event after this one; whenever a stream ends, it is asked for again from the last event on."""
    while True:
        query = "" if after is None else f"?after={after}"
        with suppress(UnansweredError):
            for line in get_lines(url, path + query, api_key, accept=_EVENT_STREAM):
                field, _, value = line.decode().rstrip("\n").partition(": ")
                if field == "data":
                    yield json_text.loads(value)
                elif field == "id":
                    after = value
        time.sleep(_AGAIN_SECONDS)
