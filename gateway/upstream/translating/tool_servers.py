"""Keeps litellm from looking for tool servers, which only its proxy has.

For every request with tools litellm imports the code that asks such servers. The import fails, because the
packages are not installed. If they were, callers could name servers for the gateway to ask.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Final

_FOLDER: Final = "litellm.responses.mcp"


class _NoToolServers:
    """Replaces litellm's `LiteLLM_Proxy_MCP_Handler`."""

    @staticmethod
    def should_use_litellm_mcp_gateway(tools: Any) -> bool:  # noqa: ARG004 - litellm's signature
        """Never."""
        return False


def leave_out_tool_servers() -> None:
    """Give litellm a handler that asks no server. To be called before litellm's first call."""
    handler: Any = ModuleType(f"{_FOLDER}.litellm_proxy_mcp_handler")
    handler.LiteLLM_Proxy_MCP_Handler = _NoToolServers
    chat: Any = ModuleType(f"{_FOLDER}.chat_completions_handler")
    # imported together with the handler, and called only if the handler asks for it
    chat.acompletion_with_mcp = None
    for module in (handler, chat):
        sys.modules[module.__name__] = module
