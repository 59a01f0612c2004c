"""A gateway of its own process, to be attacked, and its provider."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.gateway.building import config_fields
from tests.gateway.process import Served


class Target:
    """A gateway under attack."""

    def __init__(self, served: Served) -> None:
        assert served.process is not None
        self.served = served
        self.pid = served.process.pid
        self.url = served.address
        self.port = cast("int", urlsplit(self.url).port)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One gateway for all tests of a module."""
    yield from started(tmp_path_factory.mktemp("gateway"))


def started(folder: Path, **settings: str) -> Iterator[Target]:
    """A gateway with these settings, ended afterwards."""
    # It needs no session: these tests talk to it themselves.
    served = Served(folder, config_fields(), cast("aiohttp.ClientSession", None))
    try:
        asyncio.run(served.start(**settings))
        yield Target(served)
    finally:
        served.clean_up()
