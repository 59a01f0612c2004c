"""An unmodified chat client that only resends its history decides an experiment, on replicas that may die."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from typing import Any, Final

import httpx
import openai

from gateway.proof.recorded import read_log
from gateway.proof.verification import verify
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream, answer
from tests.gateway.process import Served
from tests.gateway.whole import Whole
from tests.servers import RedisServer

SAID: Final = {
    "plain": "North is where the needle of your compass points, unless there is iron near.",
    "warm": "Good question! Look for the pole star tonight; it stands over the north.",
}

TRUSTING: Final = SSLContext(PROTOCOL_TLS_CLIENT)
"""Clients on loopback need no authorities: reading them takes longer than an answer."""


class Chat:
    """A chat application: OpenAI's client, a list of messages, and a button to ask again."""

    def __init__(self, url: str, *, is_streamed: bool) -> None:
        self._url = f"{url}/v1"
        self._is_streamed = is_streamed

    async def answer(self, messages: list[Any]) -> str:
        """What comes back for a conversation."""
        connections = httpx.AsyncClient(verify=TRUSTING)
        async with openai.AsyncOpenAI(base_url=self._url, api_key="any", http_client=connections) as client:
            return await self._said(client.chat.completions, messages)

    async def _said(self, asked: Any, messages: list[Any]) -> str:
        if not self._is_streamed:
            whole = await asked.create(model=NAME, messages=messages)
            return whole.choices[0].message.content or ""
        stream = await asked.create(model=NAME, messages=messages, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        return "".join(pieces)


class Users:
    """They ask, ask again, and go on from the warm answer nine times in ten; each request goes anywhere."""

    def __init__(self, *gateways: Whole) -> None:
        self._rng = random.Random(3)
        self.chats = [
            Chat(each.url, is_streamed=is_streamed) for each in gateways for is_streamed in (False, True)
        ]
        self._number = 0

    async def talk(self) -> None:
        """One conversation, and not a word to the gateway but its messages."""
        self._number += 1
        messages: list[Any] = [{"role": "user", "content": f"Which way is north? ({self._number})"}]
        answers = [await self._ask(messages), await self._ask(messages)]
        liked = SAID["warm"] if self._rng.random() < 0.9 else SAID["plain"]
        # Once the experiment has decided between the two requests, both answers can be the other policy's.
        kept = next((said for said in answers if said.strip() == liked), answers[-1])
        messages += [{"role": "assistant", "content": kept}, {"role": "user", "content": "Thanks!"}]
        await self._ask(messages)

    async def _ask(self, messages: list[Any]) -> str:
        return await self._rng.choice(self.chats).answer(messages)


async def test_a_client_that_only_resends_its_history_decides_an_experiment(
    serve: Callable[..., Served], upstream: FakeUpstream, tmp_path: Path
) -> None:
    """Two processes on one Redis, one of which is killed on the way, and no feedback at all.

    The certificate names the way, and the log gives the same decision.
    """
    for model, text in SAID.items():
        upstream.on(model, answer(text))
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    try:
        promotion = {"min_comparisons": 20, "min_duration": "0s", "min_voters": 0}
        terms: dict[str, Any] = {
            "traffic": {"share": 1.0, "collect": "regenerate"},
            "promotion": promotion,
            "delta": 0.1,
            "epsilon": 0.1,
        }
        made = [serve(**terms) for _ in range(2)]
        # A store that answers late on a busy machine would cost a comparison, as it should.
        settings = {"LLMPO_REDIS_URL": redis.url, "LLMPO_STORE_TIMEOUT_SECONDS": "20"}
        one, other = [await each.start(**settings) for each in made]
        await one.planned()
        users = Users(one, other)
        for _ in range(8):
            await users.talk()
        await made[0].kill()
        assert (await other.experiment())["comparisons"] == 8
        users.chats = Users(other).chats
        for _ in range(400):
            if (await other.experiment())["certificate"] is not None:
                break
            await users.talk()

        found = await other.experiment()
        assert found["incumbent"] == found["certificate"]["champion_name"] == "warm"
        assert found["certificate"]["experiment"]["collect"] == "regenerate"
        log = await other.get(f"/v1/experiments/{NAME}/log")
        verification = verify(read_log(log.body.splitlines()))
        assert (verification.differences, verification.champion) == ((), "warm")
    finally:
        redis.stop()
