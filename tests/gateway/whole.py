"""The tests' one gateway: the real app on a real port, and `Whole`, what a caller can do with it.

There are three ways to it, and all give a `Whole`, so that a test reads the same whichever it takes:

- `whole_gateway`, here: in the test's process, from a configuration, with a store;
- `live.live_gateway`: the same gateway whose experiments stand as a test says, without a store;
- `process.Served`: `llmpo serve` as a process of its own, for what only a process shows: signals, crashes,
  logs.

`building` makes configurations for them, `recorder` hears what a gateway in the test's process tells, and
`fake_upstream` is the provider behind all of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from inspect import isawaitable
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import aiohttp
import uvicorn
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from gateway.api.application import GatewayApp
from gateway.app import create_app
from gateway.config.gateway_file import GatewayConfig
from gateway.learning.plan_worker import PlanJob, PlanResult, compute_plan
from gateway.settings import PREFIX, Settings
from tests.gateway.building import NAME
from tests.gateway.recorder import Recorder
from tests.pace import PATIENCE_SECONDS, impatient, pauses

JSON: Final = {"content-type": "application/json"}
CHAT: Final = "/v1/chat/completions"
QUESTION: Final[dict[str, Any]] = {"messages": [{"role": "user", "content": "Hello?"}]}
Condition = Callable[[], Awaitable[object] | object]


@dataclass(frozen=True)
class Reply:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error it reports."""
        error: dict[str, Any] = self.json["error"]
        return error

    @property
    def code(self) -> str | None:
        """The machine-readable reason of that error, having checked that it has OpenAI's shape."""
        error = self.error
        assert set(error) == {"message", "type", "param", "code"}
        assert isinstance(error["message"], str)
        assert error["message"]
        code: str | None = error["code"]
        return code

    @property
    def text(self) -> str:
        """What the first choice says."""
        said: str = self.json["choices"][0]["message"]["content"]
        return said

    @property
    def data(self) -> list[bytes]:
        """What the events of a stream carry."""
        lines = self.body.splitlines()
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON events of a stream."""
        return [json.loads(data) for data in self.data if data != b"[DONE]"]

    @property
    def is_done(self) -> bool:
        """Whether a stream ended with `[DONE]`."""
        return self.data[-1:] == [b"[DONE]"]

    def said(self, index: int = 0) -> str:
        """The streamed text of one choice."""
        return "".join(
            choice["delta"].get("content") or ""
            for event in self.events
            for choice in event.get("choices", [])
            if choice["index"] == index
        )


def _nothing_to_check() -> None:
    """A gateway of this process lives as long as its test."""


@dataclass
class Whole:
    """A running gateway and its caller.

    Attributes:
        url: Where it listens.
        session: Of the caller.
        key: What the caller shows.
        app: Known where the gateway runs in this process.
        observer: Hears every event, where the gateway runs in this process.
        check: Raises what a test should end with where the gateway runs no longer.
    """

    url: str
    session: aiohttp.ClientSession
    key: str | None = None
    app: GatewayApp | None = None
    observer: Recorder = field(default_factory=Recorder)
    check: Callable[[], None] = _nothing_to_check

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request, its answer read to the end."""
        data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        shown = {"authorization": f"Bearer {self.key}"} if self.key else {}
        async with self.session.request(
            method, self.url + path, data=data, headers={**shown, **(headers or {})}
        ) as answer:
            names = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status, names, await answer.read())

    async def get(self, path: str) -> Reply:
        """A GET."""
        return await self.call("GET", path)

    async def ask(
        self, model: str = NAME, *, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> Reply:
        """A chat completion, read to its end."""
        return await self.call("POST", CHAT, {"model": model, **QUESTION, **fields}, headers=headers)

    async def post(self, body: bytes) -> Reply:
        """These bytes as a request for a chat completion."""
        return await self.call("POST", CHAT, raw=body)

    async def compare(self, **fields: Any) -> Reply:
        """One chat completion of a caller who takes two choices."""
        return await self.ask(n=2, **fields)

    async def feed(self, **fields: Any) -> Reply:
        """Feedback."""
        return await self.call("POST", "/v1/feedback", fields)

    async def thumb(self, good: bool) -> Reply:
        """Ask, and say whether the answer was good."""
        return await self.feed(id=(await self.ask()).json["id"], signal="thumb", value=good)

    async def experiment(self, name: str = NAME) -> dict[str, Any]:
        """Everything the API says about an experiment."""
        reply = await self.get(f"/v1/experiments/{name}")
        assert reply.status == 200, reply.body
        found: dict[str, Any] = reply.json
        return found

    async def metric(self, name: str, **labels: str) -> float:
        """The value of a series; 0 where there is none."""
        text = (await self.get("/metrics")).body.decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def eventually(self, is_true: Condition, what: str) -> None:
        """Return as soon as the condition holds; fail at once where the gateway has ended meanwhile."""
        await eventually(is_true, what, check=self.check)

    async def planned(self, name: str = NAME) -> None:
        """Return once what is counted is evidence, too."""
        await self.eventually(lambda: self._is_planned(name), "a plan in force")

    async def _is_planned(self, name: str) -> bool:
        return (await self.get(f"/v1/experiments/{name}")).json.get("plan") is not None


async def eventually(
    is_true: Condition,
    what: str,
    *,
    seconds: float = PATIENCE_SECONDS,
    check: Callable[[], None] = _nothing_to_check,
) -> None:
    """Return as soon as the condition holds; fail saying what never happened, or what `check` raises."""
    pausing = pauses()
    try:
        async with asyncio.timeout(seconds):
            while not await _holds(is_true):
                check()
                await asyncio.sleep(next(pausing))
    except TimeoutError:
        raise AssertionError(f"still waiting after {seconds} s: {what}") from None


async def _holds(is_true: Condition) -> bool:
    found = is_true()
    return bool(await found if isawaitable(found) else found)


def quick_settings(store_url: str | None = None, **changes: Any) -> Settings:
    """Settings that do not let a test wait."""
    fields = {
        "redis_url": store_url,
        "refresh_seconds": 0.02,
        "plan_interval_seconds": 0.02,
        "store_timeout_seconds": impatient(1.0),
        "data_dir": Path("/nonexistent"),
        "kept_keys_seconds": 0,
        **changes,
    }
    environment = frozenset((name, value) for name, value in os.environ.items() if name.startswith(PREFIX))
    return _settings(tuple(fields.items()), environment)


@cache
def _settings(fields: tuple[tuple[str, Any], ...], _environment: frozenset[tuple[str, str]]) -> Settings:
    """Settings of these fields, frozen and therefore shared: reading them takes milliseconds."""
    return Settings(**dict(fields))


class PlansHere:
    """A `PlanPool` without its process, whose start takes longer than most tests."""

    async def compute(self, job: PlanJob) -> PlanResult:
        """The plan for `job`."""
        return compute_plan(job)

    def close(self) -> None:
        """Nothing to let go of."""


@asynccontextmanager
async def whole_gateway(
    config: GatewayConfig,
    settings: Settings,
    *,
    key: str | None = None,
    seed: int = 7,
    own_process: bool = False,
    pool: Callable[[], Any] = PlansHere,
    **more: Any,
) -> AsyncIterator[Whole]:
    """A gateway on a free port; closed again at the end. Its plans come from `pool`, or its own process."""
    observer = Recorder()
    app = create_app(config, settings, rng=random.Random(seed), hooks=[observer], **more)
    planning: AbstractContextManager[Any] = (
        nullcontext() if own_process else patch("gateway.app.PlanPool", pool)
    )
    with planning:
        async with (
            _served(app, settings.keep_alive_seconds) as url,
            aiohttp.ClientSession(headers=JSON) as session,
        ):
            yield Whole(url, session, key, app, observer)


@asynccontextmanager
async def _served(app: FastAPI, keep_alive_seconds: int) -> AsyncIterator[str]:
    config = uvicorn.Config(
        app,
        port=0,
        lifespan="off",
        log_config=None,
        access_log=False,
        ws="none",
        timeout_keep_alive=keep_alive_seconds,
    )
    async with app.router.lifespan_context(app), listening(config) as port:
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def listening(config: uvicorn.Config) -> AsyncIterator[int]:
    """A server without a lifespan; its port.

    The steps of uvicorn's `serve` without its main loop and its shutdown, which wait a tenth of a second
    each.
    """
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    await server.on_tick(0)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        for socket in server.servers:
            socket.close()
        for connection in list(server.server_state.connections):
            connection.shutdown()
        unfinished = list(server.server_state.tasks)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
