"""Log lines: one shape, and nothing in them that is nobody's business."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from gateway.running.logs import configure_logging, get_logger, redact, redact_text


@pytest.fixture
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = False
    structlog.reset_defaults()


@pytest.mark.usefixtures("_restored")
def test_json_lines_carry_event_level_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    """A collector can parse every line, ours and the libraries', whatever level was set for them before."""
    logging.getLogger("uvicorn.error").setLevel("CRITICAL")
    configure_logging("info", as_json=True)
    get_logger("here").info("store is back", attempt=3)
    logging.getLogger("uvicorn.error").warning("slow %s", "thing")

    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["attempt"], ours["level"]) == ("store is back", 3, "info")
    assert ours["timestamp"].endswith("Z")
    assert (theirs["event"], theirs["level"]) == ("slow thing", "warning")


@pytest.mark.usefixtures("_restored")
def test_level_and_access_log_are_held_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Less severe lines are not written, and requests are counted, not logged."""
    configure_logging("warning", as_json=True)
    get_logger("here").info("no")
    logging.getLogger("uvicorn.access").error("GET /")
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("_restored")
def test_tracebacks_are_searched_for_keys_too(capsys: pytest.CaptureFixture[str]) -> None:
    """A provider's error may quote the key it refused."""
    configure_logging("info", as_json=True)
    error = ValueError("Incorrect API key provided: sk-abcdefghijkl")
    get_logger("here").error("failed", exc_info=error)

    line = json.loads(capsys.readouterr().err)
    assert "Incorrect API key provided: [redacted]" in line["exception"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key sk-proj-abcdefgh", "key [redacted]"),
        (f"llmpo-{'x' * 43} used", "[redacted] used"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted]"),
        ("redis://user:pa55@host:6379/0", "redis://user:[redacted]@host:6379/0"),
        ("rediss://:pa55@host", "rediss://:[redacted]@host"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("experiment llmpo-gateway-two at 12:30", "experiment llmpo-gateway-two at 12:30"),
    ],
)
def test_what_looks_like_a_secret_is_blanked(text: str, shown: str) -> None:
    """Inside any text; ordinary text stays."""
    assert redact_text(text) == shown


def test_private_fields_are_blanked_at_any_depth() -> None:
    """Whoever logs a whole request by mistake logs no prompt."""
    event = {"messages": [{"content": "hi"}], "request": {"Authorization": "x", "model": "m"}, "n": 1}
    assert redact(None, "info", event) == {
        "messages": "[redacted]",
        "request": {"Authorization": "[redacted]", "model": "m"},
        "n": 1,
    }
