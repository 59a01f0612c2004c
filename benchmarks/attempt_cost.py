"""What failing over costs when nothing fails: microseconds of CPU for an attempt and for a relayed event.

    .venv/bin/python -m benchmarks.attempt_cost

An upstream that answers at once is called directly and through `Attempts`. The check of one event is timed
alone. The best of several runs counts, so other work on the machine matters little. Writes
benchmarks/results/attempt_cost.md.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import platform
import time
import timeit
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import orjson

from benchmarks.pages import save_page
from gateway.instrumentation.hooks import Hooks
from gateway.serving.attempts import Attempts
from gateway.serving.ejection import EjectionBook
from gateway.serving.exchange import Question, Respondent
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.observers import MetricsHook
from gateway.upstream.base import AnswerStream, ModelTarget, UpstreamAnswer, UpstreamRequest
from gateway.upstream.events import EventReader, progress_of
from gateway.upstream.failures import reported_in_body
from gateway.upstream.retry_budget import RetryBudget

RESULTS = Path(__file__).parent / "results" / "attempt_cost.md"
CALLS, RUNS = 20_000, 7
REQUEST = UpstreamRequest(ModelTarget("small", "openai", "openai", "small", "http://127.0.0.1:1/v1"), {})
EVENT = (
    b"data: "
    + orjson.dumps(
        {
            "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
            "object": "chat.completion.chunk",
            "created": 1741569952,
            "model": "gpt-4o-mini-2024-07-18",
            "system_fingerprint": "fp_44709d6fcb",
            "choices": [
                {"index": 0, "delta": {"content": " token"}, "logprobs": None, "finish_reason": None}
            ],
        }
    )
    + b"\n\n"
)


class AtOnce:
    """An upstream that takes no time."""

    async def complete(self, _request: UpstreamRequest) -> UpstreamAnswer:
        """Return an answer at once."""
        return UpstreamAnswer(b"{}")

    async def stream(self, _request: UpstreamRequest) -> AnswerStream:
        """Streams are not measured."""
        raise AssertionError("no stream is asked for here")

    async def aclose(self) -> None:
        """Nothing to close."""


async def microseconds(ask: Callable[[], Awaitable[object]]) -> float:
    """CPU of one call, at best."""
    best = float("inf")
    for _ in range(RUNS):
        started = time.process_time()
        for _ in range(CALLS):
            await ask()
        best = min(best, time.process_time() - started)
    return 1e6 * best / CALLS


async def attempt_cost() -> tuple[float, float]:
    """Microseconds of a direct call and of a call through `Attempts`."""
    upstream = AtOnce()
    hooks = Hooks(MetricsHook(Metrics()))
    attempts = Attempts(upstream, EjectionBook(hooks), RetryBudget(), hooks, total_seconds=1e9)
    respondents, question = [Respondent(REQUEST.target)], Question({}, is_streamed=False)
    return (
        await microseconds(lambda: upstream.complete(REQUEST)),
        await microseconds(lambda: attempts.first_of(respondents, {}, attempts.begin("req_1", question))),
    )


def main() -> None:
    """Measure and write down."""
    direct, through = asyncio.run(attempt_cost())
    reader = EventReader(progress_of("chat"), partial(reported_in_body, asked=REQUEST))
    check = 1e6 * min(timeit.repeat(lambda: reader.take(EVENT), number=CALLS, repeat=RUNS)) / CALLS
    text = f"""# What failing over costs when nothing fails

{dt.datetime.now(dt.UTC).date()}, `python -m benchmarks.attempt_cost`, Python {platform.python_version()},
{os.cpu_count()} cores (load {os.getloadavg()[0]:.1f}, other work included), best of {RUNS} runs.

| what | us |
|---|---|
| an attempt: ejection, budget, deadline and their accounts | {through - direct:.2f} |
| checking one event of {len(EVENT)} bytes | {check:.2f} |
"""
    save_page(RESULTS, text)
    print(text)


if __name__ == "__main__":
    main()
