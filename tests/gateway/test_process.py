"""Waiting for a gateway of its own process."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.gateway.process import Served


async def test_waiting_for_a_gateway_that_has_ended_fails_at_once_with_its_log(tmp_path: Path) -> None:
    """This holds for every kind of waiting, at the start and later."""
    async with aiohttp.ClientSession() as session:
        served = Served(tmp_path, {"model_list": []}, session)
        with pytest.raises(AssertionError, match=r"has ended with 2:\n(?s:.*)model_list"):
            await served.start()
        with pytest.raises(AssertionError, match=r"has ended with 2:\n(?s:.*)model_list"):
            await served.eventually(lambda: False, "what never happens")
