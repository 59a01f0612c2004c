"""Hands events to the hooks of this gateway."""

from __future__ import annotations

from collections.abc import Callable

from gateway.instrumentation.records import GatewayEvent
from gateway.running.logs import get_logger

Hook = Callable[[GatewayEvent], None]

_log = get_logger(__name__)


class Hooks:
    """All hooks of one gateway, told in order.

    Hooks run where the event happens, most of them on the path of a request, so they must be quick. An
    exception that a hook raises is logged and goes no further: watching a request never breaks it.
    """

    __slots__ = ("_hooks",)

    def __init__(self, *hooks: Hook) -> None:
        self._hooks = hooks

    def tell(self, event: GatewayEvent) -> None:
        """Tell every hook of an event."""
        for hook in self._hooks:
            try:
                hook(event)
            except Exception as error:  # noqa: BLE001 - whatever it is, the request goes on
                _log.error(
                    "hook_failed", event_kind=type(event).__name__, error=type(error).__name__, exc_info=error
                )
