"""Every example runs as its page says: on a gateway process with the configuration beside it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
import yaml
from aiohttp.test_utils import TestServer

from gateway.demo.provider import provider_app
from tests.examples.browser import browser_page
from tests.gateway.process import Served
from tests.gateway.whole import JSON, Whole, eventually
from tests.servers import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
SINGLES, PAIRS = "support-assistant", "support-assistant-pairs"
QUESTION = "How do I descale my Luna 2?"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    """A gateway process with the examples' configuration, on a simulated provider of its own."""
    async with TestServer(provider_app(seed=1)) as provider, aiohttp.ClientSession(headers=JSON) as session:
        text = (EXAMPLES / "gateway.yaml").read_text()
        config = yaml.safe_load(text.replace("http://127.0.0.1:9100/v1", str(provider.make_url("/v1"))))
        served = Served(tmp_path_factory.mktemp("gateway"), config, session)
        try:
            whole = await served.start()
            for experiment in (SINGLES, PAIRS):
                await eventually(lambda name=experiment: _is_planned(whole, name), "a plan in force")
            yield whole
            await served.end()
        finally:
            served.clean_up()


async def _is_planned(whole: Whole, experiment: str) -> bool:
    return (await whole.get(f"/v1/experiments/{experiment}")).json.get("plan") is not None


def _environment(gateway: Whole) -> dict[str, str]:
    return {**os.environ, "LLMPO_URL": gateway.url}


@pytest.mark.parametrize("program", ["openai_client/ask.py", "langchain/chain.py"])
async def test_program_prints_answers_and_what_became_of_its_reports(gateway: Whole, program: str) -> None:
    """The program ends well, prints an answer, and the gateway took each of its reports."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        EXAMPLES / program,
        QUESTION,
        env=_environment(gateway),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, faults = (text.decode() for text in await process.communicate())
    assert process.returncode == 0, faults
    assert "descaler" in printed
    verdicts = [line for line in printed.splitlines() if line.startswith("feedback: ")]
    assert verdicts
    assert set(verdicts) <= {"feedback: held"}


@asynccontextmanager
async def _page_server(gateway: Whole, folder: str) -> AsyncIterator[str]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        EXAMPLES / "page_server.py",
        EXAMPLES / folder,
        "--port",
        str(port),
        env=_environment(gateway),
    )

    async def listens() -> bool:
        assert process.returncode is None
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            return False
        writer.close()
        return True

    try:
        await eventually(listens, "the page server listening")
        yield f"http://127.0.0.1:{port}/"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


_ASK = f"""(() => {{
    document.getElementById("question").value = {json.dumps(QUESTION)};
    document.getElementById("ask").requestSubmit();
}})()"""


async def test_page_shows_two_answers_and_reports_the_better(gateway: Whole, tmp_path: Path) -> None:
    """Both answers are streamed into the page; the vote is counted; the better one joins the conversation."""
    async with (
        _page_server(gateway, "side_by_side") as url,
        browser_page(tmp_path / "browser", gateway.session) as page,
    ):
        await page.open(url)
        await page.run(_ASK)
        await page.until("!document.getElementById('votes').hidden")
        left, right = [await page.run(f"document.getElementById('answer-{n}').textContent") for n in (0, 1)]
        assert "descaler" in left
        assert "descaler" in right
        assert left != right
        await page.run("document.querySelector('[data-preferred=\"1\"]').click()")
        await page.until("document.getElementById('status').textContent === 'Thank you. (counted)'")
        assert await page.run("document.querySelector('#history .assistant').textContent") == right
    assert (await gateway.experiment(PAIRS))["comparisons"] == 1


async def test_page_reports_a_thumb_and_users_who_leave(gateway: Whole, tmp_path: Path) -> None:
    """A click on a thumb is reported once; an answer without a word is reported when the page goes."""
    async with (
        _page_server(gateway, "feedback_in_a_browser") as url,
        browser_page(tmp_path / "browser", gateway.session) as page,
    ):
        await page.open(url)
        for number in (1, 2):
            await page.run(_ASK)
            await page.until(f"document.querySelectorAll('#answers article').length === {number}")
        assert "descaler" in await page.run("document.querySelector('#answers pre').textContent")
        for verdict in ("held", "duplicate"):
            await page.run("document.querySelector('#answers button').click()")
            await page.until(f"document.querySelector('#answers small').textContent === '{verdict}'")
        assert await gateway.metric("llmpo_feedback_total", signal="abandoned") == 0
        await page.open("about:blank")

        async def is_reported() -> bool:
            return await gateway.metric("llmpo_feedback_total", signal="abandoned") == 1

        await eventually(is_reported, "the report of a user who left")
