"""Sums to solve, providers that solve a known share of them, and a run's file for both."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.offline.assembly import Assembly, assemble
from gateway.offline.checkpoint import RunFiles
from gateway.offline.config import load_optimize
from gateway.offline.course import Course
from gateway.offline.outcome import Outcome
from gateway.offline.run import RunWatcher
from gateway.offline.session import Session
from gateway.upstream.base import Timeouts
from gateway.upstream.relay import Relay
from tests.gateway.fake_upstream import Behaviour, Exchange, FakeUpstream, body

Change = Callable[[dict[str, Any]], None]


def question_in(exchange: Exchange) -> str:
    """The last user message."""
    return str(exchange.seen.body["messages"][-1]["content"])


def solver(percent: int, pause_seconds: float = 0.0) -> Behaviour:
    """Adds rightly on a fixed `percent` of the questions, the same ones each time for a prompt."""

    async def behave(exchange: Exchange) -> None:
        question = question_in(exchange)
        asked = json.dumps([exchange.model, exchange.seen.body["messages"]])
        digest = hashlib.sha256(asked.encode()).digest()
        knows = int.from_bytes(digest[:4]) % 100 < percent
        await asyncio.sleep(pause_seconds)
        await exchange.whole(body(exchange, str(sum(map(int, question.split()))) if knows else "Many."))

    return behave


def guesser(percent: int) -> Behaviour:
    """Adds rightly on `percent` of the requests, in a cycle: not the same answer to a question each time."""
    numbers = itertools.count()

    async def behave(exchange: Exchange) -> None:
        total = sum(map(int, question_in(exchange).split()))
        knows = next(numbers) * 37 % 100 < percent
        await exchange.whole(body(exchange, str(total) if knows else "Many."))

    return behave


def write_tasks(path: Path, count: int = 60) -> Path:
    """Sums of two numbers, all different."""
    rows = ({"input": f"{number} {number * 7}", "target": number * 8} for number in range(1, count + 1))
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def write_config(folder: Path, api_base: str, **changes: Any) -> Path:
    """A run's file in `folder`: three deterministic policies on models `weak`, `fair` and `good`."""
    write_tasks(folder / "tasks.jsonl")
    names = ("weak", "fair", "good", "judge")
    fields: dict[str, Any] = {
        "model_list": [
            {
                "model_name": name,
                "litellm_params": {"model": f"openai/{name}", "api_base": api_base, "api_key": "none"},
            }
            for name in names
        ],
        "policies": {
            name: {"model": name, "params": {"temperature": 0}} for name in ("weak", "fair", "good")
        },
        "tasks": "tasks.jsonl",
        "judge": "exact_match",
        "concurrency": 4,
        **changes,
    }
    file = folder / "sums.yaml"
    file.write_text(json.dumps({key: value for key, value in fields.items() if value is not None}))
    return file


def assembled(file: Path, environ: Mapping[str, str] | None = None) -> Assembly:
    """What `llmpo optimize --config FILE` runs."""
    return assemble(load_optimize(file, environ or {}), file.parent)


class Silent:
    """A watcher that notes how far the run was each time."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.seen: list[int] = []
        self._stop_after = stop_after

    def planned(self, course: Course) -> None:
        """Nothing is noted of plans."""

    def counted(self, course: Course) -> None:
        """Stop the run as Ctrl-C would, once it is that far."""
        self.seen.append(course.counted)
        if course.counted == self._stop_after:
            raise KeyboardInterrupt


async def optimized(
    file: Path, out: Path, *, resumes: bool = False, watcher: RunWatcher | None = None
) -> tuple[Outcome, Session]:
    """The whole run, over real HTTP."""
    relay = Relay(Timeouts(connect=5, total=10))
    try:
        session = Session(assembled(file), RunFiles(out), relay, clock=lambda: 1_000.0)
        return await session.finish(watcher or Silent(), resumes=resumes), session
    finally:
        await relay.aclose()


def rows(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The lines of a journal, of one type or all."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in found if kind is None or row.get("type") == kind]


@contextmanager
def provider_in_thread(**behaviours: Behaviour) -> Iterator[FakeUpstream]:
    """The provider in a thread of its own, for runs that bring their own event loop or process."""
    upstream, loop = FakeUpstream(), asyncio.new_event_loop()
    for model, behaviour in behaviours.items():
        upstream.on(model, behaviour)
    loop.run_until_complete(upstream.__aenter__())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield upstream
    finally:
        asyncio.run_coroutine_threadsafe(upstream.__aexit__(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
