"""Events of an experiment as lines for a terminal, with times in this machine's zone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

from gateway.running.printable import on_one_line

_NOT_SHOWN: Final = ("fence", "pairs", "contrast")  # numbers that only `verify` needs


def event_lines(events: Iterable[dict[str, Any]]) -> Iterator[str]:
    """One line for each event in the gateway's answer."""
    for event in events:
        at = datetime.fromtimestamp(event["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        told = {
            name: value
            for name, value in event["detail"].items()
            if name not in _NOT_SHOWN and value is not None
        }
        facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told.items())
        yield on_one_line(f"{at}  {event['kind'].replace('_', ' ')}" + (f": {facts}" if facts else ""))
