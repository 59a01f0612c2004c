"""Limits of keys over a real store: exact in every minute, shared by processes, open without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.access.limiting import Limiter
from gateway.access.limits import LimitReachedError
from gateway.access.metering import Metered
from gateway.config.configured_keys import KeyLimits
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import GatewayEvent, KeyLimited, LimitsSkipped
from gateway.running.store_breaker import StoreBreaker
from policy_store.connect import connect
from policy_store.errors import StoreUnavailableError
from policy_store.limits import Account, Granted, LimitStore
from tests.pace import PATIENCE_SECONDS
from tests.servers import EmbeddedServer

PROMPT = {"messages": [{"role": "user", "content": "x" * 32}]}  # 10 tokens, going by its length


class CountingStore:
    """A store whose steps are counted, and that can be away."""

    def __init__(self, store: LimitStore) -> None:
        self._store = store
        self.steps: list[Account] = []
        self.is_away = False
        self.fault: Exception | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def lease(self, account: Account) -> Granted:
        """A step of the real store's."""
        self.steps.append(account)
        await self.answers.wait()
        if self.is_away:
            raise StoreUnavailableError("away")
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        return await self._store.lease(account)


class Process:
    """A limiter as one process has it."""

    def __init__(self, store: LimitStore, holder: str) -> None:
        self.store = CountingStore(store)
        self.events: list[GatewayEvent] = []
        self.limiter = Limiter(self.store, holder, Hooks(self.events.append), StoreBreaker())

    async def ask(self, limits: KeyLimits, key: str = "app", **fields: Any) -> Metered:
        """Admit one request."""
        return await self.limiter.admit("req_1", key, limits, {**PROMPT, **fields})

    async def flood(self, limits: KeyLimits, count: int) -> list[Metered]:
        """So many requests at once; those admitted."""
        found = await asyncio.gather(*(self.ask(limits) for _ in range(count)), return_exceptions=True)
        assert all(isinstance(each, Metered | LimitReachedError) for each in found)
        return [each for each in found if isinstance(each, Metered)]


@pytest.fixture
async def processes(embedded_url: str) -> AsyncIterator[Callable[[], Process]]:
    """Makes processes that share an empty store."""
    redis = connect(embedded_url, timeout_seconds=PATIENCE_SECONDS)
    made: list[Process] = []

    def make() -> Process:
        made.append(Process(LimitStore(redis, timeout_seconds=PATIENCE_SECONDS), f"process-{len(made)}"))
        return made[-1]

    yield make
    for process in made:
        await process.limiter.aclose()
    await redis.aclose()


async def until(is_true: Callable[[], bool]) -> None:
    """Return once it holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_true():
            await asyncio.sleep(0.002)


async def test_as_many_requests_pass_as_the_limit_says(processes: Callable[[], Process]) -> None:
    """Of four hundred requests at once in three processes exactly a hundred pass."""
    limits = KeyLimits(requests_per_minute=100)
    admitted = await asyncio.gather(*(processes().flood(limits, count) for count in (200, 150, 50)))
    assert sum(map(len, admitted)) == 100


async def test_waves_of_requests_never_exceed_the_limit(processes: Callable[[], Process]) -> None:
    """Leases taken ahead and given back stay within the limit, and the last of it can be had."""
    limits, members = KeyLimits(requests_per_minute=200), [processes() for _ in range(3)]
    passed = 0
    for wave in range(12):
        found = await asyncio.gather(*(member.flood(limits, 5 + wave) for member in members))
        passed += sum(map(len, found))
        assert passed <= 200
    for member in members:
        await member.limiter.aclose()
    passed += len(await members[0].flood(limits, 200))
    assert passed == 200


async def test_a_step_that_fails_keeps_nobody_waiting_who_came_during_it(
    processes: Callable[[], Process],
) -> None:
    """They have a step of their own."""
    process, limits = processes(), KeyLimits(requests_per_minute=10)
    process.store.answers.clear()
    process.store.fault = RuntimeError("a fault of the program")
    first = asyncio.create_task(process.ask(limits))
    await until(lambda: len(process.store.steps) == 1)
    second = asyncio.create_task(process.ask(limits))
    await asyncio.sleep(0)
    process.store.answers.set()
    with pytest.raises(RuntimeError):
        await first
    async with asyncio.timeout(PATIENCE_SECONDS):
        (await second).settle([])


async def test_a_step_that_is_stopped_ends_the_wait_and_begins_no_other(
    processes: Callable[[], Process],
) -> None:
    """Closing that takes too long stops the step. Neither hangs who asked for it, nor who came during it."""
    process, limits = processes(), KeyLimits(requests_per_minute=10)
    process.store.answers.clear()
    first = asyncio.create_task(process.ask(limits))
    await until(lambda: len(process.store.steps) == 1)
    second = asyncio.create_task(process.ask(limits))
    await asyncio.sleep(0)
    closing = asyncio.create_task(process.limiter.aclose())
    for _ in range(3):  # until it awaits the step
        await asyncio.sleep(0)
    closing.cancel()
    async with asyncio.timeout(PATIENCE_SECONDS):
        ended = await asyncio.gather(closing, first, second, return_exceptions=True)
    assert [type(each) for each in ended] == [asyncio.CancelledError] * 3
    assert len(process.store.steps) == 1
    process.store.answers.set()
    (await process.ask(limits)).settle([])


async def test_no_step_is_made_for_callers_who_left(processes: Callable[[], Process]) -> None:
    """Who comes during a step and leaves again costs the store nothing, and takes nothing."""
    process, limits = processes(), KeyLimits(requests_per_minute=2)
    process.store.answers.clear()
    first = asyncio.create_task(process.ask(limits))
    await until(lambda: len(process.store.steps) == 1)
    left = [asyncio.create_task(process.ask(limits)) for _ in range(5)]
    await asyncio.sleep(0)
    for each in left:
        each.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    process.store.answers.set()
    (await first).settle([])
    assert len(process.store.steps) == 1
    (await process.ask(limits)).settle([])


async def test_a_busy_key_rarely_asks_the_store(processes: Callable[[], Process]) -> None:
    """Portions: a thousand requests one after another take a hundredth of the steps."""
    process, limits = processes(), KeyLimits(requests_per_minute=1_000_000)
    for _ in range(1_000):
        (await process.ask(limits)).settle([])
    assert len(process.store.steps) <= 20


async def test_who_is_refused_hears_which_limit_and_when_to_come_back(
    processes: Callable[[], Process],
) -> None:
    """The error says it, and the refusal is counted under the key's name."""
    process, limits = processes(), KeyLimits(requests_per_minute=1)
    await process.ask(limits)
    with pytest.raises(LimitReachedError, match="1 requests per minute") as refused:
        await process.ask(limits)
    assert (refused.value.kind, refused.value.limit) == ("requests", "requests_per_minute")
    assert 60 < refused.value.retry_after_seconds <= 62
    assert [(each.remaining, each.limit) for each in refused.value.standings] == [(0, 1)]
    assert process.events == [KeyLimited("req_1", "app", "requests_per_minute")]


async def test_requests_under_way_are_limited_over_all_processes(processes: Callable[[], Process]) -> None:
    """As soon as one request ends, another process may start one."""
    limits, first, second = KeyLimits(concurrent_requests=5), processes(), processes()
    found = await asyncio.gather(first.flood(limits, 10), second.flood(limits, 10))
    under_way = [*found[0], *found[1]]
    assert len(under_way) == 5
    for each in under_way:
        each.settle([])

    async def all_at_second() -> int:
        under_way.extend(await second.flood(limits, 5 - len(under_way)))
        return len(under_way)

    under_way.clear()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await all_at_second() < 5:
            await asyncio.sleep(0.005)
    assert await first.flood(limits, 1) == []


async def test_requests_under_way_never_exceed_the_limit_in_heavy_traffic(
    processes: Callable[[], Process],
) -> None:
    """Forty clients in two processes come and go; the count of those inside is checked at every step."""
    limits, members = KeyLimits(concurrent_requests=7), [processes(), processes()]
    inside = served = 0

    async def client(process: Process) -> None:
        nonlocal inside, served
        for _ in range(25):
            try:
                metered = await process.ask(limits)
            except LimitReachedError:
                await asyncio.sleep(0.001)
                continue
            inside += 1
            assert inside <= 7
            served += 1
            await asyncio.sleep(0.001)
            inside -= 1
            metered.settle([])

    await asyncio.gather(*(client(members[number % 2]) for number in range(40)))
    assert served > 7


async def test_reported_tokens_count(processes: Callable[[], Process]) -> None:
    """What was set aside is exchanged for what the provider reports, more or less of it."""
    process, limits = processes(), KeyLimits(tokens_per_minute=1000)
    first = await process.ask(limits, max_tokens=600)
    first.settle([(10, 40)])
    second = await process.ask(limits, max_tokens=100)
    second.settle([(10, 390), (0, 400)])
    await process.limiter.aclose()

    third = await process.ask(limits, max_tokens=100)
    with pytest.raises(LimitReachedError) as refused:
        await process.ask(limits, max_tokens=100)

    assert third.standings[0].remaining == 1000 - 50 - 800 - 110
    assert (refused.value.kind, refused.value.limit) == ("tokens", "tokens_per_minute")


async def test_tokens_nobody_reports_are_estimated(processes: Callable[[], Process]) -> None:
    """A stream is estimated by its events, a whole answer by its length, and a failed request as nothing."""
    process, limits = processes(), KeyLimits(tokens_per_minute=1000)

    streamed = await process.ask(limits)
    for events in (5, 15):
        streamed.pass_block(b"data: {}\n\n" * events)
    streamed.settle([(10, 5), None])
    whole = await process.ask(limits)
    whole.pass_whole(b"x" * 400)
    whole.settle([None])
    (await process.ask(limits, max_tokens=500)).settle([])
    await process.limiter.aclose()

    assert (await process.ask(limits)).standings[0].remaining == 1000 - (10 + 20) - (10 + 100) - 10


async def test_a_request_larger_than_the_limit_passes_alone(processes: Callable[[], Process]) -> None:
    """The longest answer a caller allows is seldom the one that comes: it must not be refused for ever."""
    process, limits = processes(), KeyLimits(tokens_per_minute=100)
    await process.ask(limits, max_tokens=100_000)
    with pytest.raises(LimitReachedError):
        await process.ask(limits, max_tokens=1)


async def test_a_caller_who_leaves_while_waiting_takes_nothing(processes: Callable[[], Process]) -> None:
    """A caller who leaves while waiting uses neither a concurrent request nor tokens."""
    process, limits = processes(), KeyLimits(concurrent_requests=1, tokens_per_minute=1000)
    process.store.answers.clear()
    waiting = asyncio.create_task(process.ask(limits, max_tokens=500))
    await until(lambda: bool(process.store.steps))
    waiting.cancel()
    process.store.answers.set()
    await asyncio.gather(waiting, return_exceptions=True)

    found = await process.ask(limits)
    assert found.standings[0].remaining == 990


async def test_a_caller_who_leaves_at_the_last_moment_takes_nothing(
    processes: Callable[[], Process],
) -> None:
    """Admitted, but gone before it could know."""
    process, limits = processes(), KeyLimits(concurrent_requests=1, tokens_per_minute=1000)
    account = process.limiter.account("app", limits)
    waiting = asyncio.create_task(process.ask(limits))
    account_admits = account._answer

    def admit_and_leave(one: Any) -> None:
        account_admits(one)
        waiting.cancel()

    account._answer = admit_and_leave  # type: ignore[method-assign]
    await asyncio.gather(waiting, return_exceptions=True)
    account._answer = account_admits  # type: ignore[method-assign]

    assert waiting.cancelled()
    assert (await process.ask(limits)).standings[0].remaining == 990


async def test_without_the_store_requests_pass_and_it_is_said_once(processes: Callable[[], Process]) -> None:
    """Open, with one line when it begins and one when it ends; what this process knows itself still holds."""
    process = processes()
    limits = KeyLimits(concurrent_requests=3, requests_per_minute=1)
    process.store.is_away = True
    with capture_logs() as lines:
        inside = [await process.ask(limits) for _ in range(3)]
        with pytest.raises(LimitReachedError, match="in progress"):
            await process.ask(limits)
        for each in inside:
            each.settle([])
        assert len(process.store.steps) == 1  # those after the first did not wait for it
        process.store.is_away = False
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:  # until it is back and the limit of one a minute holds
                try:
                    (await process.ask(limits)).settle([])
                except LimitReachedError:
                    break
                await asyncio.sleep(0.01)
    assert [line["event"] for line in lines] == [
        "answering_without_store",
        "answering_with_store",
    ]
    assert process.events[:3] == [LimitsSkipped("req_1", "app")] * 3


async def test_a_frozen_store_costs_one_wait(embedded_url: str, embedded_server: EmbeddedServer) -> None:
    """A request waits for it as long as limits may take, those after it not at all."""
    redis = connect(embedded_url, timeout_seconds=PATIENCE_SECONDS)
    process, limits = Process(LimitStore(redis, timeout_seconds=0.1), "one"), KeyLimits(requests_per_minute=5)
    await process.ask(limits)
    await process.limiter.aclose()
    clock = asyncio.get_running_loop().time
    embedded_server.freeze()
    try:
        began = clock()
        await asyncio.gather(*(process.ask(limits) for _ in range(50)))
        waited, again = clock() - began, clock()
        await asyncio.gather(*(process.ask(limits) for _ in range(50)))
        assert clock() - again < 0.1 <= waited < 1
    finally:
        embedded_server.thaw()
        await redis.aclose()
    assert len(process.events) == 100
