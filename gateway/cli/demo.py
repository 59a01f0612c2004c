"""`llmpo demo`: a gateway between simulated providers and simulated users; or only one of these."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import Annotated, Final

import typer
from aiohttp import web
from rich.console import Console

from gateway.cli import FAILED, INTERRUPTED
from gateway.demo.processes import free_port
from gateway.demo.provider import provider_app
from gateway.demo.story import Options, run_demo
from gateway.demo.users import Crowd, CrowdTally, run_crowd, wait_until_ready
from gateway.errors import GatewayError

USUAL_PORT: Final = 8420
REPORT_SECONDS: Final = 10.0

app = typer.Typer()
Seed = Annotated[int, typer.Option(help="Equal seeds give equal answers and tastes.")]


@app.callback(invoke_without_command=True)
def demo(
    context: typer.Context,
    exits: Annotated[
        bool, typer.Option("--exit", help="End once the promotion is verified: status 0, else 1.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Where the gateway listens [default: 8420 if free].")
    ] = None,
    limit: Annotated[
        float, typer.Option(min=1, help="With --exit: give up after this many seconds.")
    ] = 120.0,
    seed: Seed = 2026,
) -> None:
    """Watch a promotion happen: a real gateway between simulated providers and simulated users."""
    if context.invoked_subcommand is not None:
        return
    chosen = free_port(port or USUAL_PORT)
    if port is not None and chosen != port:
        raise typer.BadParameter(f"something listens on port {port} already", param_hint="--port")
    console = Console()
    ending = asyncio.run(run_demo(Options(exits, chosen, limit, seed), console))
    if ending is None:
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(0 if ending.is_good else FAILED)


@app.command()
def provider(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen.")] = 9100,
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    seed: Seed = 2026,
) -> None:
    """Only the simulated provider: OpenAI's chat completions at /v1, models sim-small and sim-large."""
    sys.stderr.write(f"simulated provider on http://{host}:{port}/v1\n")
    try:
        web.run_app(provider_app(seed), host=host, port=port, print=None)
    except OSError as error:
        raise GatewayError(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from error


@app.command()
def users(
    *,
    gateway: Annotated[str, typer.Option(help="The gateway's address, e.g. http://127.0.0.1:8080.")],
    experiment: Annotated[str, typer.Option(help="The `model` that the users send.")] = "support-assistant",
    rate: Annotated[float, typer.Option(min=0.01, help="Questions a second.")] = 10.0,
    api_key: Annotated[
        str | None, typer.Option(envvar="LLMPO_DEMO_API_KEY", help="Key for the gateway, if it needs one.")
    ] = None,
    thumbs: Annotated[
        bool, typer.Option("--thumbs", help="Ask for one answer and rate it, instead of comparing two.")
    ] = False,
    seed: Seed = 2026,
) -> None:
    """Only the simulated users: they ask, compare the answers and send feedback, until stopped."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    crowd = Crowd(gateway.rstrip("/"), experiment, rate, api_key, thumbs, seed)
    asyncio.run(_run_users(crowd))


async def _run_users(crowd: Crowd) -> None:
    tally = CrowdTally()

    async def visit() -> None:
        await wait_until_ready(crowd.gateway, timeout_seconds=None)
        await run_crowd(crowd, tally)

    visiting = asyncio.create_task(visit())
    reporting = asyncio.create_task(_report(crowd, tally))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, visiting.cancel)
    try:
        await asyncio.wait([visiting])
    finally:
        reporting.cancel()
    if not visiting.cancelled():
        visiting.result()


async def _report(crowd: Crowd, tally: CrowdTally) -> None:
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        feedback = (
            ", ".join(f"{status} {count}" for status, count in sorted(tally.feedback.items())) or "none"
        )
        logging.getLogger(__name__).info(
            "%s: %d answers (%d side by side), feedback: %s, retried %d, failed %d",
            *(crowd.experiment, tally.answered, tally.compared),
            *(feedback, tally.feedback_retries, tally.failures),
        )
