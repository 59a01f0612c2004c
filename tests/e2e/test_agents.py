"""Two command-line agents as their makers publish them, in a tool loop through the gateway, offline.

Each is asked for the number in a file. The model, which is scripted, has the agent's own tool print the file
and repeats what the tool printed, so the number comes out only if every turn arrived whole.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.api.surfaces.answers import event
from tests.gateway.fake_upstream import Behaviour, Exchange, FakeUpstream, chunk, raw_stream
from tests.gateway.live import Live, entry, experiment, live_gateway

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    # litellm's own models make pydantic warn when they are first used.
    pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning"),
]

ROOT = Path(__file__).parents[2]
MODULES = ROOT / ".venv" / "agents" / "node_modules"  # `make test-long` installs them
QUESTION = "What number is in number.txt?"
NUMBER = "48151623"
MOST_BYTES = 10_000_000
# Each runs with a home of its own, so that nothing of this machine's is read or written.
CODEX = (
    "exec --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox -c model_provider=gateway "
    "-c model_providers.gateway.name=gateway -c model_providers.gateway.wire_api=responses "
    "-c model_providers.gateway.env_key=GATEWAY_KEY -c model_providers.gateway.base_url={url}/v1 -m {model}"
)
POLICIES = {
    "openai": {
        name: {"model": model, "system": f"You are {name}.", "params": {"temperature": 0.5}}
        for name, model in (("alpha", "small"), ("beta", "large"))
    },
    "anthropic": {
        name: {"model": model, "system": f"You are {name}.", "params": {"temperature": 0.5}}
        for name, model in (("alpha", "claude-small"), ("beta", "claude-large"))
    },
}


@dataclass(frozen=True)
class Agent:
    """One program.

    Attributes:
        command: How it is called; `{url}` and `{model}` are the gateway's.
        environment: What it reads besides.
        tool: The tool of its own that runs a command, and the name of that argument.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    tool: tuple[str, str]


AGENTS = {
    "codex": Agent(
        (str(MODULES / ".bin" / "codex"), *CODEX.split(), QUESTION),
        {"GATEWAY_KEY": "any"},
        ("exec_command", "cmd"),
    ),
    "claude": Agent(
        (
            *("node", str(MODULES / "@anthropic-ai" / "claude-code" / "cli-wrapper.cjs")),
            *("-p", QUESTION, "--model", "{model}", "--allowedTools", "Bash"),
        ),
        {
            "ANTHROPIC_BASE_URL": "{url}",
            "ANTHROPIC_AUTH_TOKEN": "any",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        },
        ("Bash", "command"),
    ),
}
MODELS = ["small", "claude-small", "openai-policies", "anthropic-policies"]


@pytest.fixture(scope="session")
def agents() -> None:
    """The programs, which are large, and only these tests need them."""
    if not MODULES.exists():
        pytest.skip("needs the agents that `make test-long` installs")


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    """A provider whose models have the agent print the file."""
    async with FakeUpstream() as upstream:
        for model in ("small", "large", "claude-small", "claude-large"):
            upstream.on(model, tool_loop())
        yield upstream


@pytest.fixture
async def gateway(upstream: FakeUpstream) -> AsyncIterator[Live]:
    """A model of each format, and an experiment of each."""
    base = f"http://127.0.0.1:{upstream.port}"
    entries = [
        *(entry(name, upstream.api_base) for name in ("small", "large")),
        *(entry(name, base, provider="anthropic") for name in ("claude-small", "claude-large")),
    ]
    experiments = [
        experiment(base, policies, name=f"{wire}-policies", unit="session")
        for wire, policies in POLICIES.items()
    ]
    async with live_gateway(experiments, entries, max_body_bytes=MOST_BYTES) as gateway:
        yield gateway


def tool_loop() -> Behaviour:
    """First a call of whichever tool there is that runs commands, then what it printed."""

    async def behave(exchange: Exchange) -> None:
        offered = dict(agent.tool for agent in AGENTS.values())
        names = [_name(tool) for tool in exchange.seen.body.get("tools") or []]
        tool = next((name for name in names if name in offered), None)
        printed = _printed(exchange.seen.body)
        if tool is None or printed is not None:
            await _answer(exchange, f"It is {printed}.")
        else:
            await _call(exchange, tool, {offered[tool]: "cat number.txt", "description": "Print the file."})

    return behave


def _name(tool: Mapping[str, Any]) -> str:
    return str((tool.get("function") or tool).get("name"))


def _printed(body: Mapping[str, Any]) -> str | None:
    """What the tool printed, in any format; None before it ran."""
    for item in reversed([*body.get("messages", ()), *body.get("input", ())]):
        content = item.get("content")
        parts = content if isinstance(content, list) else []
        for found in (item, *parts):
            kind = found.get("type"), found.get("role")
            if kind[0] in {"function_call_output", "tool_result"} or kind[1] == "tool":
                return json.dumps(found.get("output") or found.get("content"))
    return None


async def _call(exchange: Exchange, tool: str, arguments: dict[str, str]) -> None:
    written = json.dumps(arguments)
    called = {"name": tool, "arguments": written}
    item = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_1", **called}
    block = {"type": "tool_use", "id": "toolu_1", "name": tool, "input": {}}
    delta = {"type": "input_json_delta", "partial_json": written}
    calls = [{"index": 0, "id": "call_1", "type": "function", "function": called}]
    await _send(exchange, item, (block, delta, "tool_use"), ({"tool_calls": calls}, "tool_calls"))


async def _answer(exchange: Exchange, text: str) -> None:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    delta = {"type": "text_delta", "text": text}
    await _send(
        exchange, item, ({"type": "text", "text": ""}, delta, "end_turn"), ({"content": text}, "stop")
    )


async def _send(
    exchange: Exchange,
    item: dict[str, Any],
    block: tuple[dict[str, Any], dict[str, Any], str],
    choice: tuple[dict[str, Any], str],
) -> None:
    """The answer in the format of the path that was asked."""
    kind = exchange.seen.path.rpartition("/")[2]
    events = {
        "responses": lambda: _response(exchange, item),
        "messages": lambda: _message(exchange, *block),
        "completions": lambda: _completion(exchange, *choice),
    }
    await raw_stream(*events[kind]())(exchange)


def _response(exchange: Exchange, item: dict[str, Any]) -> list[bytes]:
    usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": exchange.model, "tools": []}
    begun = {**head, "status": "in_progress", "output": []}
    place = {"output_index": 0}
    return [
        event("response.created", sequence_number=0, response=begun),
        event("response.output_item.added", sequence_number=1, item=item, **place),
        event("response.output_item.done", sequence_number=2, item=item, **place),
        event(
            "response.completed",
            sequence_number=3,
            response={**head, "status": "completed", "output": [item], "usage": usage},
        ),
    ]


def _message(exchange: Exchange, block: dict[str, Any], delta: dict[str, Any], reason: str) -> list[bytes]:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": exchange.model, "content": []}
    usage = {"input_tokens": 5, "output_tokens": 1}
    return [
        event("message_start", message={**head, "stop_reason": None, "stop_sequence": None, "usage": usage}),
        event("content_block_start", index=0, content_block=block),
        event("content_block_delta", index=0, delta=delta),
        event("content_block_stop", index=0),
        event(
            "message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 7}
        ),
        event("message_stop"),
    ]


def _completion(exchange: Exchange, delta: dict[str, Any], reason: str) -> list[bytes]:
    end = {"index": 0, "delta": {}, "finish_reason": reason}
    return [
        chunk(exchange, {"role": "assistant", **delta}),
        chunk(exchange, {}, choices=[end]),
        b"data: [DONE]\n\n",
    ]


async def run(agent: Agent, gateway: Live, model: str, folder: Path) -> str:
    """What the program prints, having ended well."""
    work, home = folder / "work", folder / "home"
    for each in (work, home / "codex"):
        each.mkdir(parents=True)
    (work / "number.txt").write_text(NUMBER)
    values = {"url": gateway.url, "model": model}
    environment = {name: value.format(**values) for name, value in agent.environment.items()}
    process = await asyncio.create_subprocess_exec(
        *(word.format(**values) for word in agent.command),
        cwd=work,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "CODEX_HOME": str(home / "codex"), **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


@pytest.mark.usefixtures("agents")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", AGENTS)
async def test_an_agent_runs_its_tools(
    gateway: Live, upstream: FakeUpstream, tmp_path: Path, name: str, model: str
) -> None:
    """Agents run tools through plain models and experiments, and the policy's prompt is in every turn."""
    printed = await run(AGENTS[name], gateway, model, tmp_path)
    assert NUMBER in printed
    assert {status for endpoint, status in gateway.observer.finished if endpoint.startswith("/v1/")} == {200}
    assert len(upstream.seen) >= 2
    if model.endswith("-policies"):
        policies = {policy for _, policy, _ in gateway.observer.answered}
        assert policies
        assert not gateway.observer.failed
        for seen in upstream.seen:
            assert any(f"You are {policy}." in json.dumps(seen.body) for policy in policies)
