"""Two gateways with different files, and the shipped rules on what they really show."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import aiohttp
import pytest

from gateway.config.gateway_file import GatewayConfig
from tests.deploy.deployment import start_prometheus, wait_for
from tests.gateway.building import config_fields
from tests.gateway.process import Served
from tests.gateway.whole import quick_settings, whole_gateway
from tests.servers import RedisServer

ALERT = "LlmpoReplicasDisagree"


class Replicas:
    """Gateways on one store, and Prometheus with the rules that are shipped."""

    def __init__(self, parts: AsyncExitStack, folder: Path, redis: RedisServer) -> None:
        self._parts = parts
        self._folder = folder
        self._redis = redis
        self.http = aiohttp.ClientSession()
        parts.push_async_callback(self.http.close)
        self.addresses: list[str] = []
        self.prometheus = ""

    async def start(self, *files: dict[str, Any], in_processes: bool = False) -> None:
        """Start a gateway with each file, one after the other, then Prometheus.

        The gateways are of this process, or have processes of their own as a deployment's have.
        """
        start = self._in_process if in_processes else self._here
        self.addresses = [await start(file) for file in files]
        self.prometheus = await start_prometheus(self._parts, self._folder, tuple(self.addresses))

    async def _in_process(self, file: dict[str, Any]) -> str:
        folder = Path(mkdtemp(dir=self._folder))
        served = Served(folder, file, self.http)
        self._parts.callback(served.clean_up)
        await served.start(LLMPO_REDIS_URL=self._redis.url, LLMPO_METRICS_PUBLIC="true")
        return served.address

    async def _here(self, file: dict[str, Any]) -> str:
        settings = quick_settings(self._redis.url, metrics_public=True)
        gateway = whole_gateway(GatewayConfig.model_validate(file), settings)
        return (await self._parts.enter_async_context(gateway)).url

    async def alerts(self) -> dict[str, str]:
        """The summaries of what is about to fire or does, by the experiment it is about."""
        async with self.http.get(f"{self.prometheus}/api/v1/alerts") as response:
            answer = await response.json()
        found = [one for one in answer["data"]["alerts"] if one["labels"]["alertname"] == ALERT]
        return {one["labels"].get("experiment", ""): one["annotations"]["summary"] for one in found}

    async def is_asked(self) -> bool:
        """Whether Prometheus has seen both and evaluated the rule."""
        async with self.http.get(
            f"{self.prometheus}/api/v1/query?query=count(llmpo_config_info)"
        ) as response:
            seen = (await response.json())["data"]["result"]
        async with self.http.get(f"{self.prometheus}/api/v1/rules") as response:
            groups = (await response.json())["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"] if rule["name"] == ALERT]
        both = bool(seen) and seen[0]["value"][1] == str(len(self.addresses))
        return both and rules[0]["health"] == "ok"

    async def shown(self, *, differ: bool) -> list[tuple[str, bool]]:
        """Each replica's hash, and whether the store runs its file. Each warns if files differ."""
        found = []
        for address in self.addresses:
            async with self.http.get(f"{address}/v1/experiments") as response:
                config_hash = (await response.json())["config_hash"]
            async with self.http.get(f"{address}/v1/experiments/support") as response:
                detail = await response.json()
            assert any("different configurations" in warning for warning in detail["warnings"]) == differ
            found.append((config_hash, detail["matches_store"]))
        return found


@pytest.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[Replicas]:
    """None yet, on an empty store."""
    async with AsyncExitStack() as parts:
        redis = RedisServer(tmp_path / "redis")
        redis.start()
        parts.callback(redis.stop)
        yield Replicas(parts, tmp_path, redis)


async def answers_in_time(check: Any) -> bool:
    """Whether Prometheus, which may still be starting, says so."""
    try:
        return bool(await check())
    except (aiohttp.ClientError, KeyError, IndexError):
        return False


async def test_different_experiments_are_noticed_and_named(replicas: Replicas) -> None:
    """The replica whose file the store does not run answers with its incumbent, and the alert says where."""
    await replicas.start(config_fields(), config_fields(delta=0.01), in_processes=True)

    async def both_noticed() -> bool:
        return (await replicas.alerts()).keys() == {"", "support"}

    await wait_for(lambda: answers_in_time(both_noticed), "the alert about files and experiment")
    alerts, shown = await replicas.alerts(), await replicas.shown(differ=True)
    assert alerts[""] == "Replicas run 2 different configurations"
    assert alerts["support"].startswith("support: ")
    assert [matches for _, matches in shown] == [False, True]
    assert shown[0][0] != shown[1][0]


async def test_a_key_on_one_replica_only_is_noticed(replicas: Replicas) -> None:
    """The alert fires for a key on one replica, although no experiment differs."""
    plain, limited = config_fields(), config_fields(auth={"limits": {"requests_per_minute": 5}})
    await replicas.start(plain, limited)

    async def noticed() -> bool:
        return list(await replicas.alerts()) == [""]

    await wait_for(lambda: answers_in_time(noticed), "the alert about files")
    assert [matches for _, matches in await replicas.shown(differ=True)] == [True, True]


async def test_the_same_configuration_in_other_words_is_no_difference(replicas: Replicas) -> None:
    """The order of lines, secrets and time-outs are each replica's own business."""
    file, other = config_fields(), config_fields()
    other["model_list"].reverse()
    for entry in other["model_list"]:
        entry["litellm_params"] |= {"api_key": "another", "timeout": 7}
    await replicas.start(file, other)

    await wait_for(lambda: answers_in_time(replicas.is_asked), "both to be scraped and the rule evaluated")
    assert await replicas.alerts() == {}
    first, second = await replicas.shown(differ=False)
    assert first == second
