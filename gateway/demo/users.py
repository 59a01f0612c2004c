"""Simulated users: they ask over HTTP, read the answers, and report which one they prefer.

They know only the gateway's public interface: no policy, no score, no seed of the provider.
Each visit is one question and, when two answers came back, one preference.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from gateway.demo import world

_log = logging.getLogger(__name__)

READING_SECONDS: Final = 0.4  # mean time between the answer and the feedback
MAX_VISITS_AT_ONCE: Final = 64
FEEDBACK_PAUSES_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
RETRIED_STATUSES: Final = (429, 502, 503, 504)
REQUEST_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)


@dataclass(frozen=True, slots=True)
class Crowd:
    """A crowd of users: what they ask for, and how often.

    Attributes:
        gateway: Base address of the gateway, without `/v1`.
        experiment: The `model` that the users send.
        visits_per_second: Questions asked by all of them together.
        api_key: Key for the gateway, or None if it needs none.
        gives_thumbs: Whether they ask for one answer and rate it, instead of comparing two.
        seed: Equal seeds ask equal questions in equal order and have equal tastes.
    """

    gateway: str
    experiment: str
    visits_per_second: float
    api_key: str | None = None
    gives_thumbs: bool = False
    seed: int = 0


@dataclass(slots=True)
class CrowdTally:
    """The counts so far; the only mutable state of a crowd."""

    answered: int = 0
    compared: int = 0
    pleased: int = 0  # users who liked a single answer, whether they reported it or not
    feedback: dict[str, int] = field(default_factory=dict)  # by the gateway's status word or HTTP status
    feedback_retries: int = 0
    failures: int = 0

    @property
    def alone(self) -> int:
        """How many answers were single ones."""
        return self.answered - self.compared

    def count_feedback(self, status: str) -> None:
        """Count a report that was answered with `status`."""
        self.feedback[status] = self.feedback.get(status, 0) + 1


async def run_crowd(crowd: Crowd, tally: CrowdTally) -> None:
    """Visit the gateway at the crowd's rate until cancelled. Faults are counted, never raised."""
    rng = random.Random(f"{crowd.seed}\0{crowd.experiment}")
    slots = asyncio.Semaphore(MAX_VISITS_AT_ONCE)
    headers = {"Authorization": f"Bearer {crowd.api_key}"} if crowd.api_key else {}
    async with (
        aiohttp.ClientSession(headers=headers, timeout=REQUEST_TIMEOUT) as session,
        asyncio.TaskGroup() as visits,
    ):
        visitors = _Visitors(crowd, tally, session)
        while True:
            await asyncio.sleep(rng.expovariate(crowd.visits_per_second))
            await slots.acquire()
            visit = visits.create_task(visitors.visit(random.Random(rng.random())))
            visit.add_done_callback(lambda _: slots.release())


async def wait_until_ready(gateway: str, *, timeout_seconds: float | None) -> None:
    """Return once the gateway says it is ready.

    Raises:
        TimeoutError: If it did not within `timeout_seconds`; None waits for ever.
    """
    async with asyncio.timeout(timeout_seconds), aiohttp.ClientSession() as session:
        while not await answers_ok(session, f"{gateway}/readyz"):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.2)


async def answers_ok(session: aiohttp.ClientSession, url: str) -> bool:
    """Whether a server answers a GET of this address with 200 now."""
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=5)) as response:
            return response.status == HTTPStatus.OK
    except (aiohttp.ClientError, TimeoutError):
        return False


@dataclass(frozen=True, slots=True)
class _Visitors:
    """Users who visit the gateway and count in one tally."""

    crowd: Crowd
    tally: CrowdTally
    session: aiohttp.ClientSession

    async def visit(self, rng: random.Random) -> None:
        """Ask one question and, if there is something to say about the answer, report it."""
        try:
            reply = await self.ask(world.ask_question(rng))
            texts = [choice["message"]["content"] for choice in reply["choices"]]
        except (aiohttp.ClientError, TimeoutError, LookupError, TypeError, ValueError) as error:
            self.tally.failures += 1
            _log.debug("question_failed: %r", error)
            return
        opinion = self.opinion_of(texts, rng)
        if opinion is not None:
            await asyncio.sleep(rng.expovariate(1 / READING_SECONDS))
            await self.report({"id": reply["id"], **opinion})

    async def ask(self, question: str) -> dict[str, Any]:
        """The gateway's reply."""
        body: dict[str, Any] = {
            "model": self.crowd.experiment,
            "messages": [{"role": "user", "content": question}],
            "n": 1 if self.crowd.gives_thumbs else 2,
        }
        async with self.session.post(f"{self.crowd.gateway}/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            reply: dict[str, Any] = await response.json()
            return reply

    def opinion_of(self, texts: list[str], rng: random.Random) -> dict[str, Any] | None:
        """The user's report about these texts, or None."""
        self.tally.answered += 1
        if len(texts) > 1:
            self.tally.compared += 1
            return {"preferred": world.prefer(texts[0], texts[1], rng)}
        is_pleased = world.likes(texts[0], rng)
        self.tally.pleased += is_pleased
        return {"signal": "thumb", "value": is_pleased} if self.crowd.gives_thumbs else None

    async def report(self, body: dict[str, Any]) -> None:
        """Send feedback; again later if the gateway cannot record it now."""
        for pause_seconds in (*FEEDBACK_PAUSES_SECONDS, None):
            status = await self.received(body)
            if status is not None:
                self.tally.count_feedback(status)
                return
            if pause_seconds is not None:
                self.tally.feedback_retries += 1
                await asyncio.sleep(pause_seconds)
        self.tally.failures += 1

    async def received(self, body: dict[str, Any]) -> str | None:
        """The result of a report in one word, or None if it should be sent again."""
        try:
            async with self.session.post(f"{self.crowd.gateway}/v1/feedback", json=body) as response:
                if response.status in RETRIED_STATUSES:
                    return None
                answer = await response.json()
                return str(answer["status"]) if response.ok else f"http_{response.status}"
        except (aiohttp.ClientError, TimeoutError, LookupError, TypeError, ValueError):
            return None
