"""Other gateways to measure beside this one: installed into a throw-away folder, set up as advised.

LiteLLM's proxy runs as its production page says: one worker a core, `LITELLM_MODE=PRODUCTION`, only errors in
the log, its own prices and a master key. It has no database and no callbacks, which would cost more.
Portkey's gateway runs headless in Node's production mode. With the version of hono that it asks for, it
answered streams with status 500, so an older version is installed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LITELLM = "litellm[proxy]==1.106.2"
PORTKEY = "1.15.2"
HONO = {"@hono/node-server": "1.13.7", "hono": "4.9.7"}
MODEL = "gpt-4o-mini"  # one they know the price of
INSTALL_SECONDS = 600
_MASTER_KEY = "sk-benchmark"
_LITELLM_CONFIG = """
model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{model}, api_base: "http://127.0.0.1:{provider}/v1", api_key: sk-x}}
general_settings: {{master_key: {key}}}
litellm_settings: {{set_verbose: false, request_timeout: 600}}
"""


@dataclass(frozen=True)
class Peer:
    """An installed gateway.

    Attributes:
        name: With its version.
        arguments: What starts it.
        environ: What it needs in the environment.
        headers: What a request to it carries.
        share: The share of the requests that it gets; it is below 1 for a gateway that is much slower.
        warm_up: Requests until it has settled.
    """

    name: str
    arguments: list[str]
    environ: dict[str, str]
    headers: tuple[tuple[str, str], ...]
    share: float = 1.0
    warm_up: int = 0


class PeerError(Exception):
    """A gateway could not be installed; says why."""


def litellm_proxy(folder: Path, port: int, provider_port: int) -> Peer:
    """LiteLLM's proxy, in an environment of its own. Raises PeerError."""
    folder.mkdir()
    _run([_tool("uv"), "venv", "--quiet", "--python", sys.executable, str(folder / "venv")])
    python = folder / "venv" / "bin" / "python"
    _run([_tool("uv"), "pip", "install", "--quiet", "--python", str(python), LITELLM])
    config = folder / "litellm.yaml"
    config.write_text(_LITELLM_CONFIG.format(model=MODEL, provider=provider_port, key=_MASTER_KEY))
    return Peer(
        f"LiteLLM proxy {LITELLM.rpartition('=')[2]}",
        [
            str(python.with_name("litellm")),
            *("--config", str(config), "--host", "127.0.0.1", "--port", str(port)),
            *("--num_workers", "1", "--telemetry", "False"),
        ],
        {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        (("authorization", f"Bearer {_MASTER_KEY}"),),
        share=0.1,
        warm_up=100,
    )


def portkey(folder: Path, port: int, provider_port: int) -> Peer:
    """Portkey's gateway, in a folder of its own. Raises PeerError."""
    folder.mkdir()
    package = {"private": True, "dependencies": {"@portkey-ai/gateway": PORTKEY}, "overrides": HONO}
    (folder / "package.json").write_text(json.dumps(package))
    _run([_tool("npm"), "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts"])
    start = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    return Peer(
        f"Portkey {PORTKEY}",
        [_tool("node"), str(start), "--headless", f"--port={port}"],
        {"NODE_ENV": "production"},
        (
            ("authorization", "Bearer sk-x"),
            ("x-portkey-provider", "openai"),
            ("x-portkey-custom-host", f"http://127.0.0.1:{provider_port}/v1"),
        ),
        warm_up=3000,
    )


PEERS: dict[str, Callable[[Path, int, int], Peer]] = {"LiteLLM proxy": litellm_proxy, "Portkey": portkey}


def _tool(name: str) -> str:
    """A program beside this Python or on the path."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise PeerError(f"{name} is not installed here")
    return found


def _run(arguments: list[str]) -> None:
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise PeerError(f"not installed within {INSTALL_SECONDS} s") from None
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise PeerError(f"{Path(arguments[0]).name} said: {' '.join(last)[:200]}")
