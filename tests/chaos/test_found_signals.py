"""An unmodified chat client that only resends its history decides an experiment of single answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from gateway.proof.recorded import read_log
from gateway.proof.verification import verify
from tests.chaos.test_asking_again import SAID, Chat
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream, answer
from tests.gateway.process import Served
from tests.gateway.whole import Whole
from tests.servers import RedisServer

# On a busy machine a turn takes a second or two, and has to come within the hold.
FEEDBACK: Final = {
    "hold": "5s",
    "signals": {
        "thumb": 1,
        "continued": {"weight": 0.25, "found": True},
        "reasked": {"weight": -0.5, "found": True},
        "abandoned": {"weight": -0.25, "found": True},
    },
}


class Users:
    """They go on from a warm answer, and put the question in other words after a plain one, mostly."""

    def __init__(self, *gateways: Whole) -> None:
        self._rng = random.Random(5)
        self.chats = [
            Chat(each.url, is_streamed=is_streamed) for each in gateways for is_streamed in (False, True)
        ]
        self._number = 0

    async def talk(self) -> None:
        """One conversation, and not a word to the gateway but its messages; each request goes anywhere."""
        self._number += 1
        asked = f"Which way is north from house number {self._number}"
        messages: list[Any] = [{"role": "user", "content": f"{asked}?"}]
        said = await self._ask(messages)
        is_liked = (said.strip() == SAID["warm"]) is (self._rng.random() < 0.9)
        then = "Thanks, that helps!" if is_liked else f"{asked}, please?"
        messages += [{"role": "assistant", "content": said}, {"role": "user", "content": then}]
        await self._ask(messages)

    async def _ask(self, messages: list[Any]) -> str:
        return await self._rng.choice(self.chats).answer(messages)


async def test_conversations_alone_decide_an_experiment_of_single_answers(
    serve: Callable[..., Served], upstream: FakeUpstream, tmp_path: Path
) -> None:
    """Two processes on one Redis, one of which is killed on the way, and no feedback at all.

    What was found before the crash counts, and the log gives the same decision.
    """
    for model, text in SAID.items():
        upstream.on(model, answer(text))
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    try:
        terms: dict[str, Any] = {
            "traffic": {"share": 1.0, "collect": "matched"},
            "feedback": FEEDBACK,
            "promote_on": ["implicit"],
            "delta": 0.1,
            "epsilon": 0.1,
            "promotion": {"min_comparisons": 20, "min_duration": "0s", "min_voters": 0},
        }
        made = [serve(**terms) for _ in range(2)]
        settings = {
            "LLMPO_REDIS_URL": redis.url,
            "LLMPO_STORE_TIMEOUT_SECONDS": "20",
            "LLMPO_LEASE_SECONDS": "3",
        }
        one, other = await asyncio.gather(*(each.start(**settings) for each in made))
        await one.planned()
        users = Users(one, other)
        for _ in range(6):
            await asyncio.gather(*(users.talk() for _ in range(3)))
        found = await one.metric("llmpo_feedback_total", status="held")
        await made[0].kill()
        users.chats = Users(other).chats
        for _ in range(200):
            if (await other.experiment())["certificate"] is not None:
                break
            await asyncio.gather(*(users.talk() for _ in range(3)))

        reading = await other.experiment()
        assert found > 0
        assert reading["incumbent"] == reading["certificate"]["champion_name"] == "warm"
        sources = {part for each in reading["comparisons_by_source"] for part in each.split(",")}
        assert sources == {"matched:continued", "matched:reasked", "matched:abandoned"}
        assert {each["signal"] for each in reading["signals"]} == {"continued", "reasked", "abandoned"}
        log = await other.get(f"/v1/experiments/{NAME}/log")
        verification = verify(read_log(log.body.splitlines()))
        assert (verification.differences, verification.champion) == ((), "warm")
    finally:
        redis.stop()
