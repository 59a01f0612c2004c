"""The whole gateway in process: the real app on a real port, on a real store."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiohttp
import uvicorn
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from gateway.app import GatewayApp, create_app
from gateway.config.gateway_file import GatewayConfig
from gateway.learning.plan_worker import PlanJob, PlanResult, compute_plan
from gateway.settings import Settings
from tests.gateway.building import NAME
from tests.pace import PATIENCE_SECONDS

JSON = {"content-type": "application/json"}


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
    def code(self) -> str | None:
        """The machine-readable reason of an error, having checked that it has OpenAI's shape."""
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert isinstance(error["message"], str)
        assert error["message"]
        code: str | None = error["code"]
        return code


@dataclass
class Whole:
    """A running gateway and its caller; `app` is known where it runs in this process."""

    url: str
    session: aiohttp.ClientSession
    key: str | None = None
    app: GatewayApp | None = None

    async def call(self, method: str, path: str, body: Any = None, *, raw: bytes | None = None) -> Reply:
        """One request, its answer read to the end."""
        data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        async with self.session.request(method, self.url + path, data=data, headers=headers) as answer:
            names = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status, names, await answer.read())

    async def get(self, path: str) -> Reply:
        """A GET."""
        return await self.call("GET", path)

    async def ask(self, model: str = NAME, **fields: Any) -> Reply:
        """A chat completion."""
        question = [{"role": "user", "content": "Hello?"}]
        return await self.call(
            "POST", "/v1/chat/completions", {"model": model, "messages": question, **fields}
        )

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

    async def planned(self, name: str = NAME) -> None:
        """Return once what is counted is evidence, too."""
        await eventually(lambda: self._is_planned(name), "a plan in force")

    async def _is_planned(self, name: str) -> bool:
        return (await self.get(f"/v1/experiments/{name}")).json.get("plan") is not None


async def eventually(
    is_true: Callable[[], Awaitable[bool]], what: str, *, seconds: float = PATIENCE_SECONDS
) -> None:
    """Return as soon as the condition holds; fail saying what never happened."""
    try:
        async with asyncio.timeout(seconds):
            while not await is_true():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"still waiting after {seconds} s: {what}") from None


def quick_settings(store_url: str | None = None, **changes: Any) -> Settings:
    """Settings that do not let a test wait."""
    return Settings(
        **{
            "redis_url": store_url,
            "refresh_seconds": 0.02,
            "plan_interval_seconds": 0.02,
            "store_timeout_seconds": 1.0,
            "data_dir": Path("/nonexistent"),
            **changes,
        }
    )


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
    app = create_app(config, settings, rng=random.Random(seed), **more)
    planning: AbstractContextManager[Any] = (
        nullcontext() if own_process else patch("gateway.app.PlanPool", pool)
    )
    with planning:
        async with _served(app) as url, aiohttp.ClientSession(headers=JSON) as session:
            yield Whole(url, session, key, app)


@asynccontextmanager
async def _served(app: FastAPI) -> AsyncIterator[str]:
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, lifespan="off", log_config=None, access_log=False, ws="none")
    )
    async with app.router.lifespan_context(app):
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.001)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
            server.force_exit = True
            with suppress(asyncio.CancelledError):
                await serving
