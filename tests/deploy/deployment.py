"""A real deployment on loopback: two gateways on one Redis, simulated provider and users, Prometheus."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from gateway.config.api_keys import hash_key
from gateway.demo.processes import Child, child, clean_environment
from gateway.demo.provider import provider_app
from gateway.demo.scene import PRICES, SUPPORT
from gateway.demo.users import Crowd, CrowdTally, run_crowd, wait_until_ready
from tests.deploy.tools import DEPLOY
from tests.pace import PATIENCE_SECONDS
from tests.servers import RedisServer, free_port

EXPERIMENT = "support"
TALK = "talk"  # an experiment that finds signals in conversations
MODEL = SUPPORT.policies[-1].model
CLIENT_KEY, ADMIN_KEY = "llmpo-demo-client", "llmpo-demo-admin"
FAILS_EVERY = 15  # requests to the provider
# Long enough to stall the store during the experiment and for the curves to have a few points.
VISITS_PER_SECOND, RUN_SECONDS = 20, 6


@dataclass(frozen=True)
class Deployment:
    """Where everything listens."""

    redis: RedisServer
    gateways: tuple[str, ...]
    prometheus: str
    http: aiohttp.ClientSession

    async def ask(self, session: str) -> aiohttp.ClientResponse:
        """One question by a user with a session who compares two answers, at the first gateway."""
        question = [{"role": "user", "content": "How do I froth milk?"}]
        body = {"model": EXPERIMENT, "messages": question, "n": 2}
        return await self._post("/v1/chat/completions", body, {"x-session-id": session})

    async def ask_model(self, name: str) -> aiohttp.ClientResponse:
        """One question to a model by its own name, its answer streamed, at the first gateway."""
        question = [{"role": "user", "content": "How do I froth milk?"}]
        usage = {"include_usage": True}
        body = {"model": name, "messages": question, "stream": True, "stream_options": usage}
        return await self._post("/v1/chat/completions", body, {})

    async def talk(self) -> None:
        """A user rates an answer, and goes on from it; both at the first gateway."""
        messages = [{"role": "user", "content": "How do I froth milk?"}]
        answer = await self._post("/v1/chat/completions", {"model": TALK, "messages": messages}, {})
        if not answer.ok:
            return  # the provider fails now and then
        said = await answer.json()
        await self._post("/v1/feedback", {"id": said["id"], "signal": "thumb", "value": True}, {})
        messages += [said["choices"][0]["message"], {"role": "user", "content": "And how do I clean it?"}]
        await self._post("/v1/chat/completions", {"model": TALK, "messages": messages}, {})

    async def archive(self, folder: Path) -> None:
        """Run `llmpo archive` once."""
        command = (sys.executable, "-m", "gateway.cli", "archive", str(folder), "--redis-url", self.redis.url)
        process = await asyncio.create_subprocess_exec(*command, env=clean_environment(folder.parent))
        assert await process.wait() == 0

    async def report(self, response_id: str) -> aiohttp.ClientResponse:
        """One user's preference, at the first gateway."""
        return await self._post("/v1/feedback", {"id": response_id, "preferred": 0}, {})

    async def experiment(self) -> dict[str, Any]:
        """What the first gateway says of the experiment."""
        answer = await self.http.get(
            f"{self.gateways[0]}/v1/experiments/{EXPERIMENT}", headers=_bearer(ADMIN_KEY)
        )
        answer.raise_for_status()
        return await answer.json()  # type: ignore[no-any-return]

    async def metrics(self) -> str:
        """What Prometheus gets from the first gateway."""
        answer = await self.http.get(f"{self.gateways[0]}/metrics", headers=_bearer(ADMIN_KEY))
        answer.raise_for_status()
        return await answer.text()

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The series an expression has now."""
        answer = await self._prometheus("query", {"query": expression})
        return answer["result"]  # type: ignore[no-any-return]

    async def query_range(self, expression: str, start: float, end: float) -> list[dict[str, Any]]:
        """The series an expression had, a point a second."""
        parameters = {"query": expression, "start": str(start), "end": str(end), "step": "1"}
        answer = await self._prometheus("query_range", parameters)
        return answer["result"]  # type: ignore[no-any-return]

    async def rules(self) -> list[dict[str, Any]]:
        """Every rule Prometheus evaluates, with what became of it."""
        answer = await self._prometheus("rules", {})
        return [rule for group in answer["groups"] for rule in group["rules"]]

    async def _post(
        self, path: str, body: dict[str, Any], headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        url = f"{self.gateways[0]}{path}"
        async with self.http.post(url, json=body, headers={**_bearer(CLIENT_KEY), **headers}) as response:
            await response.read()
            return response

    async def _prometheus(self, what: str, parameters: dict[str, str]) -> dict[str, Any]:
        async with self.http.get(f"{self.prometheus}/api/v1/{what}", params=parameters) as response:
            answer = await response.json()
        assert answer["status"] == "success", answer
        return answer["data"]  # type: ignore[no-any-return]


async def wait_for(
    condition: Callable[[], Awaitable[bool]], what: str, *, seconds: float = PATIENCE_SECONDS
) -> None:
    """Return as soon as the condition holds."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"still waiting after {seconds} s: {what}") from None


@asynccontextmanager
async def deployment(folder: Path) -> AsyncIterator[Deployment]:
    """Everything running, and two crowds asking, for the length of a `with` block."""
    async with AsyncExitStack() as parts:
        redis = RedisServer(folder / "redis")
        redis.start()
        parts.callback(redis.stop)
        provider = await _provider(parts)
        starting = (_gateway(parts, folder, provider, redis.url) for _ in range(2))
        gateways = tuple(await asyncio.gather(*starting))
        prometheus = await start_prometheus(parts, folder, gateways)
        http = await parts.enter_async_context(aiohttp.ClientSession())
        for gateway in gateways:
            await wait_until_ready(gateway, timeout_seconds=PATIENCE_SECONDS)
            crowd = Crowd(gateway, EXPERIMENT, VISITS_PER_SECOND / 2, api_key=CLIENT_KEY)
            parts.push_async_callback(_end, asyncio.create_task(run_crowd(crowd, CrowdTally())))
        yield Deployment(redis, gateways, prometheus, http)


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _provider(parts: AsyncExitStack) -> str:
    """The simulated provider, failing now and then."""
    app = provider_app(seed=7)
    requests = itertools.count(1)

    @web.middleware
    async def fail_now_and_then(request: web.Request, handler: Any) -> web.StreamResponse:
        if next(requests) % FAILS_EVERY == 0:
            return web.json_response({"error": {"message": "try again"}}, status=500)
        return await handler(request)  # type: ignore[no-any-return]

    app.middlewares.append(fail_now_and_then)
    runner = web.AppRunner(app)
    await runner.setup()
    parts.push_async_callback(runner.cleanup)
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return f"http://127.0.0.1:{port}"


async def _gateway(parts: AsyncExitStack, folder: Path, provider: str, redis_url: str) -> str:
    port = free_port()
    file = folder / f"gateway-{port}.yaml"
    file.write_text(yaml.safe_dump(_configuration(provider)))
    environment = clean_environment(folder / "unused") | {
        "LLMPO_REDIS_URL": redis_url,
        "LLMPO_STORE_TIMEOUT_SECONDS": "0.3",
        "LLMPO_CLIENT_KEYS": hash_key(CLIENT_KEY),
        "LLMPO_ADMIN_KEYS": hash_key(ADMIN_KEY),
    }
    arguments = ["serve", "--config", str(file), "--port", str(port)]
    process = await parts.enter_async_context(
        child(f"gateway-{port}", arguments, directory=folder, environment=environment)
    )
    await _started(process, port)
    return f"http://127.0.0.1:{port}"


async def _started(process: Child, port: int) -> None:
    async def listens() -> bool:
        assert process.process.returncode is None, process.last_words()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    await wait_for(listens, f"port {port}")


def _configuration(provider: str) -> dict[str, Any]:
    best, baseline = SUPPORT.policies[-1], SUPPORT.policies[0]
    policies = {policy.name: {"model": policy.model, "system": policy.system} for policy in (baseline, best)}
    parameters = {"model": f"openai/{best.model}", "api_base": f"{provider}/v1", "api_key": "simulated"}
    parameters |= PRICES[best.model]
    judge = {"model_name": "judge", "litellm_params": parameters | {"model": "openai/judge"}}
    return {
        "model_list": [{"model_name": best.model, "litellm_params": parameters}, judge],
        "experiments": {
            EXPERIMENT: {
                "incumbent": baseline.name,
                "policies": policies,
                "traffic": {"share": 1.0, "collect": "side_by_side", "unit": "session"},
                "guardrails": {"output_tokens": {"worse_by": 1000, "up_to": 2000, "then": "ask"}},
                "judge": {"model": "judge", "spend_per_day": 1, "share": 1e-9},  # has nothing to judge
                "promotion": {
                    "min_comparisons": VISITS_PER_SECOND * RUN_SECONDS,
                    "min_duration": "0s",
                    "min_voters": 0,
                    "watch": "1h",
                },
            },
            TALK: {
                "incumbent": baseline.name,
                "policies": policies,
                "traffic": {"share": 1.0},
                "feedback": {
                    "hold": "5s",
                    "signals": {"thumb": 1, "continued": {"weight": 0.25, "found": True}},
                },
                "promotion": {"min_comparisons": 100_000},
            },
        },
    }


async def start_prometheus(parts: AsyncExitStack, folder: Path, gateways: tuple[str, ...]) -> str:
    """Prometheus with the configuration that is shipped, asking these gateways once a second."""
    configuration = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(DEPLOY / "prometheus" / path) for path in configuration["rule_files"]]
    job = configuration["scrape_configs"][0]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [gateway.removeprefix("http://") for gateway in gateways]}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    address = f"127.0.0.1:{free_port()}"
    options = {"config.file": file, "storage.tsdb.path": folder / "tsdb", "web.listen-address": address}
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *("prometheus", *(f"--{name}={value}" for name, value in options.items())), stdout=log, stderr=log
        )
    parts.push_async_callback(process.wait)
    parts.callback(process.terminate)
    return f"http://{address}"
