"""The console page: served with headers that hold a browser to it, and blind to what names contain."""

from __future__ import annotations

import html
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway import console
from gateway.api.errors import install_error_handlers
from gateway.api.experiments_shown import ExperimentDetail
from gateway.config.api_keys import hash_key
from gateway.console import console_routes
from policy_store.connect import connect
from policy_store.states import STATES, ExperimentState
from policy_store.store import PolicyStore
from tests.examples.browser import Page, browser_page
from tests.gateway.building import NAME, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import quick_settings, whole_gateway
from tests.pace import PATIENCE_SECONDS

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
STATIC = Path(console.__file__).with_name("static")


@pytest.fixture
def client() -> httpx.AsyncClient:
    """A client of an application that has the console only, and the gateway's way to answer errors."""
    app = FastAPI(routes=[*console_routes()])
    install_error_handlers(app)
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway")


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/console", "text/html"),
        ("/console/console.css", "text/css"),
        ("/console/console.js", "text/javascript"),
        ("/console/icon.svg", "image/svg+xml"),
    ],
)
async def test_every_file_is_served_with_its_type_and_the_policy(
    client: httpx.AsyncClient, path: str, media_type: str
) -> None:
    """Page and files carry their media type, the content policy and no sniffing."""
    response = await client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(media_type)
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/console/console.html", "/console/__init__.py", "/console/..%2f__init__.py"]
)
async def test_nothing_else_is_served(client: httpx.AsyncClient, path: str) -> None:
    """The server sends only the listed files of the package, and says so like every route."""
    response = await client.get(path)
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_the_page_carries_every_state_of_an_experiment(client: httpx.AsyncClient) -> None:
    """The script knows of each state what the table says, and draws no state from words of its own."""
    page = (await client.get("/console")).text
    (written,) = re.findall(r'<body data-states="([^"]*)"', page)

    known = json.loads(html.unescape(written))

    assert set(known) == {state.value for state in ExperimentState}
    for state, facts in STATES.items():
        assert known[state]["label"] == facts.label
        assert known[state]["sentence"] == facts.sentence
        assert known[state]["is_planned"] is facts.is_planned
        assert f".chip.{known[state]['tone']} {{" in (STATIC / "console.css").read_text()


def test_the_page_loads_nothing_from_elsewhere() -> None:
    """No address of another host in any file (the SVG namespace is a name, not an address)."""
    for file in STATIC.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", text), file.name


def test_the_script_writes_text_never_markup() -> None:
    """None of the ways to turn a string into elements or code is used."""
    script = (STATIC / "console.js").read_text()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert way not in script


def _experiment() -> dict[str, Any]:
    """An answer of the API: its model refuses one that lacks what the API says."""
    policies = [f"a{HOSTILE}", f"b{HOSTILE}"]
    content = {"model": {"model": HOSTILE}, "params": {HOSTILE: HOSTILE}, "system": HOSTILE, "template": None}
    fields = {
        "name": f"x{HOSTILE}",
        "state": "promoted",
        "generation": 1,
        "incumbent": policies[1],
        "leader": policies[1],
        "comparisons": 30,
        "policies": policies,
        "policy_details": [{"name": name, "fingerprint": HOSTILE, "content": content} for name in policies],
        "answer_costs": {
            "source": "declared",
            "policies": [{"policy": name, "per_answer": 0.1, "answers": 1} for name in policies],
        },
        "gain": None,
        "policies_ever": 2,
        "inherited": None,
        "matches_store": True,
        "wins": [[0, 5], [20, 0]],
        "ties": [[0, 5], [5, 0]],
        "evidence": [
            {"policy": policies[0], "nats": 3.2, "needed": 3.0, "eliminated_at": 30},
            {"policy": policies[1], "nats": -0.5, "needed": 3.0, "eliminated_at": None},
        ],
        "plan": None,
        "certificate": {
            "outcome": "winner",
            "champion": 1,
            "champion_name": policies[1],
            "comparisons": 30,
            "statistic_nats": 3.2,
            "threshold_nats": 3.0,
            "delta": 0.05,
            "epsilon": 0.0,
            "guarantee": "exact",
            "decided_at": 1.7e9,
            "code_version": HOSTILE,
        },
        "comparisons_by_source": {HOSTILE: 30},
        "sources": [
            {
                "name": HOSTILE,
                "comparisons": 9,
                "used": 0.4,
                "pairs": 1,
                "agreed": 1,
                "low": 0.2,
                "high": 1.0,
                "gained_nats": -1.5,
            }
        ],
        "builds": [
            {
                "policy": policies[0],
                "comparisons": 30,
                "by_build": {HOSTILE: 20, "b2": 10},
                "different": 2,
                "changes": 1,
                "changed_at": 21,
            }
        ],
        "segments": [
            {
                "path": HOSTILE,
                "value": f"{HOSTILE}{number}",
                "comparisons": 25,
                "pairs": [
                    {
                        "policy": policies[1],
                        "rival": policies[0],
                        "wins": 20,
                        "losses": 5,
                        "ties": 0,
                        "win_rate": 0.8,
                        "low": 0.6,
                        "high": 0.9,
                        "prefers": policies[1],
                    }
                ],
            }
            for number in range(26)
        ],
        "events": [{"at": 1.7e9, "kind": HOSTILE, "detail": {HOSTILE: HOSTILE}}],
        "by_hand": {"at": 1.7e9, "kind": HOSTILE, "detail": {"actor": HOSTILE, "reason": HOSTILE}},
        "may": ["rollback"],
        "promotion_mode": "approval",
        "delta": 0.05,
        "epsilon": 0.0,
        "promise": "winner",
        "claim": "{policy} is preferred to every other policy",
        "collect": HOSTILE,
        "share": 0.5,
        "min_comparisons": 10,
        "max_comparisons": None,
        "started_at": 1.7e9 - 60,
    }
    return ExperimentDetail.model_validate(fields).model_dump()


@pytest.fixture
def hostile_gateway() -> Iterator[str]:
    """The console on an API whose every name is an attack; its address."""

    async def listed(_: Request) -> JSONResponse:
        return JSONResponse({"data": [_experiment()]})

    async def shown(_: Request) -> JSONResponse:
        return JSONResponse(_experiment())

    routes = [
        Route("/v1/experiments", listed),
        Route("/v1/experiments/{name:path}", shown),
        *console_routes(),
    ]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not server.started and time.monotonic() < deadline:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def test_hostile_names_stay_text_in_a_real_browser(hostile_gateway: str, tmp_path: Path) -> None:
    """A browser that draws names full of markup shows them and runs none of it."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-sync",
    ]
    quiet = ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path}"]
    page = subprocess.run(
        [chromium, *flags, *quiet, "--virtual-time-budget=2500", "--dump-dom", f"{hostile_gateway}/console"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "was promoted after 30 comparisons" in page
    assert "the remaining policy awaits approval" in page
    assert "Where comparisons come from" in page
    assert "1.50 nats" in page
    assert "was served by 2 builds of its model" in page
    assert "2 more segments" in page
    assert "&lt;script&gt;document.title='owned'&lt;/script&gt;" in page
    assert "<title>x&lt;img" in page
    assert len(re.findall(r"<script\b", page)) == 1
    assert len(re.findall(r"<img\b", page)) == 1


async def test_a_person_promotes_and_rolls_back_on_the_page(
    upstream: FakeUpstream, embedded_url: str, tmp_path: Path
) -> None:
    """Each button asks for a reason, a dialog shows refusals, and the page shows what was done."""
    config = gateway_config(
        api_base=upstream.api_base,
        auth={"admin_keys": [hash_key("ops")]},
        promotion={"mode": "approval", "min_comparisons": 0, "min_duration": "0s", "min_voters": 0},
    )
    async with (
        whole_gateway(config, quick_settings(embedded_url), key="ops") as gateway,
        browser_page(tmp_path, gateway.session) as page,
    ):
        await gateway.planned()
        await page.open(f"{gateway.url}/console")
        await page.until("Boolean(document.querySelector('.key input'))")
        await page.run("document.querySelector('.key input').value = 'ops'")
        await page.run("document.querySelector('.key').requestSubmit()")
        await press(page, "Promote", "a good feeling")
        await page.until("document.querySelector('.chip')?.textContent === 'promoted'")
        await page.until("document.body.textContent.includes('chose warm: a good feeling')")
        await press(page, "Roll back", " ")
        await page.until("document.querySelector('.refusal').textContent.includes('at least 1')")
        await press(page, "Roll back", "a bad one")
        await page.until("document.querySelector('.chip').textContent === 'rolled back'")
        await page.until("document.querySelector('.by-hand').textContent.endsWith(': a bad one')")
        found = await gateway.experiment()
        redis = connect(embedded_url, timeout_seconds=PATIENCE_SECONDS)
        await named_in_the_file(PolicyStore(redis, timeout_seconds=PATIENCE_SECONDS), "warm")
        await redis.aclose()
        await page.until("document.querySelector('.banner').textContent.includes('The file has named it')")
    assert (found["state"], found["incumbent"]) == ("rolled_back", "plain")


async def named_in_the_file(store: PolicyStore, policy: str) -> None:
    """A replica whose file names another incumbent registers it."""
    experiment = (await store.view(NAME)).experiment
    await store.register(replace(experiment, incumbent=experiment.policies.index(policy)), 1)


async def press(page: Page, label: str, reason: str) -> None:
    """Press the button and give the reason."""
    button = f"[...document.querySelectorAll('.hand button')].find((one) => one.textContent === '{label}')"
    await page.until(f"Boolean({button})")
    await page.run(f"document.querySelector('dialog').close(); {button}.click()")
    await page.run(f"document.querySelector('dialog textarea').value = '{reason}'")
    await page.run("document.querySelector('dialog form').requestSubmit()")
