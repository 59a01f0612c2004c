"""Several workers, one set of numbers: also when one of them dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from tests.gateway.fake_upstream import FakeUpstream, status
from tests.gateway.process import Served
from tests.gateway.whole import Whole
from tests.servers import free_port

WARM = {"model": "warm", "policy": ""}


async def test_totals_outlive_a_dead_worker_and_its_ejections_do_not(
    serve: Callable[..., Served], upstream: FakeUpstream
) -> None:
    """What a worker counted still counts; that it left a model alone ends with it.

    A worker that crashes costs its own requests only: another takes its place.
    """
    upstream.on("warm", status(500))
    served = serve()
    gateway = await served.start("--workers", "2", port=free_port())
    await served.eventually(lambda: served.has_told("worker_ready", 2), "both workers ready")
    await gateway.eventually(lambda: _ejected_by(gateway, 2), "both workers leave the model alone")
    failures = await gateway.metric("llmpo_model_failures_total", model="warm")
    victim = next(line["pid"] for line in served.events if line["event"] == "worker_ready")

    os.kill(victim, signal.SIGKILL)

    await served.eventually(lambda: served.has_told("worker_ready", 3), "another worker in its place")
    assert await gateway.metric("llmpo_ejected", **WARM) == 1
    assert await gateway.metric("llmpo_ejections_total", **WARM) == 2
    assert await gateway.metric("llmpo_model_failures_total", model="warm") == failures == len(upstream.seen)
    assert (await gateway.ask("plain")).status == 200


async def _ejected_by(gateway: Whole, workers: int) -> bool:
    question = {"model": "warm", "messages": [{"role": "user", "content": "Hello?"}]}
    # A connection each: the kernel spreads connections, not requests.
    async with gateway.session.post(
        f"{gateway.url}/v1/chat/completions", json=question, headers={"connection": "close"}
    ) as answer:
        assert answer.status == 502
    return await gateway.metric("llmpo_ejected", **WARM) == workers
