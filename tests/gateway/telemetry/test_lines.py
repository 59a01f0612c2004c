"""What an operator reads about requests: one line for each that failed, and every decision when asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from io import StringIO
from typing import Any

import pytest
import structlog

from gateway.config.api_keys import hash_key
from gateway.config.gateway_file import GatewayConfig
from gateway.instrumentation.records import RequestFinished
from gateway.running.logs import configure_logging
from gateway.running.moderation import WINDOW_SECONDS
from gateway.telemetry.lines import STRANGERS_LINES, LogHook
from tests.gateway.building import NAME, config_fields, gateway_config
from tests.gateway.fake_upstream import FakeUpstream, cut, hang_up, status
from tests.gateway.whole import Whole, quick_settings, whole_gateway

PROMPT = "the patient is called Ada"
ADMIN, CLIENT = "llmpo-" + "a" * 43, "llmpo-" + "c" * 43
MINE = "order-17.retry:2"
KEYS = {
    "boss": {"hash": hash_key(ADMIN), "role": "admin"},
    "app": {"hash": hash_key(CLIENT)},
}

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What was written since the last look, at the most talkative level."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    configure_logging("debug", as_json=True)
    written = StringIO()
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)

    def look() -> list[dict[str, Any]]:
        text = written.getvalue()
        written.seek(0)
        written.truncate()
        return [json.loads(line) for line in text.splitlines()]

    yield look
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    logging.getLogger("uvicorn.access").disabled = False
    structlog.reset_defaults()


@asynccontextmanager
async def _gateway(upstream: FakeUpstream, url: str, level: str = "info") -> AsyncIterator[Whole]:
    config = gateway_config(api_base=upstream.api_base, auth={"keys": KEYS})
    settings = quick_settings(url, log_level=level, eject_after_failures=2)
    async with whole_gateway(config, settings, key=CLIENT) as gateway:
        yield gateway


async def _ask(gateway: Whole, model: str, **fields: Any) -> int:
    question = {"model": model, "messages": [{"role": "user", "content": PROMPT}], **fields}
    headers = {"authorization": f"Bearer {gateway.key}", "x-request-id": MINE}
    url = f"{gateway.url}/v1/chat/completions"
    async with gateway.session.post(url, json=question, headers=headers) as answer:
        await answer.read()
        assert answer.headers["x-request-id"] == MINE
        return answer.status


def _named(lines: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == event]


async def test_a_failed_request_is_one_line_that_says_who_asked_what_and_how_it_ended(
    upstream: FakeUpstream, embedded_url: str, lines: Lines
) -> None:
    """Code, model, endpoint, status, the key's name and the time it took; nothing the caller wrote."""
    upstream.on("plain", status(500, "engine on fire"))
    async with _gateway(upstream, embedded_url) as gateway:
        lines()
        assert await _ask(gateway, "plain") == 502
        (line,) = _named(written := lines(), "request_failed")

    assert line.pop("seconds") > 0
    line.pop("timestamp")
    assert line == {
        "event": "request_failed",
        "level": "warning",
        "request_id": MINE,
        "endpoint": "/v1/chat/completions",
        "status": 502,
        "code": "upstream_status_5xx",
        "model": "plain",
        "key_name": "app",
    }
    assert PROMPT not in json.dumps(written)


async def test_every_line_about_a_request_carries_its_id(
    upstream: FakeUpstream, embedded_url: str, lines: Lines
) -> None:
    """A provider's failure, an ejection and a debug line of a decision lead to the request they were of."""
    upstream.on("plain", hang_up())
    async with _gateway(upstream, embedded_url, "debug") as gateway:
        lines()
        for _ in range(2):
            await _ask(gateway, "plain")
        written = lines()

    about = {line["event"] for line in written if line.get("request_id") == MINE}
    assert {"provider_failed", "ejected", "attempt_ended", "request_failed"} <= about
    assert _named(written, "ejected")[0]["request_id"] == MINE


async def test_a_stream_that_breaks_off_is_a_failed_request(
    upstream: FakeUpstream, embedded_url: str, lines: Lines
) -> None:
    """The status of a stream is sent before anything goes wrong, so its code shows the failure."""
    upstream.on("plain", cut(after=2))
    async with _gateway(upstream, embedded_url) as gateway:
        lines()
        await _ask(gateway, "plain", stream=True)
        (line,) = _named(lines(), "request_failed")
    assert (line["status"], line["code"], line["level"]) == (200, "upstream_cut", "warning")


@pytest.mark.parametrize(
    ("method", "path", "endpoint", "code", "key"),
    [
        ("POST", "/v1/feedback", "/v1/feedback", "invalid_body", CLIENT),
        ("GET", f"/v1/experiments/{NAME}", "/v1/experiments/{name}", "permission_denied", CLIENT),
        ("GET", "/v1/experiments/nobody", "/v1/experiments/{name}", "unknown_experiment", ADMIN),
        ("GET", "/wp-admin.php", "unmatched", "status_404", CLIENT),
        ("DELETE", "/v1/models", "/v1/models", "status_405", CLIENT),
        ("POST", "/v1/chat/completions", "/v1/chat/completions", "unknown_parameter", CLIENT),
    ],
)
async def test_a_failure_of_any_route_is_a_line(
    upstream: FakeUpstream,
    embedded_url: str,
    lines: Lines,
    method: str,
    path: str,
    endpoint: str,
    code: str,
    key: str,
) -> None:
    """Feedback, administration and paths that do not exist, too; what is the caller's fault is info."""
    async with _gateway(upstream, embedded_url) as gateway:
        gateway.key = key
        lines()
        await gateway.call(method, path, {"id": "x", "signal": "thumb", "value": True, "api_base": "y"})
        (line,) = _named(lines(), "request_failed")
    assert (line["endpoint"], line["code"], line["level"]) == (endpoint, code, "info")
    assert line["model"] == ""


async def test_decisions_are_told_only_to_who_wants_all_lines(
    upstream: FakeUpstream, embedded_url: str, lines: Lines
) -> None:
    """The draw and the end of each attempt at level debug; at other levels nothing about a good request."""
    for level in ("debug", "info"):
        async with _gateway(upstream, embedded_url, level) as gateway:
            lines()
            assert await _ask(gateway, NAME) == 200
            written = lines()
        if level == "debug":
            (drawn,) = _named(written, "routed")
            assert (drawn["experiment"], drawn["request_id"]) == (NAME, MINE)
            assert drawn["policies"] in (["plain"], ["warm"])
            (ended,) = _named(written, "attempt_ended")
            assert (ended["ending"], ended["policy"]) == ("answered", drawn["policies"][0])
            assert _named(written, "request_answered")[0]["key_name"] == "app"
        else:
            assert written == []


def test_strangers_cannot_fill_the_log(lines: Lines) -> None:
    """Callers without a valid key get so many lines within a window; callers with one get all of theirs."""
    now = 0.0
    hook = LogHook(tells_all=False, timer=lambda: now)
    failed = RequestFinished("r", "unmatched", 404, 1.0, 2.0, None, "status_404", "", "")
    for _ in range(STRANGERS_LINES * 2):
        hook(failed)
    hook(failed._replace(key="app"))
    written = lines()
    assert len(_named(written, "request_failed")) == STRANGERS_LINES
    assert [line["event"] for line in written[-2:]] == [
        "failures_of_strangers_no_longer_logged",
        "request_failed",
    ]
    now = WINDOW_SECONDS
    hook(failed)
    assert len(_named(lines(), "request_failed")) == 1


@pytest.mark.parametrize(
    ("failing", "word"),
    [(["warm"], "incumbent_answered_instead"), (["warm", "plain"], "answer_takes_no_part")],
)
async def test_the_incumbents_answer_and_a_fallbacks_have_words_of_their_own(
    upstream: FakeUpstream, embedded_url: str, lines: Lines, failing: list[str], word: str
) -> None:
    """Whoever looks for answers of the incumbent does not find those of a fallback of its model."""
    for model in failing:
        upstream.on(model, status(500))
    fields = config_fields(api_base=upstream.api_base, policies=("plain", "warm"))
    plain, warm = fields["model_list"]
    spare = {"model_name": "spare", "litellm_params": {**plain["litellm_params"], "model": "openai/spare"}}
    fields["model_list"] = [{**plain, "fallbacks": ["spare"]}, warm, spare]
    settings = quick_settings(embedded_url, log_level="debug", eject_after_failures=1000)
    async with whole_gateway(GatewayConfig.model_validate(fields), settings) as gateway:
        await gateway.planned()
        lines()
        told: list[dict[str, Any]] = []
        while not _named(told, "policy_failed"):  # the one that fails is drawn every other time
            assert (await gateway.ask()).status == 200
            told += lines()

    assert _named(told, word)
    other = {"incumbent_answered_instead", "answer_takes_no_part"} - {word}
    assert not [line for line in told if line["event"] in other]
