"""Simulated users know the gateway's public interface only, and do not lose feedback to a short outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.demo import users
from gateway.demo.users import Crowd, CrowdTally, run_crowd, wait_until_ready
from tests.pace import PATIENCE_SECONDS

GOOD = "1. Add 100 ml of water.\nDid that do it?"
BAD = "It depends, please consult the manual."


class FakeGateway:
    """Answers with set texts and remembers what was reported."""

    def __init__(self) -> None:
        self.texts = [GOOD, BAD]
        self.outages_left = 0
        self.feedback_status = 200
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.reports: list[dict[str, Any]] = []
        self.app = web.Application()
        self.app.router.add_get("/readyz", self._ready)
        self.app.router.add_post("/v1/chat/completions", self._complete)
        self.app.router.add_post("/v1/feedback", self._feedback)

    async def _ready(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _complete(self, request: web.Request) -> web.Response:
        self.keys.add(request.headers.get("Authorization"))
        self.asked.append(await request.json())
        choices = [
            {"index": index, "message": {"role": "assistant", "content": text}}
            for index, text in enumerate(self.texts)
        ]
        return web.json_response({"id": f"chatcmpl-{len(self.asked)}", "choices": choices})

    async def _feedback(self, request: web.Request) -> web.Response:
        if self.outages_left:
            self.outages_left -= 1
            return web.json_response({"error": {"message": "later"}}, status=503)
        self.reports.append(await request.json())
        return web.json_response({"status": "counted"}, status=self.feedback_status)


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[FakeGateway, str]]:
    """A gateway, its address, and users who neither read nor wait for long."""
    monkeypatch.setattr(users, "READING_SECONDS", 0.001)
    monkeypatch.setattr(users, "FEEDBACK_PAUSES_SECONDS", (0.001,) * 5)
    fake = FakeGateway()
    async with TestServer(fake.app) as server:
        yield fake, str(server.make_url("")).rstrip("/")


async def _visit_until(crowd: Crowd, is_enough: Callable[[CrowdTally], bool]) -> CrowdTally:
    tally = CrowdTally()
    visiting = asyncio.create_task(run_crowd(crowd, tally))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_enough(tally):
            await asyncio.sleep(0.005)
    visiting.cancel()
    await asyncio.wait([visiting])
    return tally


async def test_users_prefer_the_better_text_wherever_it_stands(gateway: tuple[FakeGateway, str]) -> None:
    """Users ask for two answers and read both, and the clearly better one wins most of the time."""
    fake, url = gateway
    await _visit_until(Crowd(url, "support", 500.0), lambda tally: tally.feedback.get("counted", 0) >= 60)
    preferred = [report["preferred"] for report in fake.reports]
    assert preferred.count(0) > 3 * preferred.count(1)
    assert (fake.asked[0]["model"], fake.asked[0]["n"]) == ("support", 2)


async def test_feedback_survives_an_outage(gateway: tuple[FakeGateway, str]) -> None:
    """A 503 on feedback is tried again later, and the report arrives once."""
    fake, url = gateway
    fake.outages_left = 3
    tally = await _visit_until(Crowd(url, "support", 50.0), lambda tally: "counted" in tally.feedback)
    assert tally.feedback_retries == 3
    assert len({report["id"] for report in fake.reports}) == len(fake.reports)


async def test_a_refused_report_is_not_repeated(gateway: tuple[FakeGateway, str]) -> None:
    """A 422 (the report contradicts an earlier one) is taken as an answer."""
    fake, url = gateway
    fake.feedback_status = 422
    tally = await _visit_until(Crowd(url, "support", 50.0), lambda tally: "http_422" in tally.feedback)
    assert tally.feedback_retries == 0


async def test_single_answers_are_rated_only_where_asked(gateway: tuple[FakeGateway, str]) -> None:
    """A lone answer gets a thumb with `gives_thumbs` and silence without."""
    fake, url = gateway
    fake.texts = [GOOD]
    await _visit_until(Crowd(url, "support", 500.0), lambda tally: tally.alone >= 5)
    assert fake.reports == []
    await _visit_until(Crowd(url, "support", 500.0, gives_thumbs=True), lambda tally: bool(tally.feedback))
    assert fake.reports[0].keys() == {"id", "signal", "value"}
    assert fake.asked[-1]["n"] == 1


async def test_the_api_key_is_sent(gateway: tuple[FakeGateway, str]) -> None:
    """A gateway with keys gets the users' one."""
    fake, url = gateway
    await _visit_until(Crowd(url, "support", 500.0, api_key="secret"), lambda tally: tally.answered > 0)
    assert fake.keys == {"Bearer secret"}


async def test_failed_questions_are_counted_not_raised() -> None:
    """A gateway that is gone does not end the crowd."""
    tally = await _visit_until(
        Crowd("http://127.0.0.1:9", "support", 500.0), lambda tally: tally.failures >= 3
    )
    assert tally.answered == 0


async def test_waiting_for_a_gateway_ends_in_time() -> None:
    """If there is no gateway, waiting ends with a timeout."""
    with pytest.raises(TimeoutError):
        await wait_until_ready("http://127.0.0.1:9", timeout_seconds=0.3)
