"""Callers without a key, and web pages that use the browser on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from structlog.testing import capture_logs

from gateway.access import failed_attempts
from gateway.access.failed_attempts import ADDRESSES, ATTEMPTS, FailedAttempts
from gateway.config.api_keys import hash_key
from gateway.config.gateway_file import GatewayConfig
from gateway.errors import AuthenticationError, RateLimitedError
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import AuthenticationFailed, GatewayEvent
from gateway.running.moderation import WINDOW_SECONDS
from tests.gateway.building import config_fields, gateway_config
from tests.gateway.whole import Whole, quick_settings, whole_gateway
from tests.servers import EmbeddedServer

PATHS = ("/healthz", "/v1/models", "/v1/experiments", "/v1/keys", "/console", "/metrics", "/nowhere")
KEY, ADMIN = "llmpo-client-key-of-some-length-000", "llmpo-admin-key-of-some-length-0000"


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An embedded store."""
    server = EmbeddedServer(tmp_path_factory.mktemp("store"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
async def open_gateway(store_url: str) -> AsyncIterator[Whole]:
    """A gateway without keys, which also answers to a name its operator allows."""
    settings = quick_settings(store_url, allowed_hosts="gateway.internal, Other.internal")
    config = GatewayConfig.model_validate({**config_fields(), "cors_origins": ["https://pages.example"]})
    async with whole_gateway(config, settings) as gateway:
        yield gateway


@pytest.fixture
async def guarded(store_url: str) -> AsyncIterator[Whole]:
    """A gateway with a client's key and an admin's."""
    auth = {"client_keys": [hash_key(KEY)], "admin_keys": [hash_key(ADMIN)]}
    async with whole_gateway(gateway_config(auth=auth), quick_settings(store_url), key=ADMIN) as gateway:
        yield gateway


async def status(gateway: Whole, path: str, **headers: str) -> int:
    """The status of a GET with these headers; an underscore stands for a dash."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with gateway.session.get(gateway.url + path, headers=named) as answer:
        return answer.status


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "evil.example#localhost",
        "0.0.0.0",  # noqa: S104  # a name to be refused
        "192.168.1.5",
        "[::2]",
        "[::1].evil.example",
        "localhost:evil",
        "2130706433",
        "",
    ],
)
async def test_other_names_are_refused_without_keys(open_gateway: Whole, host: str) -> None:
    """A page whose own name resolves to this machine gets nothing, on any route."""
    for path in PATHS:
        assert await status(open_gateway, path, host=host) == 403
    async with open_gateway.session.post(
        f"{open_gateway.url}/v1/chat/completions", json={}, headers={"host": host}
    ) as answer:
        assert answer.status == 403
        assert (await answer.json())["error"]["code"] == "host_not_allowed"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1:65535",
        "127.9.9.9",
        "[::1]",
        "[::1]:8080",
        "gateway.internal:80",
        "OTHER.internal",
    ],
)
async def test_this_machines_names_are_answered(open_gateway: Whole, host: str) -> None:
    """This machine's names and the names that the operator allows are valid in any case, with any port."""
    assert await status(open_gateway, "/v1/experiments", host=host) == 200


async def test_web_pages_from_elsewhere_are_refused_without_keys(open_gateway: Whole) -> None:
    """A browser says where a page comes from; pages of this machine and declared ones may call."""
    foreign = ("https://evil.example", "null", "http://localhost.evil.example", "http://evil:80", "")
    malformed = ("http://[", "http://[::1", "http://localhost]", "http://localhost/evil", "localhost")
    for origin in (*foreign, *malformed):
        assert await status(open_gateway, "/v1/experiments", origin=origin) == 403
    ours = ("http://localhost:3000", "http://127.0.0.1", "http://[::1]:1", "https://gateway.internal")
    for origin in (*ours, "https://pages.example"):
        assert await status(open_gateway, "/v1/experiments", origin=origin) == 200


async def test_with_keys_any_name_is_answered(guarded: Whole) -> None:
    """Behind a load balancer the gateway has names it does not know; a page has no key."""
    assert await status(guarded, "/healthz", host="gateway.example.com", origin="https://evil.example") == 200


async def test_a_key_comes_in_either_header_on_every_route(guarded: Whole) -> None:
    """Every route takes a key in the header of OpenAI's clients and in that of Anthropic's clients."""
    for path in ("/v1/models", "/v1/experiments", "/v1/keys", "/metrics"):
        assert await status(guarded, path, authorization=f"Bearer {ADMIN}") == 200
        assert await status(guarded, path, x_api_key=ADMIN) == 200
        assert await status(guarded, path, x_api_key="wrong") == 401
    assert await status(guarded, "/v1/models", x_api_key=KEY) == 200
    assert await status(guarded, "/v1/keys", x_api_key=KEY) == 403
    for path in ("/v1/chat/completions", "/v1/feedback"):
        async with guarded.session.post(guarded.url + path, json={}, headers={"x-api-key": KEY}) as answer:
            assert answer.status == 400


async def test_wrong_keys_are_counted_and_limited_but_never_valid_ones(guarded: Whole) -> None:
    """401 for some time, then 429 that says when to come back; a valid key from there passes all along."""
    found = [await status(guarded, "/v1/models", x_api_key=f"wrong-{n}") for n in range(ATTEMPTS + 5)]
    async with guarded.session.post(f"{guarded.url}/v1/messages", json={}) as answer:
        waits = int(answer.headers["retry-after"])
        body = await answer.json()
    assert found == [401] * ATTEMPTS + [429] * 5
    assert answer.status == 429
    assert 0 < waits <= WINDOW_SECONDS
    assert body["error"]["type"] == "rate_limit_error"
    assert await status(guarded, "/v1/models", x_api_key=KEY) == 200
    assert await guarded.metric("llmpo_authentication_failures_total", reason="unknown") == ATTEMPTS
    assert await guarded.metric("llmpo_authentication_failures_total", reason="limited") == 6


class Noted:
    """Failures with a clock that is set by hand, and the events about them."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.events: list[GatewayEvent] = []
        self.failures = FailedAttempts(Hooks(self.events.append), lambda: self.now)

    def fail(self, address: str) -> type[Exception]:
        """One more failure of an address; the kind of the answer."""
        return type(self.failures.refusal(address, "unknown", AuthenticationError("No.")))


def test_an_address_starts_anew_after_the_window() -> None:
    """Failures of a minute ago do not count, and others' do not either."""
    noted = Noted()
    first = [noted.fail("192.0.2.1") for _ in range(ATTEMPTS + 1)]
    other = noted.fail("192.0.2.2")
    noted.now += WINDOW_SECONDS
    again = noted.fail("192.0.2.1")
    assert first == [AuthenticationError] * ATTEMPTS + [RateLimitedError]
    assert (other, again) == (AuthenticationError, AuthenticationError)
    assert noted.events.count(AuthenticationFailed("limited")) == 1


def test_all_addresses_of_a_site_count_together() -> None:
    """A caller has 2^64 addresses of IPv6, and an address of IPv4 may be written as one of them."""
    noted = Noted()
    for number in range(ATTEMPTS):
        noted.fail(f"2001:db8::{number:x}")
        noted.fail("::ffff:192.0.2.1")
    assert noted.fail("2001:db8::ffff:1") is RateLimitedError
    assert noted.fail("2001:db8:0:1::1") is AuthenticationError
    assert noted.fail("::ffff:192.0.2.1") is RateLimitedError
    assert noted.fail("::ffff:192.0.2.2") is AuthenticationError


def test_addresses_remembered_are_bounded() -> None:
    """The memory stays bounded for any number of addresses."""
    noted = Noted()
    for number in range(ADDRESSES + 100):
        noted.fail(f"2001:db8:{number >> 8:x}:{number & 255:x}::1")
    assert len(noted.failures._windows) == ADDRESSES


def test_the_log_says_so_in_moderation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for an address, another when it is limited, and no more than some a minute; never a key."""
    noted = Noted()
    with capture_logs() as lines:
        for number in range(1000):
            for _ in range(ATTEMPTS + 2):
                noted.fail(f"192.0.{number >> 8}.{number & 255}")
    assert lines[0]["event"] == "authentication_failed"
    assert (lines[0]["address"], lines[1]["reason"]) == ("192.0.0.0", "limited")
    assert len(lines) == failed_attempts._LOGGED
    assert lines[-1]["event"] == "authentication_failures_no_longer_logged"


async def test_reports_and_administration_are_json_only(open_gateway: Whole) -> None:
    """A page can send text anywhere unasked; it is refused wherever a body is read."""
    for path in ("/v1/feedback", "/v1/keys", "/v1/chat/completions"):
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a"):
            async with open_gateway.session.post(
                open_gateway.url + path, data=b"{}", headers={"content-type": kind}
            ) as answer:
                assert answer.status == 415, (path, kind)
