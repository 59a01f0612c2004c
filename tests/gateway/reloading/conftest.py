"""A gateway whose configuration is in a file that the test writes again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.config.api_keys import hash_key
from gateway.reloading.source import ConfigSource, ReadFrom
from gateway.settings import read_settings
from tests.gateway.building import config_fields
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Reply, Whole, quick_settings, whole_gateway

KEYS = {"ops": {"hash": hash_key("ops"), "role": "admin"}, "app": {"hash": hash_key("app")}}


class Filed:
    """A gateway on its file; its caller has an admin key."""

    def __init__(self, gateway: Whole, file: Path) -> None:
        self.gateway = gateway
        self.file = file

    def write(self, fields: dict[str, Any]) -> None:
        """Put another configuration into the file."""
        self.file.write_text(json.dumps(fields))

    async def reload(self) -> Reply:
        """Ask for it to be read."""
        return await self.gateway.call("POST", "/v1/config/reload")

    async def take_up(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Put another configuration in force; what the gateway says it changed."""
        self.write(fields)
        reply = await self.reload()
        assert reply.status == 200, reply.body
        said: dict[str, Any] = reply.json
        return said


Opener = Callable[..., AbstractAsyncContextManager[Filed]]


@pytest.fixture
def configured(upstream: FakeUpstream) -> Callable[..., dict[str, Any]]:
    """Makes the file: `support` compares `plain` and `warm`, the key `ops` is an admin's, `app` is not."""

    def make(**changes: Any) -> dict[str, Any]:
        return config_fields(api_base=upstream.api_base, **{"auth": {"keys": KEYS}, **changes})

    return make


@pytest.fixture
def opened(tmp_path: Path, embedded_url: str) -> Opener:
    """Opens gateways on files of their own and one store."""

    @asynccontextmanager
    async def open_one(
        fields: dict[str, Any], name: str = "gateway", **settings: Any
    ) -> AsyncIterator[Filed]:
        file = tmp_path / f"{name}.yaml"
        file.write_text(json.dumps(fields))
        source = ConfigSource(file, lambda _config, _settings: None)
        loaded = source.read()
        run = quick_settings(embedded_url, client_keys=loaded.settings.client_keys, **settings)
        origin = ReadFrom(source, read_settings())
        async with whole_gateway(loaded.config, run, key="ops", origin=origin) as gateway:
            yield Filed(gateway, file)

    return open_one


@pytest.fixture
async def filed(opened: Opener, configured: Callable[..., dict[str, Any]]) -> AsyncIterator[Filed]:
    """A gateway with the first file."""
    async with opened(configured()) as filed:
        await filed.gateway.planned()
        yield filed
