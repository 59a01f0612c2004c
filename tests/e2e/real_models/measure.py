"""How often each policy is right on all items of its task: the truth an experiment has to find.

Asks the model servers directly, with prompts rendered here, so that nothing of the gateway takes part.
Prints the table of benchmarks/results/real_models.md.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jinja2
import openai
import yaml

from tests.e2e.real_models.stage import CONFIG, DROPPED_BLOCKS, Models, model_servers
from tests.e2e.real_models.tasks import TASKS, Item, Task

REQUESTS_AT_ONCE = 2  # as many as a model server has slots


def system_text(policy: dict[str, Any], item: Item) -> str:
    """What the policy puts before the user's message."""
    if "system" in policy:
        return str(policy["system"])
    text = (CONFIG.parent / policy["template"]).read_text()
    return str(jinja2.Template(text).render(user_message=item.text))


async def ask(client: openai.AsyncOpenAI, policy: dict[str, Any], item: Item) -> str:
    """The policy's reply to the item."""
    reply = await client.chat.completions.create(
        model=policy["model"],
        messages=[
            {"role": "system", "content": system_text(policy, item)},
            {"role": "user", "content": item.text},
        ],
        **policy["params"],
    )
    return reply.choices[0].message.content or ""


async def marks(models: Models, policy: dict[str, Any], task: Task) -> list[bool]:
    """Whether the policy is right, item by item."""
    slots = asyncio.Semaphore(REQUESTS_AT_ONCE)
    url = f"{models.urls[policy['model']]}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none-needed") as client:

        async def mark(item: Item) -> bool:
            async with slots:
                return task.is_right(item, await ask(client, policy, item))

        return await asyncio.gather(*map(mark, task.items))


async def measure(models: Models) -> None:
    """Print one line of the table for each policy."""
    experiments = yaml.safe_load(CONFIG.read_text())["experiments"]
    sys.stdout.write(f"Blocks removed from the cut model: {DROPPED_BLOCKS}.\n\n")
    sys.stdout.write("| experiment | policy | items | right | share right | seconds a request |\n")
    sys.stdout.write("|---|---|---|---|---|---|\n")
    for name, experiment in experiments.items():
        for policy_name, policy in experiment["policies"].items():
            start = time.monotonic()
            right = await marks(models, policy, TASKS[name])
            seconds = (time.monotonic() - start) / len(right)
            row = (
                name,
                policy_name,
                len(right),
                sum(right),
                f"{sum(right) / len(right):.2f}",
                f"{seconds:.2f}",
            )
            sys.stdout.write(f"| {' | '.join(map(str, row))} |\n")
            sys.stdout.flush()


def main() -> None:
    """Start the models, measure, stop them."""
    with tempfile.TemporaryDirectory() as directory, model_servers(Path(directory)) as models:
        asyncio.run(measure(models))


if __name__ == "__main__":
    main()
