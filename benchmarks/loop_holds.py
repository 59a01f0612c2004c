"""How long one body of 10 MB keeps a gateway from all other requests, by the body's content.

    .venv/bin/python -m benchmarks.loop_holds [--rounds N]

Each body is handed to a gateway in this process as a chat completion; its provider is another process. A
callback runs in every round of the event loop, and the time between two of its runs is one hold. The longest
hold of each request is taken, in processor time of the thread, so that other work on the machine matters
little. Writes benchmarks/results/loop_holds.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import platform
import tempfile
from pathlib import Path
from statistics import median

import uvloop

from benchmarks.pages import save_page
from benchmarks.processes import canned_provider
from gateway.app import create_app
from gateway.running.logs import configure_logging
from gateway.running.memory import settle_memory
from tests.abuse.asgi import posted
from tests.abuse.bodies import BOMBS, BROKEN, BYTES, TEXTS
from tests.abuse.loop import Holds, watched
from tests.gateway.building import gateway_config
from tests.gateway.whole import quick_settings
from tests.servers import EmbeddedServer

RESULTS = Path(__file__).parent / "results" / "loop_holds.md"
PATH = "/v1/chat/completions"


async def measured(rounds: int, api_base: str, store_url: str) -> dict[str, tuple[int, list[Holds]]]:
    """Status and holds of each kind of body."""
    app = create_app(gateway_config(api_base=api_base), quick_settings(store_url, plan_interval_seconds=60))
    found: dict[str, tuple[int, list[Holds]]] = {}
    async with app.router.lifespan_context(app):
        settle_memory()
        for kind, body in (TEXTS | BROKEN | BOMBS).items():
            holds = []
            for _ in range(rounds):
                reply, held = await watched(posted(app, PATH, body))
                holds.append(held)
            found[kind] = reply.status, holds
    return found


def page(found: dict[str, tuple[int, list[Holds]]], rounds: int) -> str:
    """The results as a table, the longest first."""
    rows = sorted(found.items(), key=lambda each: -median(held.longest for held in each[1][1]))
    about = (
        f"`python -m benchmarks.loop_holds --rounds {rounds}`, {dt.datetime.now(dt.UTC):%Y-%m-%d}, "
        f"Python {platform.python_version()}, {platform.machine()}. Bodies of {BYTES / 1e6:g} MB (a few "
        "kinds are complete with less), milliseconds of processor time: the median and the largest of "
        f"{rounds} requests. *Longest hold* is the longest time that other requests have to wait at once, "
        "*all of it* is the time of all steps of the request."
    )
    lines = [
        "# How long one body of 10 MB holds the event loop",
        "",
        about,
        "",
        "| body | status | longest hold | most | all of it |",
        "|---|---|---|---|---|",
    ]
    for kind, (status, holds) in rows:
        longest = [1000 * held.longest for held in holds]
        total = median(1000 * held.total for held in holds)
        lines.append(f"| {kind} | {status} | {median(longest):.1f} | {max(longest):.1f} | {total:.1f} |")
    return "\n".join(lines) + "\n"


async def main() -> None:
    """Measure, and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds: int = parser.parse_args().rounds
    configure_logging("error", as_json=False)
    async with canned_provider() as api_base:
        with tempfile.TemporaryDirectory() as folder:
            store = EmbeddedServer(Path(folder))
            store.start()
            try:
                found = await measured(rounds, api_base, store.url)
            finally:
                store.stop()
    save_page(RESULTS, page(found, rounds))


if __name__ == "__main__":
    uvloop.run(main())
