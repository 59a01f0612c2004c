"""Log lines: one shape, and nothing private in them."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog

from gateway.errors import ConfigError, ConfigIssue
from gateway.running.logs import configure_logging, get_logger, redact, redact_text

PROMPT = "my password is hunter2"


@pytest.fixture
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    logging.getLogger("uvicorn.access").disabled = False
    structlog.reset_defaults()


@pytest.mark.usefixtures("_restored")
def test_json_lines_carry_event_level_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    """A collector can parse every line, ours and the libraries', whatever level was set for them before."""
    logging.getLogger("uvicorn.error").setLevel("CRITICAL")
    configure_logging("info", as_json=True)
    get_logger("here").info("store_back", attempt=3)
    logging.getLogger("uvicorn.error").warning("slow %s", "thing")

    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["attempt"], ours["level"]) == ("store_back", 3, "info")
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
    error = ConfigError([ConfigIssue("model", "sk-abcdefghijkl is no model.", "")])
    get_logger("here").error("failed", exc_info=error)

    line = json.loads(capsys.readouterr().err)
    assert "[redacted] is no model." in line["exception"]


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize(
    "name",
    [
        *("LiteLLM", "LiteLLM Router", "openai._base_client", "anthropic._base_client", "httpx"),
        *("httpcore.http11", "aiohttp.client", "h2.connection", "hpack.hpack", "asyncio", "botocore"),
        *("py.warnings", "uvicorn", "gatewayish", ""),
    ],
)
def test_what_libraries_log_is_never_written(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Provider SDKs log whole requests; of a warning only that there was one, and of what kind."""
    configure_logging("debug", as_json=True)
    library = logging.getLogger(name)
    before = library.level
    library.setLevel(logging.NOTSET)  # a test that loaded the library may have silenced it
    library.debug("Request options: %s", {"messages": PROMPT})
    library.info(PROMPT)
    assert capsys.readouterr().err == ""

    library.error(PROMPT, exc_info=ValueError(PROMPT))
    library.setLevel(before)
    written = capsys.readouterr().err
    assert PROMPT not in written
    line = json.loads(written)
    assert (line["event"], line["level"], line["error"]) == ("library_warning", "error", "ValueError")


@pytest.mark.usefixtures("_restored")
def test_warnings_of_libraries_are_not_written_in_their_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Pydantic's, for one, show the value they are about."""
    configure_logging("debug", as_json=True)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)  # pytest's own recording is in between otherwise
        warnings.warn(PROMPT, UserWarning, stacklevel=1)
    assert PROMPT not in capsys.readouterr().err


@pytest.mark.usefixtures("_restored")
def test_a_traceback_shows_where_and_what_kind_but_no_words_of_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An exception's message may quote a request, and so may the one it came of."""
    configure_logging("info", as_json=True)
    with pytest.raises(RuntimeError) as caught:
        _fail_twice()
    get_logger("here").error("failed", exc_info=caught.value)
    line = json.loads(capsys.readouterr().err)
    assert PROMPT not in line["exception"]
    for word in ("RuntimeError", "ValueError", "test_logs.py"):
        assert word in line["exception"]


def _fail_twice() -> None:
    try:
        int(PROMPT)
    except ValueError as error:
        raise RuntimeError(f"about {PROMPT}") from error


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
    """Code that logs a whole request by mistake logs no prompt."""
    event = {"messages": [{"content": "hi"}], "request": {"Authorization": "x", "model": "m"}, "n": 1}
    assert redact(None, "info", event) == {
        "messages": "[redacted]",
        "request": {"Authorization": "[redacted]", "model": "m"},
        "n": 1,
    }


@pytest.mark.usefixtures("_restored")
def test_the_stores_lines_keep_their_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """`policy_store` knows only the standard library's logging; its fields stand beside the event."""
    configure_logging("info", as_json=True)
    logging.getLogger("policy_store.embedded").error("embedded_store_ended", extra={"pid": 7, "status": -9})

    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["pid"], line["status"]) == ("embedded_store_ended", 7, -9)
