"""The shape of what two command-line agents send, field by field as recorded, their texts shortened.

Codex CLI 0.171.0 (`codex exec`) and Claude Code 2.1.197 (`claude -p`), each the second request of a tool
loop: the tool was called in the turn before, and its result comes back. `tests/e2e/test_agents.py` runs the
programs.
"""

from __future__ import annotations

from typing import Any, Final

_COMMAND: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"cmd": {"type": "string", "description": "Shell command to execute."}},
    "required": ["cmd"],
    "additionalProperties": False,
}
_SESSION: Final = "01a22519-eee6-7082-8b6c-1cfe7dd1e64b"


def _said(role: str, number: int, *texts: str) -> dict[str, Any]:
    parts = [{"type": "input_text", "text": text} for text in texts]
    return {"type": "message", "id": f"msg_01a22519-{number}", "role": role, "content": parts}


CODEX: Final[dict[str, Any]] = {
    "stream": True,
    "input": [
        _said("developer", 1, "You are a coding agent."),
        _said("developer", 2, "<skills_instructions>", "<permissions instructions>"),
        _said("user", 3, "<environment_context>"),
        _said("user", 4, "What number is in number.txt?"),
        {
            "type": "function_call",
            "status": "completed",
            "id": "fc_1",
            "name": "exec_command",
            "arguments": '{"cmd": "cat number.txt"}',
            "call_id": "call_1",
        },
        {
            "type": "function_call_output",
            "id": "fco_01a22519",
            "call_id": "call_1",
            "output": "Process exited with code 0\nOutput:\n4711\n",
        },
    ],
    "tools": [
        {
            "type": "function",
            "name": "exec_command",
            "description": "Runs a command.",
            "strict": False,
            "parameters": _COMMAND,
        },
        {
            "type": "namespace",
            "name": "multi_agent_v1",
            "description": "Tools for spawning and managing sub-agents.",
            "tools": [
                {
                    "type": "function",
                    "name": "close_agent",
                    "description": "Close an agent.",
                    "strict": False,
                    "parameters": {
                        "type": "object",
                        "properties": {"target": {"type": "string"}},
                        "required": ["target"],
                        "additionalProperties": False,
                    },
                }
            ],
        },
        {"type": "web_search", "external_web_access": True},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"summary": "auto"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": _SESSION,
    "client_metadata": {
        "thread_id": _SESSION,
        "x-codex-installation-id": "068619d0-ed10-4d74-8bb4-c433343dfc54",
        "x-codex-turn-metadata": '{"request_kind": "turn"}',
        "x-codex-window-id": f"{_SESSION}:0",
    },
}
CLAUDE_CODE: Final[dict[str, Any]] = {
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>"},
                {"type": "text", "text": "What number is in number.txt?"},
            ],
        },
        {"role": "system", "content": "Available agent types for the Agent tool:"},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "cat number.txt"}}
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "tool_use_id": "toolu_1",
                    "type": "tool_result",
                    "content": "4711",
                    "is_error": False,
                    "cache_control": {"type": "ephemeral"},
                }
            ],
        },
    ],
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197; cc_entrypoint=sdk-cli;"},
        {"type": "text", "text": "You are a Claude agent.", "cache_control": {"type": "ephemeral"}},
    ],
    "tools": [
        {
            "name": "Bash",
            "description": "Executes a bash command.",
            "input_schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {"command": {"type": "string"}, "timeout": {"type": "number"}},
                "required": ["command"],
                "additionalProperties": False,
            },
        }
    ],
    "metadata": {"user_id": '{"device_id":"' + "9d" * 32 + '","session_id":"5b6834d5-7b51-48cf-a0a0"}'},
    "max_tokens": 32_000,
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
    "stream": True,
}
# What Anthropic's own client adds when it runs tools, threads and caches by itself.
TOOL_RUNNER: Final[dict[str, Any]] = {
    "messages": [{"role": "user", "content": "Hello?"}],
    "max_tokens": 50,
    "thread": {"type": "create"},
    "cache_control": {"type": "ephemeral"},
    "context_management": {"edits": []},
    "output_config": {"effort": "low"},
    "mcp_servers": [],
    "speed": "standard",
    "service_tier": "auto",
    "tools": CLAUDE_CODE["tools"],
}
