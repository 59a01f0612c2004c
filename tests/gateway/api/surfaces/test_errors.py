"""What goes wrong, in the shape and under the status each kind of request has for it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.api.controls import CONTROLS
from gateway.api.fields import KNOWN_FIELDS
from gateway.upstream.translating.upstream import _import_quietly
from tests.gateway.api.surfaces.asking import ASKED, ask
from tests.gateway.api.surfaces.conftest import entries
from tests.gateway.fake_upstream import FakeUpstream, raw, status
from tests.gateway.live import Live, live_gateway

KINDS = list(ASKED)
PLAIN = {kind: "claude-small" if kind == "messages" else "small" for kind in KINDS}
WRONG: list[tuple[str, str, Any]] = [
    ("responses", "input", 3),
    ("responses", "input", ["x"]),
    ("responses", "instructions", ["x"]),
    ("responses", "text", "x"),
    ("responses", "reasoning", []),
    ("responses", "background", True),
    ("responses", "metadata", []),
    ("completions", "prompt", None),
    ("completions", "prompt", {}),
    ("completions", "stream", "yes"),
    ("embeddings", "input", None),
    ("embeddings", "stream", True),
    ("messages", "messages", []),
    ("messages", "messages", "x"),
    ("messages", "max_tokens", None),
    ("messages", "max_tokens", 0),
    ("messages", "max_tokens", True),
    ("messages", "system", {}),
    ("messages", "system", ["x"]),
]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_unknown_model_is_not_found(gateway: Live, kind: str) -> None:
    """Every route answers 404."""
    reply = await ask(gateway, kind, "nobody")
    assert reply.status == 404
    if kind == "messages":
        assert reply.json["type"] == "error"
        assert reply.error["type"] == "not_found_error"
        assert reply.headers["request-id"] == reply.headers["x-request-id"]
    else:
        assert reply.error["code"] == "model_not_found"
    assert reply.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(("kind", "field", "value"), WRONG)
async def test_wrong_types_are_named(
    gateway: Live, upstream: FakeUpstream, kind: str, field: str, value: Any
) -> None:
    """The message says which field and what it must be, and no provider is asked."""
    reply = await ask(gateway, kind, PLAIN[kind], **{field: value})
    assert (reply.status, upstream.seen) == (400, [])
    assert reply.error["message"].startswith(f"{field!r} must be")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_caller_cannot_steer_the_gateway(gateway: Live, upstream: FakeUpstream, kind: str) -> None:
    """Addresses, keys and litellm's controls are refused by name."""
    for field in ("api_base", "api_key", "base_url", "extra_headers", "mock_response", "num_retries"):
        reply = await ask(gateway, kind, PLAIN[kind], **{field: "http://evil"})
        assert reply.status == 400
        assert f"{field!r}: it would " in reply.error["message"]
    assert upstream.seen == []


@pytest.mark.filterwarnings("ignore:.*ReadOnly.*:UserWarning")
def test_every_argument_of_litellms_own_is_refused() -> None:
    """All of the installed version's, but for what OpenAI's format has under the same name."""
    _import_quietly()
    from litellm.types.utils import all_litellm_params  # noqa: PLC0415 - only once it is quiet

    known = frozenset().union(*KNOWN_FIELDS.values())
    assert set(all_litellm_params) - known - CONTROLS.keys() == set()


def test_no_field_of_a_format_is_refused() -> None:
    """What a format has is never taken for something that steers."""
    assert frozenset().union(*KNOWN_FIELDS.values()) & CONTROLS.keys() == set()


@pytest.mark.parametrize("kind", KINDS)
async def test_fields_that_only_look_like_controls_pass(
    gateway: Live, upstream: FakeUpstream, kind: str
) -> None:
    """Names are refused as they stand here, not by how they begin or end."""
    sent = {
        "client_metadata": {"a": "b"},
        "cache_key_hint": "x",
        "_trace": 1,
        "base_path": "/",
        "n_predict": 9,
    }
    reply = await ask(gateway, kind, PLAIN[kind], **sent)
    assert reply.status == 200, reply.body
    assert upstream.seen[-1].body.items() >= sent.items()


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_not_json_is_an_unsupported_media_type(gateway: Live, kind: str) -> None:
    """A form in a web page can send text or forms to a gateway on loopback, but not JSON."""
    for sent in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        reply = await ask(gateway, kind, PLAIN[kind], headers={"content-type": sent})
        assert reply.status == 415
        assert sent.partition(";")[0] in reply.error["message"]
    reply = await ask(gateway, kind, PLAIN[kind], headers={"content-type": "application/json; charset=utf-8"})
    assert reply.status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("kind", KINDS)
async def test_other_methods_are_not_allowed(gateway: Live, kind: str, method: str) -> None:
    """The reply names the allowed method."""
    async with gateway.session.request(method, f"{gateway.url}/v1/{kind}") as response:
        assert (response.status, response.headers["allow"]) == (405, "POST")
        body = await response.read()
    assert (b'"type":"error"' in body) == (kind == "messages" and method != "HEAD")


@pytest.mark.parametrize("kind", ["messages", "chat/completions"])
async def test_a_refusals_code_may_be_anything(gateway: Live, upstream: FakeUpstream, kind: str) -> None:
    """A list, say: its words are passed on nevertheless."""
    model = "claude-small" if kind == "messages" else "small"
    upstream.on(model, raw(b'{"error":{"message":"No.","code":[5],"type":{}}}', code=400))
    reply = await ask(gateway, kind, model)
    assert (reply.status, reply.error["message"]) == (400, "No.")


async def test_providers_refusals_keep_their_words(gateway: Live, upstream: FakeUpstream) -> None:
    """Anthropic's clients get a provider's words in Anthropic's shape, in whatever shape they came."""
    upstream.on("claude-small", status(400, "max_tokens is too large"))
    reply = await ask(gateway, "messages", "claude-small")
    assert (reply.status, reply.json["type"]) == (400, "error")
    assert reply.error == {"type": "invalid_request_error", "message": "max_tokens is too large"}


@pytest.mark.parametrize(
    ("code", "answered", "kind"),
    [(429, 429, "rate_limit_error"), (500, 502, "api_error"), (401, 502, "api_error")],
)
async def test_providers_failures_have_anthropics_types(
    gateway: Live, upstream: FakeUpstream, code: int, answered: int, kind: str
) -> None:
    """Errors have Anthropic's status and type, because its clients raise by these."""
    upstream.on("claude-small", status(code, retry_after="2"))
    reply = await ask(gateway, "messages", "claude-small")
    assert (reply.status, reply.error["type"]) == (answered, kind)


async def test_a_wrong_key_of_the_operators_is_not_tried_again(gateway: Live, upstream: FakeUpstream) -> None:
    """Clients would, after a 502, unless told not to."""
    upstream.on("small", status(401))
    assert (await ask(gateway, "responses", "small")).headers["x-should-retry"] == "false"
    upstream.on("large", status(503))
    assert "x-should-retry" not in (await ask(gateway, "responses", "large")).headers


async def test_keys_come_in_either_header(upstream: FakeUpstream) -> None:
    """Anthropic's clients send theirs as `x-api-key`, on whichever route."""
    async with live_gateway([], entries(upstream), client_keys=["client-key"]) as gateway:
        for headers in ({"x-api-key": "client-key"}, {"authorization": "Bearer client-key"}):
            assert (await ask(gateway, "messages", "claude-small", headers=headers)).status == 200
        reply = await ask(gateway, "messages", "claude-small", headers={"x-api-key": "wrong"})
        assert (reply.status, reply.error["type"]) == (401, "authentication_error")
        assert (await ask(gateway, "responses", "small", headers={"x-api-key": "client-key"})).status == 200
