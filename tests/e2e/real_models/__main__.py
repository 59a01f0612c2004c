"""`make demo-real`: watch real language models being compared, and the better policy promoted with proof.

Ends with status 0 once every experiment has promoted the policy that measurement found best and
`llmpo verify` has confirmed it; with 1 otherwise.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import openai
from rich.console import Console
from rich.markup import escape

from tests.e2e.real_models.processes import ServerDiedError
from tests.e2e.real_models.stage import CUT_MODEL, DROPPED_BLOCKS, MODEL, Gateway, gateway, model_servers
from tests.e2e.real_models.tasks import TASKS
from tests.e2e.real_models.truth import RIGHT_OF_100, best_policy
from tests.e2e.real_models.users import Visit, connect, read_experiment, use_until_decided
from tests.e2e.real_models.verifying import fetch_log, verify

SHOWN_CHARACTERS = 48
BAR_CELLS = 24
LOOK_SECONDS = 5.0
INTERRUPTED = 130

console = Console(highlight=False, soft_wrap=True)


def show_visit(visit: Visit) -> None:
    """One line: the question, the answer with its mark, and the result of the feedback."""
    replies = "   ".join(
        f"[{'green' if right else 'red'}]{'right' if right else 'wrong'}[/] {escape(_shortened(reply))}"
        for reply, right in zip(visit.replies, visit.right, strict=True)
    )
    console.print(f"  {escape(visit.item.text):<14} {replies}   [dim]{visit.status}[/]")


def show_evidence(account: dict[str, Any]) -> None:
    """A bar for each policy: how far its evidence is on the way to the line."""
    console.print(f"  [bold]{account['comparisons']} comparisons[/]")
    for part in account["evidence"]:
        needed = part["needed"] or float("inf")
        cells = round(BAR_CELLS * min(1.0, max(0.0, part["nats"] / needed)))
        bar = "█" * cells + "░" * (BAR_CELLS - cells)
        console.print(f"    {part['policy']:<22} {bar} {part['nats']:5.2f} of {needed:.2f} nats")


def _shortened(reply: str) -> str:
    line = " ".join(reply.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[: SHOWN_CHARACTERS - 1]}…"


async def run_experiment(client: openai.AsyncOpenAI, experiment: str) -> tuple[dict[str, Any], str]:
    """Let users decide one experiment; the gateway's account of it and its log."""
    before = await read_experiment(client, experiment)
    console.rule(f"[bold]{experiment}[/]: {', '.join(before['policies'])}")
    console.print(
        f"  collected {before['collect'].replace('_', ' ')}; the incumbent is {before['incumbent']}\n"
    )
    watching = asyncio.create_task(_keep_looking(client, experiment))
    try:
        account = await use_until_decided(client, experiment, seed=time.time_ns(), on_visit=show_visit)
    finally:
        watching.cancel()
    show_evidence(account)
    return account, await fetch_log(client, experiment)


async def _keep_looking(client: openai.AsyncOpenAI, experiment: str) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        show_evidence(await read_experiment(client, experiment))


def judge(experiment: str, account: dict[str, Any], log: Path) -> bool:
    """Whether the best policy was promoted and `llmpo verify` confirms it; says both."""
    is_best = account["state"] == "promoted" and account["incumbent"] == best_policy(experiment)
    truth = ", ".join(f"{policy} {right}" for policy, right in RIGHT_OF_100[experiment].items())
    console.print(f"\n  {account['state']}: the incumbent is now {account['incumbent']}")
    console.print(
        f"  right answers of 100, measured beforehand: {truth}: {'agreed' if is_best else 'NOT SO'}"
    )
    result = verify(experiment, log)
    console.print(escape(f"  llmpo verify: {result.stdout}{result.stderr}".rstrip()) + "\n")
    return is_best and result.returncode == 0


async def _run(url: str, experiment: str) -> tuple[dict[str, Any], str]:
    async with connect(url) as client:
        return await run_experiment(client, experiment)


def run_all(running: Gateway, directory: Path) -> bool:
    """All experiments, one after the other; whether all went as they should."""
    is_well = True
    for experiment in TASKS:
        account, exported = asyncio.run(_run(running.url, experiment))
        log = directory / f"{experiment}.jsonl"
        log.write_text(exported)
        is_well &= judge(experiment, account, log)
    return is_well


def main() -> int:
    """Start everything, run, stop everything."""
    console.print(
        f"Starting {MODEL}, {CUT_MODEL} (blocks {DROPPED_BLOCKS} of 30 removed) and the gateway ..."
    )
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with model_servers(directory) as models, gateway(models, directory) as running:
            console.print(f"The gateway is at {running.url}, its console at {running.url}/console")
            is_well = run_all(running, directory)
    if is_well:
        console.print(
            "[bold green]All as it should be:[/] the better policies were promoted, and it was proved."
        )
    else:
        console.print("[bold red]Not as it should be.[/]")
    return 0 if is_well else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ServerDiedError as error:
        sys.exit(f"A server failed: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
