"""Log lines: as JSON for a collector, or coloured for a person.

Nothing a user wrote and no key ever reaches a log line, at any level: fields that could hold either are
blanked by name, and anything that looks like a key is blanked inside every other text. Libraries that talk
to providers may log whole requests, and put them into warnings and exceptions. So their messages are never
written: a library's warning becomes a line that names the library and the kind of exception.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any, Final, TextIO

import structlog
from typing_extensions import override

from gateway.running.request_id import add_request_id

BLANK: Final = "[redacted]"

# The lines of these loggers are written unchanged: our own, and the server's about connections and signals.
_OUR_LOGGERS: Final = ("gateway", "policy_store", "uvicorn.error")
# Exceptions of these packages are shown with their message. Others may quote a request or an answer.
_TOLD_EXCEPTIONS: Final = ("gateway", "policy_store", "redis")

# Names of fields that may carry what a user wrote, what a model answered, or a secret.
PRIVATE_FIELDS: Final = frozenset(
    {
        "answer",
        "api_key",
        "authorization",
        "body",
        "comment",
        "completion",
        "content",
        "headers",
        "key",
        "messages",
        "password",
        "payload",
        "previous_token_secret",
        "prompt",
        "secret",
        "system",
        "token",
        "token_secret",
    }
)
# Provider and gateway keys (`sk-...`, `llmpo-...`), bearer headers, and the password of a URL.
_SECRET: Final = re.compile(
    r"(?P<lead>\bbearer\s+|://[^/\s:@]*:)?"
    r"(?P<secret>(?<=[Bb]earer\s)\S+|(?<=:)[^\s:@/]+(?=@)"
    r"|\b(?:sk|pk|xai|gsk)[-_][\w-]{8,}|\bllmpo-[\w-]{32,}|\bAIza[\w-]{20,})",
    re.IGNORECASE,
)

_OF_ONE_CONNECTION: Final = frozenset({"Invalid HTTP request received.", "Unsupported upgrade request."})


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: blank private fields and anything that looks like a key."""
    for name, value in event.items():
        event[name] = BLANK if name.lower() in PRIVATE_FIELDS else _redacted(value)
    return event


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {k: BLANK if str(k).lower() in PRIVATE_FIELDS else _redacted(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    return value


def redact_text(text: str) -> str:
    """`text` with anything that looks like a key replaced."""
    return _SECRET.sub(lambda match: (match["lead"] or "") + BLANK, text)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes our own lines; a library's warning or error becomes a line that only says there was one."""

    @override
    def handle(self, record: logging.LogRecord) -> bool:
        # structlog, which only our own code uses, marks its records with this.
        if hasattr(record, "_logger") or _is_one_of(record.name, _OUR_LOGGERS):
            return bool(super().handle(record))
        if record.levelno >= logging.WARNING:
            error = record.exc_info[0] if record.exc_info else None
            get_logger(__name__).log(
                record.levelno,
                "library_warning",
                library=record.name,
                error=None if error is None else error.__name__,
            )
        return False


def _is_one_of(name: str, families: tuple[str, ...]) -> bool:
    return any(name == family or name.startswith(f"{family}.") for family in families)


def _exception_text(
    exc_info: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
) -> str:
    """A traceback in which only our own exceptions show their message."""
    error = exc_info[1]
    if error is None:
        return ""
    parts: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frames = "".join(traceback.format_tb(error.__traceback__))
        kind = type(error)
        is_systems = isinstance(error, OSError) and kind.__module__ == "builtins"
        is_told = is_systems or _is_one_of(kind.__module__, _TOLD_EXCEPTIONS)
        parts.append(f"{frames}{kind.__name__}: {error}" if is_told else f"{frames}{kind.__name__}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\ncaused by:\n\n".join(parts)


def configure_logging(level: str = "info", *, as_json: bool) -> None:
    """Send every log line of this process to standard error in one shape.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        as_json: One JSON object per line; otherwise text, coloured if standard error is a terminal.
    """
    shared: list[structlog.types.Processor] = [
        add_request_id,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Exceptions become text before redaction, so a traceback's message is searched for keys as well.
    ending: list[structlog.types.Processor] = [
        structlog.processors.ExceptionRenderer(_exception_text),
        redact,
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        # `policy_store` uses only the standard library's logging; these are the fields of its events.
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(allow=("pid", "status"))],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending, renderer],
    )
    handler = _Handler(sys.stderr)
    handler.setFormatter(formatter)
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers = []
        library.propagate = True
        library.setLevel(logging.NOTSET)
    # Otherwise anyone who can connect could fill the log with lines about single connections.
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.msg not in _OF_ONE_CONNECTION)
    # Failed requests have a line of our own; the others are counted.
    logging.getLogger("uvicorn.access").disabled = True
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of one module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
