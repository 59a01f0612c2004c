"""Whether a provider is asked over HTTP/2 at all: what is agreed on, and what is taken for granted."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
import subprocess
import sys
from pathlib import Path

import aiohttp.connector
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.errors import UpstreamError
from gateway.upstream.base import ModelTarget, UpstreamRequest
from gateway.upstream.relay import Relay
from tests.gateway.fake_http2 import FakeHttp2Upstream
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.upstream.asking import LIMITS, QUESTION, ask, read_all, request

ROOT = Path(__file__).parents[3]


async def test_a_provider_that_speaks_no_http2_is_said_so(relay: Relay) -> None:
    """An `http://` address has no negotiation, so a reply in HTTP/1.1 is a protocol error."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as old:
        address = f"http://127.0.0.1:{old.sockets[0].getsockname()[1]}/v1"
        target = ModelTarget("m", "openai", "openai", "small", address, http2=True)
        with pytest.raises(UpstreamError) as failed:
            await relay.complete(UpstreamRequest(target, QUESTION))
    assert (failed.value.status, failed.value.reason) == (502, "protocol")


async def test_through_a_proxy_it_is_http1(
    provider: FakeHttp2Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy forwards requests, not connections, so the gateway uses HTTP/1.1."""
    async with FakeUpstream() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "")
        relay = Relay(LIMITS)
        assert await ask(relay, provider) == "I am small."
        await relay.aclose()
    assert proxy.seen[0].path == f"{provider.api_base}/chat/completions"
    assert provider.connections == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 127.0.0.1, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + secret)
    return path


def tls(certificate: Path, *offered: str) -> ssl.SSLContext:
    """A server's, that offers these protocols."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(list(offered))
    return context


async def test_over_tls_http2_is_agreed_on(
    relay: Relay, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams and whole answers, on one connection."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with FakeHttp2Upstream(tls(certificate, "h2", "http/1.1")) as provider:
        assert await ask(relay, provider) == "I am small."
        stream = await read_all(await relay.stream(request(provider, stream=True)))
        assert stream.endswith(b"data: [DONE]\n\n")
        assert provider.seen[0].headers[":scheme"] == "https"
        assert provider.connections == 1
        await relay.aclose()


@pytest.mark.parametrize("offered", [("http/1.1",), ()], ids=["HTTP/1.1", "nothing"])
async def test_a_provider_that_does_not_agree_is_asked_over_http1(
    relay: Relay, certificate: Path, monkeypatch: pytest.MonkeyPatch, offered: tuple[str, ...]
) -> None:
    """This is remembered for a while, so that HTTP/2 is not offered with every request."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    aiohttp.connector._SSL_CONTEXT_VERIFIED.load_verify_locations(certificate)
    context, hellos = tls(certificate, *offered), []
    context.sni_callback = lambda *_: hellos.append(1)
    async with FakeUpstream(context) as provider:
        for _ in range(3):
            assert await ask(relay, provider) == "I am small."
        assert len(hellos) == 2
        await relay.aclose()


async def test_a_certificate_nobody_trusts_is_not_trusted(relay: Relay, certificate: Path) -> None:
    """HTTP/2 checks certificates as HTTP/1.1 does."""
    async with FakeHttp2Upstream(tls(certificate, "h2")) as provider:
        with pytest.raises(UpstreamError) as failed:
            await ask(relay, provider)
    assert (failed.value.reason, provider.seen) == ("connect", [])


def test_nothing_of_it_is_loaded_unless_a_model_wants_it() -> None:
    """Neither start-up nor memory pays for what is not used."""
    program = (
        "import sys, gateway.app; print('h2' in sys.modules, 'gateway.upstream.http.http2' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["False", "False"]
