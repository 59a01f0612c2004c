"""docs/feedback.md: its programs run as they stand, and its tables hold every answer there is."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.api.feedback_models import FeedbackBody
from gateway.config.api_keys import hash_key
from gateway.config.found_signals import FoundSignal
from gateway.config.gateway_file import GatewayConfig
from gateway.learning.acknowledging import DISCARD_REASONS, NotCounted
from policy_store.report_records import Receipt
from tests.examples.browser import browser_page
from tests.gateway.building import config_fields
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Reply, Whole, quick_settings, whole_gateway

PAGE = (Path(__file__).parents[3] / "docs" / "feedback.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (?:(\d{3}) \| )?((?:`\w+`(?:, )?)+) \|", re.MULTILINE)
EXPERIMENT = "support-assistant"
# What llmpo_feedback_discarded_total calls otherwise than the caller is told.
TOLD_AS = {"body_too_large": "request_too_large"}
TOLD_LATER = {"spooled_too_long"}  # by metrics only: the report was answered long before


def programs(language: str) -> list[str]:
    """What the page shows in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def codes(status: int | None = None) -> set[str]:
    """The first column of the page's tables, or the codes beside an HTTP status."""
    body = re.sub(r"^.*\n(?=\|---)", "", PAGE, flags=re.MULTILINE)  # without the tables' headings
    rows = [row for row in ROW.findall(body) if row[0] == ("" if status is None else str(status))]
    return {code for _, named in rows for code in re.findall(r"\w+", named)}


@asynccontextmanager
async def served(upstream: FakeUpstream, url: str, origins: tuple[str, ...] = ()) -> AsyncIterator[Whole]:
    """A gateway with the page's experiment, called with the key `web`."""
    fields = config_fields(
        api_base=upstream.api_base,
        name=EXPERIMENT,
        auth={"client_keys": [hash_key("web")], "admin_keys": [hash_key("ops")]},
        promotion={"min_comparisons": 10_000},
    )
    config = GatewayConfig.model_validate({**fields, "cors_origins": list(origins)})
    async with whole_gateway(config, quick_settings(url), key="web") as gateway:
        yield gateway


@pytest.fixture
async def gateway(upstream: FakeUpstream, embedded_url: str) -> AsyncIterator[Whole]:
    """A gateway that no page of another origin may call."""
    async with served(upstream, embedded_url) as found:
        yield found


async def answer_id(gateway: Whole) -> str:
    """The id of an answer."""
    reply = await gateway.ask(EXPERIMENT)
    assert reply.status == 200, reply.body
    return str(reply.json["id"])


async def printed(gateway: Whole, program: str, *command: str, answer: str) -> str:
    """What a program of the page writes, pointed at the gateway."""
    process = await asyncio.create_subprocess_exec(
        *command,
        program.replace("http://127.0.0.1:8080", gateway.url),
        env={**os.environ, "ANSWER_ID": answer, "LLMPO_API_KEY": "web"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, faults = await process.communicate()
    assert process.returncode == 0, faults.decode()
    return said.decode()


async def test_the_commands_report_with_curl(gateway: Whole) -> None:
    """The shown answer has the fields of the real one."""
    assert len(programs("console")) == 1
    said = await printed(gateway, programs("console")[0], "sh", "-c", answer=await answer_id(gateway))
    assert '"status":"pending"' in said
    for field in ("status", "experiment", "detail"):
        assert f'"{field}"' in said
        assert f'"{field}"' in programs("json")[0]


@pytest.mark.parametrize("program", programs("python")[:2], ids=["openai", "httpx"])
async def test_the_python_programs_report(gateway: Whole, program: str) -> None:
    """Each program prints the result of its report."""
    said = await printed(gateway, program, sys.executable, "-c", answer=await answer_id(gateway))
    assert said.strip() in {"pending", "counted"}


async def test_the_programs_make_a_link_and_report_by_it(gateway: Whole) -> None:
    """The address printed in Python, posted to from JavaScript; a value it was not made for is refused."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    answer = await answer_id(gateway)
    program = programs("python")[2].replace('"value": True, ', "")
    link = (await printed(gateway, program, sys.executable, "-c", answer=answer)).strip()
    calls = f"""
      const link = "{link}";
      reportByLink(link, "maybe")
        .catch((error) => console.log(error.message))
        .then(() => reportByLink(link, true))
        .then((status) => console.log(status));
    """
    function = programs("javascript")[1]
    refusal, status = (await printed(gateway, function + calls, node, "-e", answer=answer)).splitlines()
    assert refusal.startswith("invalid_value: ")
    assert status in {"pending", "counted"}
    assert (await gateway.feed(id=answer, signal="thumb", value=True)).json["status"] == "duplicate"


async def test_the_function_reports_from_node_and_throws_what_is_refused(gateway: Whole) -> None:
    """The function returns the status, and a refusal is an exception that begins with its code."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    function = programs("javascript")[0]
    calls = """
      const id = process.env.ANSWER_ID;
      reportThumb(id, true, "web")
        .then((status) => console.log(status))
        .then(() => reportThumb(id, "yes", "web"))
        .catch((error) => console.log(error.message));
    """
    said = await printed(gateway, function + calls, node, "-e", answer=await answer_id(gateway))
    status, refusal = said.splitlines()
    assert status in {"pending", "counted"}
    assert refusal.startswith("invalid_body: ")


async def empty_page(_request: web.Request) -> web.Response:
    """A page of some application."""
    return web.Response(text="A page.", content_type="text/html")


async def test_the_function_reports_from_a_declared_page_only(
    upstream: FakeUpstream, embedded_url: str, tmp_path: Path
) -> None:
    """A browser lets a page of `cors_origins` report, and no other."""
    app = web.Application()
    app.router.add_get("/", empty_page)
    async with TestServer(app) as mine, TestServer(app) as other:
        origins = (f"http://127.0.0.1:{mine.port}",)
        async with (
            served(upstream, embedded_url, origins) as gateway,
            browser_page(tmp_path / "browser", gateway.session) as page,
        ):
            function = programs("javascript")[0].replace("http://127.0.0.1:8080", gateway.url)
            call = f"({function.strip()})('{await answer_id(gateway)}', true, 'web')"
            await page.open(str(other.make_url("/")))
            assert "fetch" in await page.run(f"{call}.catch((error) => error.message)")
            await page.open(str(mine.make_url("/")))
            assert await page.run(call) in {"pending", "counted"}


def test_the_tables_hold_every_answer() -> None:
    """The tables list every status, reason and code of a report and every found signal, and nothing else."""
    outcomes = {*(one.value for one in Receipt), "not_counted", *(one.value for one in NotCounted)}
    fields = set(FeedbackBody.model_fields)
    named = codes() - {"id"} - fields
    assert outcomes | {one.value for one in FoundSignal} == named
    refused = set().union(*(codes(status) for status in range(400, 600)))
    expected = {TOLD_AS.get(code, code) for code in DISCARD_REASONS} - outcomes - TOLD_LATER
    others = {"invalid_api_key", "host_not_allowed", "origin_not_allowed", "rate_limit_exceeded"}
    others |= {"too_many_large_requests"}
    assert refused == expected | others | {"shutting_down", "unsupported_content_encoding"}
    assert fields <= codes()


Send = Callable[[Whole, str], Awaitable[Reply]]


def reporting(key: str = "web", **changes: Any) -> Send:
    """Sends a report on the answer, with these changes."""

    async def send(gateway: Whole, answer: str) -> Reply:
        body = {"id": answer, "signal": "thumb", "value": True, **changes}
        return await gateway.call("POST", "/v1/feedback", body, headers={"authorization": f"Bearer {key}"})

    return send


def sending(raw: bytes, **headers: str) -> Send:
    """Sends these bytes."""

    async def send(gateway: Whole, _answer: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await gateway.call("POST", "/v1/feedback", raw=raw, headers=named)

    return send


@pytest.mark.parametrize(
    ("status", "code", "send"),
    [
        (400, "invalid_body", sending(b"[]")),
        (400, "malformed_id", reporting(id="chatcmpl-1")),
        (401, "invalid_api_key", reporting(key="unknown")),
        (413, "request_too_large", sending(b"{" + b" " * 300_000)),
        (415, "unsupported_media_type", sending(b"{}", content_type="text/plain")),
        (415, "unsupported_content_encoding", sending(b"{}", content_encoding="br")),
        (422, "unknown_signal", reporting(signal="applause")),
        (422, "invalid_value", reporting(value=3)),
        (422, "wrong_kind", reporting(signal=None, value=None, preferred=0)),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
async def test_mistakes_are_answered_as_the_table_says(
    gateway: Whole, status: int, code: str, send: Send
) -> None:
    """The HTTP status and the code of what an application does wrong."""
    reply = await send(gateway, await answer_id(gateway))
    assert (reply.status, reply.code) == (status, code)
    assert code in codes(status)
