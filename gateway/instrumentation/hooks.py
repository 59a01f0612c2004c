"""Hands events to the hooks of this gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, get_args

from gateway.instrumentation.records import GatewayEvent
from gateway.running.logs import get_logger

Hook = Callable[[GatewayEvent], None]
EventClass = type[GatewayEvent]
Handlers = Mapping[EventClass, Callable[[Any], None]]

_KINDS: Final[tuple[EventClass, ...]] = get_args(GatewayEvent)

_log = get_logger(__name__)


class Listener:
    """A hook with a handler for each kind of event it takes; it gets no other events.

    Args:
        handlers: By the kind of event.
    """

    def __init__(self, handlers: Handlers) -> None:
        self.handlers = handlers

    def __call__(self, event: GatewayEvent) -> None:
        """Handle one event."""
        handle = self.handlers.get(type(event))
        if handle is not None:
            handle(event)


class Hooks:
    """All hooks of one gateway; each event is passed to them in order.

    Hooks run where the event happens, most of them on the path of a request, so they must be quick. An
    exception that a hook raises is logged and not passed on, so a hook never breaks a request.
    """

    __slots__ = ("_handlers",)

    def __init__(self, *hooks: Hook) -> None:
        self._handlers = {kind: tuple(_handlers(hooks, kind)) for kind in _KINDS}

    def hear(self, kind: EventClass) -> bool:
        """Whether any hook takes events of a kind; if none does, the event need not be made."""
        return bool(self._handlers[kind])

    def tell(self, event: GatewayEvent) -> None:
        """Pass an event to every hook."""
        for handle in self._handlers[type(event)]:
            try:
                handle(event)
            except Exception as error:  # noqa: BLE001 - whatever it is, the request goes on
                _log.error(
                    "hook_failed", event_kind=type(event).__name__, error=type(error).__name__, exc_info=error
                )


def _handlers(hooks: tuple[Hook, ...], kind: EventClass) -> Iterator[Callable[[Any], None]]:
    for hook in hooks:
        if not isinstance(hook, Listener):
            yield hook
        elif kind in hook.handlers:
            yield hook.handlers[kind]
