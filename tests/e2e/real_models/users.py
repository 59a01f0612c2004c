"""Users who ask through the official OpenAI client, mark what they get by a rule, and say so.

They know the gateway's public interface only: which policy answered is not to be seen.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import httpx
import openai

from tests.e2e.real_models.tasks import TASKS, Item, Task
from tests.pace import PATIENCE_SECONDS

USERS = 2  # as many as a model server has slots
MAX_VISITS = 400  # some six times as many as an experiment here takes
REQUEST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Visit:
    """One question, what came back, the marks, and what became of the feedback.

    Attributes:
        replies: One, or two side by side.
        right: The mark of each reply.
        status: The gateway's word for the feedback: counted, pending, or not_counted where the decision fell
            between the answer and what is said about it.
    """

    item: Item
    replies: tuple[str, ...]
    right: tuple[bool, ...]
    status: str


class UndecidedError(AssertionError):
    """Users asked far more than a decision takes, and there is none."""


@cache
def http() -> httpx.Client:
    """A client for single requests: making one takes longer than a short answer."""
    none_kept = httpx.Limits(max_keepalive_connections=0)  # the model servers end idle ones
    return httpx.Client(timeout=PATIENCE_SECONDS, limits=none_kept)


def connect(url: str) -> openai.AsyncOpenAI:
    """The official client; `base_url` is all that an application changes."""
    return openai.AsyncOpenAI(
        base_url=f"{url}/v1", api_key="none-needed", max_retries=0, timeout=REQUEST_SECONDS
    )


async def use_until_decided(
    client: openai.AsyncOpenAI, experiment: str, *, seed: int, on_visit: Callable[[Visit], None]
) -> dict[str, Any]:
    """Ask and report until the experiment is decided, and return what the gateway says of it then.

    Args:
        client: For the gateway.
        experiment: Its name, sent as `model`.
        seed: Equal seeds draw equal items, with replacement.
        on_visit: Told of every visit.

    Raises:
        UndecidedError: If there is no decision after `MAX_VISITS` visits.
    """
    crowd = _Crowd(client, experiment, on_visit)
    async with asyncio.TaskGroup() as users:
        for user in range(USERS):
            # Half of the users read answers as they come.
            users.create_task(
                crowd.keep_asking(random.Random(f"{seed} {experiment} {user}"), stream=user % 2 == 0)
            )
    account = await read_experiment(client, experiment)
    if account["state"] == "running":
        raise UndecidedError(
            f"{experiment} is undecided after {crowd.visits} visits, {account['comparisons']} comparisons "
            f"and this plan: {account['plan']}."
        )
    return account


async def read_experiment(client: openai.AsyncOpenAI, experiment: str) -> dict[str, Any]:
    """The gateway's account of an experiment."""
    return cast("dict[str, Any]", await client.get(f"/experiments/{experiment}", cast_to=object))


async def ask(
    client: openai.AsyncOpenAI, model: str, text: str, *, stream: bool, **options: Any
) -> tuple[str, list[str]]:
    """The response's id, and the text of each choice. `options` are further fields of the request."""
    messages: list[Any] = [{"role": "user", "content": text}]
    if not stream:
        reply = await client.chat.completions.create(model=model, messages=messages, **options)
        return reply.id, [choice.message.content or "" for choice in reply.choices]
    texts: defaultdict[int, str] = defaultdict(str)
    response_id = ""
    async for chunk in await client.chat.completions.create(
        model=model, messages=messages, stream=True, **options
    ):
        response_id = chunk.id
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    return response_id, [texts[index] for index in sorted(texts)]


def opinion(right: tuple[bool, ...]) -> dict[str, Any]:
    """What a user says who marked the replies so: a thumb for one, a preference between two."""
    if len(right) == 1:
        return {"signal": "thumb", "value": right[0]}
    if right[0] == right[1]:
        return {"preferred": "tie" if right[0] else "both_bad"}
    return {"preferred": right.index(True)}


async def report(client: openai.AsyncOpenAI, response_id: str, right: tuple[bool, ...]) -> str:
    """Send the opinion; the gateway's word for what became of it."""
    answer = await client.post("/feedback", body={"id": response_id, **opinion(right)}, cast_to=object)
    return str(cast("dict[str, Any]", answer)["status"])


@dataclass(slots=True)
class _Crowd:
    client: openai.AsyncOpenAI
    experiment: str
    on_visit: Callable[[Visit], None]
    visits: int = 0
    is_over: bool = False

    async def keep_asking(self, rng: random.Random, *, stream: bool) -> None:
        """One user, asking one thing after the other until the experiment is decided."""
        task = TASKS[self.experiment]
        while not self.is_over and self.visits < MAX_VISITS:
            self.visits += 1
            self.on_visit(await self._visit(task, rng.choice(task.items), stream=stream))
            account = await read_experiment(self.client, self.experiment)
            self.is_over = self.is_over or account["state"] != "running"

    async def _visit(self, task: Task, item: Item, *, stream: bool) -> Visit:
        response_id, replies = await ask(
            self.client, self.experiment, item.text, stream=stream, n=task.choices
        )
        right = tuple(task.is_right(item, reply) for reply in replies)
        return Visit(item, tuple(replies), right, await report(self.client, response_id, right))
