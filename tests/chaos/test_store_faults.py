"""The store dies, freezes and comes back while users are at work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.gateway.process import Served
from tests.gateway.whole import Whole
from tests.pace import impatient
from tests.servers import StoreServer


@dataclass
class Traffic:
    """Users who ask and rate without pause. Remembers what they were promised."""

    gateway: Whole
    answered: int = 0
    slowest_seconds: float = 0.0
    acknowledged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    is_over: bool = False

    async def run(self, users: int = 4) -> None:
        await asyncio.gather(*(self._user() for _ in range(users)))

    async def _user(self) -> None:
        while not self.is_over:
            started = time.monotonic()
            answer = await self.gateway.compare()
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - started)
            assert answer.status == 200, answer.body
            self.answered += 1
            reply = await self.gateway.feed(id=answer.json["id"], preferred=0)
            if reply.status == 200 and reply.json["status"] != "not_counted":
                self.acknowledged.append(answer.json["id"])
            elif reply.status == 503:
                assert reply.code == "store_unavailable"
                assert int(reply.headers["retry-after"]) >= 1
                self.refused.append(answer.json["id"])
            else:
                assert reply.json.get("reason") == "unassigned_id", reply.body

    async def while_it_goes_on(self) -> None:
        """Wait for some more answers and some more feedback of the kind that is due."""
        answered = self.answered
        await self.gateway.eventually(lambda: self._is_past(answered + 12), "answers going on")

    async def _is_past(self, answered: int) -> bool:
        return self.answered >= answered


async def test_killed_store_stops_no_answer_and_loses_no_acknowledged_feedback(
    serve: Callable[..., Served], own_server: StoreServer
) -> None:
    """After kill -9 of the store requests are answered, new feedback gets a 503, and old feedback is kept."""
    gateway = await serve().start(
        LLMPO_REDIS_URL=own_server.url, LLMPO_STORE_TIMEOUT_SECONDS=str(impatient(0.5))
    )
    await gateway.planned()
    traffic = Traffic(gateway)
    running = asyncio.create_task(traffic.run())
    await traffic.while_it_goes_on()

    own_server.kill()
    await traffic.while_it_goes_on()
    assert (await gateway.get("/readyz")).status == 200
    own_server.start()
    before = len(traffic.acknowledged)
    await gateway.eventually(lambda: _is_longer(traffic.acknowledged, before + 5), "feedback counted again")
    traffic.is_over = True
    await running

    found = await gateway.experiment()
    counted = found["comparisons"]
    # Feedback that was refused may have been counted all the same: sending it again shows which.
    repeats = [(await gateway.feed(id=one, preferred=0)).json["status"] for one in traffic.acknowledged]
    assert set(repeats) == {"duplicate"}
    assert len(traffic.acknowledged) <= counted <= len(traffic.acknowledged) + len(traffic.refused)


async def test_frozen_store_delays_feedback_not_answers(
    serve: Callable[..., Served], own_server: StoreServer
) -> None:
    """SIGSTOP: connections hang instead of failing. Answers do not wait, feedback waits its deadline."""
    gateway = await serve().start(
        LLMPO_REDIS_URL=own_server.url, LLMPO_STORE_TIMEOUT_SECONDS=str(impatient(0.3))
    )
    await gateway.planned()

    own_server.freeze()
    traffic = Traffic(gateway)
    running = asyncio.create_task(traffic.run())
    await gateway.eventually(lambda: _is_longer(traffic.refused, 4), "feedback refused")
    own_server.thaw()
    await gateway.eventually(lambda: _is_longer(traffic.acknowledged, 4), "feedback counted again")
    traffic.is_over = True
    await running

    assert traffic.slowest_seconds < impatient(
        2.0
    )  # a busy test machine; the store's deadline alone would be more


async def test_frozen_store_does_not_hold_up_sessions_beyond_its_deadline(
    serve: Callable[..., Served], own_server: StoreServer
) -> None:
    """Sticky sessions ask the store; when it is silent they are drawn without it."""
    served = serve(traffic={"share": 1.0, "collect": "matched", "unit": "session"})
    gateway = await served.start(
        LLMPO_REDIS_URL=own_server.url, LLMPO_STORE_TIMEOUT_SECONDS=str(impatient(0.3))
    )
    await gateway.planned()

    own_server.freeze()
    started = time.monotonic()
    answer = await gateway.ask(metadata={"session_id": "one"})
    elapsed = time.monotonic() - started
    own_server.thaw()

    assert answer.status == 200
    assert elapsed < impatient(3.0)
    assert await gateway.metric("llmpo_sticky_skipped_total") >= 1


async def test_comings_and_goings_of_the_store_are_one_log_line_each(
    serve: Callable[..., Served], own_server: StoreServer
) -> None:
    """An outage of any length leaves two lines, not two a second."""
    served = serve()
    gateway = await served.start(
        LLMPO_REDIS_URL=own_server.url, LLMPO_STORE_TIMEOUT_SECONDS=str(impatient(1.0))
    )
    own_server.freeze()
    await gateway.eventually(lambda: _store_is(gateway, "down"), "the store seen down")
    own_server.thaw()
    await gateway.eventually(lambda: _store_is(gateway, "up"), "the store seen up")

    told = [line["event"] for line in served.events if "store" in line["event"]]
    assert told == ["store_unreachable", "store_back"]
    assert await gateway.metric("llmpo_store_up") == 1


async def test_gateway_started_before_its_store_serves_the_incumbent_and_joins_later(
    serve: Callable[..., Served], own_server: StoreServer
) -> None:
    """A gateway starts without its store, because a compose file starts everything at once."""
    own_server.freeze()
    gateway = await serve().start(
        LLMPO_REDIS_URL=own_server.url, LLMPO_STORE_TIMEOUT_SECONDS=str(impatient(0.2))
    )
    answer = (await gateway.compare()).json
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["I am plain."]
    assert (await gateway.get("/v1/experiments")).json["data"][0]["incumbent"] == "plain"
    assert (await gateway.get("/v1/experiments/support")).code == "store_unavailable"

    own_server.thaw()

    await gateway.planned()
    assert (await gateway.feed(id=(await gateway.compare()).json["id"], preferred=0)).status == 200


async def _is_longer(items: list[str], length: int) -> bool:
    return len(items) >= length


async def _store_is(gateway: Whole, state: str) -> bool:
    return bool((await gateway.get("/readyz")).json["store"] == state)


async def test_held_feedback_outlives_kills_of_gateway_and_store(
    serve: Callable[..., Served], own_server: StoreServer
) -> None:
    """Killed while what is held is being counted: nothing is lost, nothing counts twice."""
    served = serve(feedback={"hold": "2s"})
    store = {
        "LLMPO_REDIS_URL": own_server.url,
        "LLMPO_PLAN_INTERVAL_SECONDS": "0.05",
        "LLMPO_LEASE_SECONDS": "1",
    }
    gateway = await served.start(**store)
    await gateway.planned()
    held = []
    for kills in range(2):
        while (await gateway.experiment())["comparisons"] <= len(held) // 2:
            reply = await gateway.feed(id=(await gateway.compare()).json["id"], preferred=0)
            if reply.json["status"] == "held":  # a busy machine may take longer than the hold to report
                held.append(reply)
            await asyncio.sleep(0.05)  # dozens of reports show what hundreds would
        if kills % 2:
            own_server.kill()
            own_server.start()
        await served.kill()
        gateway = await served.start(**store)

    await gateway.eventually(lambda: _nothing_is_held(gateway), "held feedback counted")
    assert (await gateway.experiment())["comparisons"] == len(held)


async def _nothing_is_held(gateway: Whole) -> bool:
    return (await gateway.experiment())["reports_held"] == 0
