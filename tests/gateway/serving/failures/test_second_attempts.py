"""Second attempts, ejection and deadlines on the running data plane, counted at the provider."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import orjson
import pytest
from structlog.testing import capture_logs

from gateway.instrumentation.records import Ejected, EjectionEnded
from gateway.upstream.base import Timeouts
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import Behaviour, FakeUpstream, answer, cut, hang_up, stall, status
from tests.gateway.live import Live, entry, experiment, live_gateway
from tests.gateway.protocols import both_protocols
from tests.gateway.serving.clock import Clock
from tests.gateway.whole import QUESTION, eventually
from tests.pace import impatient

BETA = ("large", NAME, "beta")
REQUESTS = 1000


@pytest.fixture
async def gateway(upstream: FakeUpstream, clock: Clock) -> AsyncIterator[Live]:
    """`large`, with `small` and then `tiny` behind it; `support` has `beta` on `large` as its candidate."""
    base = upstream.api_base
    models = [
        entry("small", base),
        entry("tiny", base),
        entry("large", base).model_copy(update={"fallbacks": ["small", "tiny"]}),
    ]
    live = experiment(base)
    async with live_gateway(
        [live, replace(live, name="incumbent-only", share=0.0)],
        models,
        timer=clock,
        http2=upstream.is_http2,
    ) as gateway:
        yield gateway


async def ask_many(gateway: Live, model: str, times: int, at_once: int = 50) -> Counter[int]:
    """So many requests, so many at once; how often each status came."""
    waiting = iter(range(times))

    async def user() -> Counter[int]:
        return Counter([(await gateway.ask(model)).status for _ in waiting])

    return sum(await asyncio.gather(*(user() for _ in range(at_once))), Counter())


@pytest.mark.parametrize("model", ["large", NAME])
@pytest.mark.parametrize("fault", [status(500), hang_up()], ids=["500", "hangs up"])
async def test_when_everything_fails_providers_get_few_more_attempts_than_requests(
    upstream: FakeUpstream, model: str, fault: Behaviour
) -> None:
    """Providers get at most 1.2 attempts a request, even if nothing is ever ejected."""
    base = upstream.api_base
    models = [entry("small", base), entry("large", base).model_copy(update={"fallbacks": ["small"]})]
    for name in ("small", "large"):
        upstream.on(name, fault)

    async with live_gateway([experiment(base)], models, eject_after_failures=REQUESTS) as gateway:
        statuses = await ask_many(gateway, model, REQUESTS)

    assert set(statuses) <= {502, 503}
    assert REQUESTS < len(upstream.seen) <= 1.2 * REQUESTS
    assert gateway.observer.refused_retries > 0


async def test_resending_on_stale_connections_is_paid_from_the_same_budget(upstream: FakeUpstream) -> None:
    """With twenty dead connections, a budget of five lets five requests be sent again."""
    upstream.on("small", answer(pause_seconds=0.2))
    async with live_gateway(
        [], [entry("small", upstream.api_base)], retry_ratio=0.0, retry_burst=5
    ) as gateway:
        await ask_many(gateway, "small", 20, at_once=20)
        assert upstream.connections == 20
        upstream.seen.clear()
        upstream.on("small", hang_up())
        assert await ask_many(gateway, "small", 20, at_once=20) == {502: 20}
    assert len(upstream.seen) == 25


async def test_fallbacks_that_work_are_never_refused(gateway: Live, upstream: FakeUpstream) -> None:
    """Many hundreds of requests need one, and each gets it: a failing model costs no answer."""
    upstream.on("large", *([status(500)] * 4 + [answer()]) * REQUESTS)  # never five in a row
    assert await ask_many(gateway, "large", REQUESTS, at_once=1) == {200: REQUESTS}
    assert gateway.observer.refused_retries == 0
    assert len(gateway.observer.model_fallbacks) == REQUESTS * 4 // 5


@both_protocols
async def test_fallbacks_are_asked_in_order_until_one_answers(gateway: Live, upstream: FakeUpstream) -> None:
    """The last one answers; each failure is counted, and so is the fallback that answered."""
    upstream.on("large", status(500))
    upstream.on("small", status(429))
    reply = await gateway.ask("large")
    assert reply.text == "I am tiny."
    assert (reply.headers["x-llmpo-model"], reply.headers["x-llmpo-fallback"]) == ("tiny", "status_5xx")
    assert [seen.body["model"] for seen in upstream.seen] == ["large", "small", "tiny"]
    assert gateway.observer.model_failures == [("large", "status_5xx"), ("small", "rate_limited")]
    assert gateway.observer.model_fallbacks == [("large", "tiny", "status_5xx")]


@pytest.mark.parametrize("model", ["large", NAME])
async def test_only_admins_learn_who_answered(upstream: FakeUpstream, model: str) -> None:
    """A client's answer is blind: neither the model, nor the policy, nor that there was a fallback.

    The id that feedback quotes, which an experiment's answer has, is sealed.
    """
    base = upstream.api_base
    upstream.on("large", status(500))
    models = [entry("small", base), entry("large", base).model_copy(update={"fallbacks": ["small"]})]
    async with live_gateway(
        [experiment(base)], models, client_keys=["client"], admin_keys=["admin"]
    ) as gateway:
        blind = await gateway.ask(model, headers={"authorization": "Bearer client"})
        told = await gateway.ask(model, headers={"authorization": "Bearer admin"})
    assert (blind.status, told.status) == (200, 200)
    named = [name for name in blind.headers if name.startswith("x-llmpo")]
    assert named == (["x-llmpo-response-id"] if model == NAME else [])
    assert not [word for word in ("large", "small", "alpha", "beta") if word in str(blind.headers)]
    assert told.headers["x-llmpo-model"] == "small"


@both_protocols
async def test_a_request_at_fault_itself_goes_no_further(gateway: Live, upstream: FakeUpstream) -> None:
    """No other model would accept it; the provider's own words come back, and no policy is to blame."""
    upstream.on("large", status(400, "messages: too short"))
    reply = await gateway.ask("large")
    assert (reply.status, reply.error["message"]) == (400, "messages: too short")
    assert len(upstream.seen) == 1
    assert gateway.observer.model_failures == []


async def test_the_callers_error_is_that_of_the_model_asked_for(
    gateway: Live, upstream: FakeUpstream
) -> None:
    """The caller does not get the error of the last fallback."""
    upstream.on("large", status(429, retry_after="7"))
    upstream.on("small", status(500))
    upstream.on("tiny", status(500))
    reply = await gateway.ask("large")
    assert (reply.status, reply.headers["retry-after"]) == (429, "7")


async def eject_beta(gateway: Live, upstream: FakeUpstream) -> None:
    """Let `beta` fail until it is left alone."""
    upstream.on("large", status(500))
    while not gateway.observer.ejected:
        assert (await gateway.ask()).text == "I am small."
    assert upstream.calls_of("large") == 5
    assert gateway.observer.ejected == [BETA]
    upstream.seen.clear()
    gateway.observer.forget()


@both_protocols
async def test_an_ejected_candidate_is_not_asked_and_the_incumbent_serves(
    gateway: Live, upstream: FakeUpstream
) -> None:
    """Each such answer takes no part in the experiment and is counted with its reason."""
    await eject_beta(gateway, upstream)
    for _ in range(20):
        assert (await gateway.ask()).text == "I am small."
    assert upstream.calls_of("large") == 0
    assert gateway.observer.ejected == []
    assert set(gateway.observer.fallbacks) == {(NAME, "ejected")}


async def test_an_ejected_candidate_is_not_logged_with_every_request(
    gateway: Live, upstream: FakeUpstream
) -> None:
    """Each of its failures is logged once, and requests that leave it out are counted."""
    with capture_logs() as lines:
        await eject_beta(gateway, upstream)
        for _ in range(20):
            await gateway.ask()
    assert set(gateway.observer.fallbacks) == {(NAME, "ejected")}
    reasons = [line["reason"] for line in lines if line["event"] == "policy_failed"]
    assert reasons == ["status_5xx"] * 5


@both_protocols
async def test_an_ejected_candidate_that_answers_its_probe_is_back(
    gateway: Live, upstream: FakeUpstream, clock: Clock
) -> None:
    """One request probes the candidate after the back-off."""
    await eject_beta(gateway, upstream)
    upstream.on("large", answer())
    clock.now += 1.0
    while not gateway.observer.readmitted:
        await gateway.ask()
    assert upstream.calls_of("large") == 1
    assert gateway.observer.readmitted == [BETA]


@both_protocols
async def test_only_one_request_at_a_time_probes(gateway: Live, upstream: FakeUpstream, clock: Clock) -> None:
    """While a probe hangs, all others are answered by the incumbent."""
    await eject_beta(gateway, upstream)
    upstream.on("large", stall())
    clock.now += 1.0
    asking = [asyncio.create_task(gateway.ask()) for _ in range(40)]
    await eventually(lambda: sum(task.done() for task in asking) == 39, "all but the probe are answered")
    (probe,) = [task for task in asking if not task.done()]
    assert upstream.calls_of("large") == 1
    assert {task.result().text for task in asking if task is not probe} == {"I am small."}
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)


async def test_an_ejected_model_with_nobody_behind_it_is_asked_all_the_same(
    gateway: Live, upstream: FakeUpstream
) -> None:
    """Ejecting moves requests elsewhere; where there is no elsewhere, the provider's own answer counts."""
    upstream.on("tiny", status(500))
    for _ in range(8):
        assert (await gateway.ask("tiny")).error["code"] == "upstream_status_5xx"
    assert gateway.observer.ejected == [Ejected("tiny", "", "")]
    upstream.on("tiny", answer())
    assert (await gateway.ask("tiny")).status == 200
    assert gateway.observer.readmitted == [EjectionEnded("tiny", "", "")]


async def test_an_ejected_incumbent_with_nobody_behind_it_serves_all_the_same(
    gateway: Live, upstream: FakeUpstream
) -> None:
    """The ejected incumbent is still asked, so its recovery is noticed at once."""
    upstream.on("small", status(500))
    for _ in range(8):
        assert (await gateway.ask("incumbent-only")).status == 502
    upstream.on("small", answer())
    assert (await gateway.ask("incumbent-only")).text == "I am small."
    assert gateway.observer.readmitted == [EjectionEnded("small", "incumbent-only", "alpha")]


@both_protocols
async def test_a_side_of_a_duel_that_is_ejected_leaves_the_other_alone(
    upstream: FakeUpstream, clock: Clock
) -> None:
    """The caller gets one choice without waiting for the ejected policy, and there is no comparison."""
    base = upstream.api_base
    upstream.on("large", status(500))
    async with live_gateway(
        [experiment(base, collect="side_by_side")],
        [entry("small", base), entry("large", base)],
        timer=clock,
        http2=upstream.is_http2,
    ) as gateway:
        for _ in range(10):
            reply = await gateway.compare()
            assert [choice["message"]["content"] for choice in reply.json["choices"]] == ["I am small."]
    assert upstream.calls_of("large") == 5


@both_protocols
async def test_streams_that_break_count_as_failures(gateway: Live, upstream: FakeUpstream) -> None:
    """How an answer ends counts, not that it began."""
    upstream.on("tiny", cut(after=2))
    for _ in range(5):
        await gateway.ask("tiny", stream=True)
    assert gateway.observer.ejected == [Ejected("tiny", "", "")]


@both_protocols
async def test_streams_callers_leave_count_as_nothing(gateway: Live, upstream: FakeUpstream) -> None:
    """An impatient caller does not eject a model, and later failures still count."""
    upstream.on("tiny", stall(after=2))
    body = orjson.dumps({"model": "tiny", **QUESTION, "stream": True})
    for _ in range(8):
        response = await gateway.session.post(f"{gateway.url}/v1/chat/completions", data=body)
        await response.content.readany()
        response.close()
    await eventually(lambda: upstream.in_flight == 0, "the provider free")
    assert gateway.observer.ejected == []
    assert gateway.observer.model_failures == []


@both_protocols
async def test_all_attempts_together_keep_the_total_limit(upstream: FakeUpstream) -> None:
    """The fallback of a hanging model gets only the remaining time."""
    base = upstream.api_base
    models = [entry("small", base), entry("large", base).model_copy(update={"fallbacks": ["small"]})]
    upstream.on("large", stall())
    upstream.on("small", stall())
    limits = Timeouts(connect=30, first_byte=30, stall=30, total=impatient(0.3))
    async with live_gateway(
        [], models, timeouts=limits, request_timeout_seconds=impatient(0.5), http2=upstream.is_http2
    ) as gateway:
        started = asyncio.get_running_loop().time()
        reply = await gateway.ask("large")
        seconds = asyncio.get_running_loop().time() - started
    assert (reply.status, reply.error["code"]) == (504, "upstream_timeout")
    assert upstream.calls_of("small") == 1
    assert impatient(0.5) <= seconds < impatient(0.59)
