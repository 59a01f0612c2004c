"""Keeps litellm from looking for tool servers, which are a matter of its proxy.

For every request with tools it imports what would ask such servers, which fails: the packages are not here.
Installed, they would let callers name servers for the gateway to ask.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Final

_FOLDER: Final = "litellm.responses.mcp"


class _NoToolServers:
    """In the place of litellm's `LiteLLM_Proxy_MCP_Handler`."""

    @staticmethod
    def should_use_litellm_mcp_gateway(tools: Any) -> bool:  # noqa: ARG004 - litellm's signature
        """Never."""
        return False


def leave_out_tool_servers() -> None:
    """Let litellm find a handler that asks no server. Call it before litellm's first call."""
    handler: Any = ModuleType(f"{_FOLDER}.litellm_proxy_mcp_handler")
    handler.LiteLLM_Proxy_MCP_Handler = _NoToolServers
    chat: Any = ModuleType(f"{_FOLDER}.chat_completions_handler")
    chat.acompletion_with_mcp = None  # imported along with the handler, and called only if that says so
    for module in (handler, chat):
        sys.modules[module.__name__] = module
