"""One answer per policy, task and repetition; each is asked for once and kept for this and later runs.

Repeating a question makes sense only if sampling is random. A policy at temperature 0, or with a fixed seed,
would repeat itself, so it is asked once for each task, however often the task comes up. Any other policy
answers anew each time, because reusing a lucky answer would count the same luck many times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from gateway.config.params import PolicyParams
from gateway.experiments.policies import CompiledPolicy
from gateway.offline.calls import ModelClient, ModelReply
from gateway.offline.errors import OfflineError
from gateway.offline.journal import Journal
from gateway.offline.tasks import Task
from gateway.upstream.base import ModelTarget

Key = tuple[Any, ...]
ALWAYS_REFUSED: Final = 5
"""A policy counts as misconfigured if at least this many of its requests, and all so far, were refused."""


def is_deterministic(params: PolicyParams) -> bool:
    """Whether asking again would give the same answer: temperature 0 or a fixed seed."""
    return params.temperature == 0 or params.seed is not None


class Answers:
    """Replies by key, each asked for at most once.

    Args:
        client: Calls models.
        journal: Keeps replies; those in it are not asked for again.
    """

    def __init__(self, client: ModelClient, journal: Journal) -> None:
        self._client = client
        self._journal = journal
        self._replies: dict[Key, asyncio.Future[ModelReply]] = {}
        self._kept: dict[Key, ModelReply] = {}
        spending = client.spending
        for row in journal.rows:
            reply = ModelReply(**row["reply"])
            self._kept[tuple(row["key"])] = reply
            spending.calls = max(spending.calls, int(row["calls"]))
            spending.add(reply.usd)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def kept(self) -> Mapping[Key, ModelReply]:
        """Every reply so far."""
        return self._kept

    async def get(self, key: Key, target: ModelTarget, payload: Callable[[], dict[str, Any]]) -> ModelReply:
        """The reply kept under `key`; `payload` makes the request if there is none yet."""
        if key in self._kept:
            return self._kept[key]
        if key not in self._replies:
            asking = asyncio.ensure_future(self._ask(key, target, payload()))
            # Retrieves the failure, so that it is not logged as unhandled if no caller waits for it any more.
            asking.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._replies[key] = asking
        return await asyncio.shield(self._replies[key])

    async def aclose(self) -> None:
        """Abandon the running calls."""
        under_way = list(self._replies.values())
        for future in under_way:
            future.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _ask(self, key: Key, target: ModelTarget, payload: dict[str, Any]) -> ModelReply:
        try:
            reply = await self._client.ask(target, payload)
        finally:
            self._replies.pop(key, None)
        self._journal.append({"key": list(key), "reply": asdict(reply), "calls": self._client.spending.calls})
        self._kept[key] = reply
        return reply


class PolicyAnswers:
    """The answers of policies to tasks."""

    def __init__(
        self,
        answers: Answers,
        policies: Sequence[CompiledPolicy],
        targets: Mapping[str, ModelTarget],
        tasks: Sequence[Task],
    ) -> None:
        self._answers = answers
        self._policies = policies
        self._targets = targets
        self._tasks = tasks

    async def get(self, policy: int, task: int, repetition: int) -> ModelReply:
        """A policy's answer to a task; `repetition` tells random answers to the same task apart.

        Raises:
            OfflineError: If the policy's template fails on the task, or the provider refused every request
                of the policy so far.
            CallFailedError: If the call kept failing, or the policy cannot be called at all.
            BudgetSpentError: If the budget does not allow the call.
        """
        compiled = self._policies[policy]
        reply = await self._answers.get(
            ("answer", compiled.name, task, repetition),
            self._targets[compiled.model],
            lambda: self._tasks[task].request_of(compiled),
        )
        if reply.is_refused:
            kept = self._answers.kept.items()
            replies = [known for key, known in kept if key[:2] == ("answer", compiled.name)]
            if len(replies) >= ALWAYS_REFUSED and all(known.is_refused for known in replies):
                raise OfflineError(
                    f"The provider refused all {len(replies)} requests of policy {compiled.name} as "
                    "invalid. Send one by hand to see why, correct the policy or leave it out, and start "
                    "anew in another --out."
                )
        return reply
