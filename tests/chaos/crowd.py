"""Users and operators of a round, who work without pause and remember what they were told."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from tests.chaos.record import Answer, RoundRecord, UserReport, Wish
from tests.chaos.rounds import LASTS_SECONDS, Round
from tests.chaos.stage import Stage
from tests.gateway.whole import Reply

USERS: Final = 4
BETTER: Final = "I am warm."
_VERBS: Final = ("pause", "resume", "promote", "rollback", "stop")
_WISH_SECONDS: Final = 0.25
_NO_REPLY: Final = (aiohttp.ClientError, TimeoutError, OSError)
_OUT_OF_WORK_SECONDS: Final = 0.05
_ATTEMPTS: Final = 5


@dataclass
class Crowd:
    """The users and operators of one round.

    Args:
        stage: Where they are at work.
        planned: The round.
        record: What they saw.
        harmed: The gateways that cannot answer at present.
    """

    stage: Stage
    planned: Round
    record: RoundRecord
    harmed: set[int]

    async def work(self) -> None:
        """Be at work until the round is over."""
        ends = time.monotonic() + LASTS_SECONDS
        undecided = time.monotonic() + self.planned.undecided_seconds
        rngs = [random.Random(f"{self.planned.seed} {index}") for index in range(USERS + 1)]
        users = [self._use(rng, ends, undecided) for rng in rngs[:USERS]]
        steering = [self._steer(rngs[USERS], ends)] if self.planned.is_steered else []
        await asyncio.gather(*users, *steering)

    async def _use(self, rng: random.Random, ends: float, undecided: float) -> None:
        while time.monotonic() < ends:
            number = self._somewhere(rng)
            reply = None if number is None else await self._ask(number)
            if reply is None:
                await asyncio.sleep(_OUT_OF_WORK_SECONDS)
                continue
            texts = _texts(reply)
            if len(texts) > 1:
                likes = rng.choice(texts) if time.monotonic() < undecided else BETTER
                await self._report(self._somewhere(rng), str(reply["id"]), texts.index(likes))
            else:
                await asyncio.sleep(_OUT_OF_WORK_SECONDS)

    def _somewhere(self, rng: random.Random) -> int | None:
        return rng.choice(sorted(self.stage.gateways)) if self.stage.gateways else None

    async def _ask(self, number: int) -> dict[str, Any] | None:
        began, was_harmed = time.time(), number in self.harmed
        try:
            reply = await self.stage.gateways[number].compare(model=self.record.name)
        except (*_NO_REPLY, KeyError) as error:
            self.record.unheard += 1
            if not was_harmed and number not in self.harmed:
                self.record.unanswered.append(f"gateway {number}: {type(error).__name__} {error}")
            return None
        if reply.status != 200:
            self.record.unanswered.append(f"gateway {number}: {reply.status} {reply.body[:200]!r}")
            return None
        said = reply.json
        self.record.answers.append(Answer(number, began, frozenset(_texts(said))))
        return dict(said)

    async def _report(self, number: int | None, answer: str, preferred: int) -> None:
        status = None if number is None else word_of(await self._feed(number, answer, preferred))
        self.record.reports.append(UserReport(answer, preferred, status, time.time()))

    async def _feed(self, number: int, answer: str, preferred: int) -> Reply | None:
        try:
            return await self.stage.gateways[number].feed(id=answer, preferred=preferred)
        except (*_NO_REPLY, KeyError):
            return None

    async def _steer(self, rng: random.Random, ends: float) -> None:
        """Two operators ask for different things at the same time."""
        count = 0
        while time.monotonic() < ends:
            await asyncio.gather(*(self._wish(rng, f"{self.record.name} {count}.{who}") for who in range(2)))
            count += 1
            await asyncio.sleep(_WISH_SECONDS)

    async def _wish(self, rng: random.Random, reason: str) -> None:
        number, verb = self._somewhere(rng), rng.choice(_VERBS)
        body = {"reason": reason, **({"policy": "warm"} if verb == "promote" else {})}
        status = None
        if number is not None:
            try:
                path = f"/v1/experiments/{self.record.name}/{verb}"
                status = (await self.stage.gateways[number].call("POST", path, body)).status
            except (*_NO_REPLY, KeyError):
                status = None
        self.record.wishes.append(Wish(verb, reason, status))

    async def send_again(self) -> None:
        """Send every report again, to learn what had become of it."""
        rng = random.Random(self.planned.seed)
        pending = list(self.record.reports)

        async def send() -> None:
            while pending:
                report = pending.pop()
                for _ in range(_ATTEMPTS):
                    reply = await self._feed(self._somewhere(rng), report.id, report.preferred)
                    report.status_later = word_of(reply)
                    if report.status_later is not None:
                        break
                    report.is_uncertain = True

        await asyncio.gather(*(send() for _ in range(USERS)))


def word_of(reply: Reply | None) -> str | None:
    """What a gateway said of a report: its status, or the error's code; None where nothing is known."""
    if reply is None:
        return None
    said = json.loads(reply.body)
    if reply.status == 200:
        return str(said["status"])
    return None if reply.status == 503 else f"{reply.status} {said['error']['code']}"


def _texts(answer: dict[str, Any]) -> list[str]:
    return [choice["message"]["content"] for choice in answer["choices"]]
