"""A store over TLS, with certificates of a private authority, on a real server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from policy_store.connect import connect
from policy_store.errors import StoreUnavailableError
from policy_store.store import PolicyStore
from policy_store.vitals import StoreVitals
from tests.pace import impatient
from tests.policy_store.authority import Authority
from tests.policy_store.building import NAME, started
from tests.servers import free_port, wait_until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that server and clients trust."""
    return Authority(tmp_path_factory.mktemp("tls") / "ours", "ours")


@pytest.fixture(scope="module")
def port(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server that speaks TLS alone, and asks clients for a certificate."""
    port = free_port()
    certificate, key = authority.vouch("server")
    folder = tmp_path_factory.mktemp("server")
    options = {
        "port": "0",
        "tls-port": str(port),
        "bind": "127.0.0.1",
        "tls-cert-file": str(certificate),
        "tls-key-file": str(key),
        "tls-ca-cert-file": str(authority.file),
        "dir": str(folder),
        "save": "",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    log = folder / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(["redis-server", *words], stdout=said, stderr=said)
    wait_until(lambda: process.poll() is not None or b"Ready to accept" in log.read_bytes(), "the server")
    assert process.poll() is None, log.read_text()
    yield port
    process.terminate()
    process.wait()


def url(port: int, authority: Authority, client: str | None = "client") -> str:
    """The server's address, with the files to use."""
    files = {"ssl_ca_certs": authority.file}
    if client is not None:
        files["ssl_certfile"], files["ssl_keyfile"] = authority.vouch(client)
    return f"rediss://127.0.0.1:{port}/0?" + "&".join(f"{name}={path}" for name, path in files.items())


async def test_a_private_authority_and_a_client_certificate_are_used(port: int, authority: Authority) -> None:
    """Connections, scripts included, use the files that the address names."""
    redis = connect(url(port, authority), timeout_seconds=impatient(5))
    store = PolicyStore(redis, timeout_seconds=impatient(5))
    assert (await started(store)).generation == 1
    assert (await store.view(NAME)).revision == 1
    assert (await StoreVitals(redis, timeout_seconds=impatient(5)).pulse(may_begin=True)).epoch == 1
    await store.aclose()


@pytest.mark.parametrize("lacking", ["authority", "client", "both"])
async def test_a_certificate_that_is_missing_or_anothers_is_refused(
    port: int, authority: Authority, tmp_path: Path, lacking: str
) -> None:
    """Either side refuses, and nothing is exchanged with a server of unknown identity."""
    others = Authority(tmp_path / "others", "others")
    address = {
        "authority": url(port, others),
        "client": url(port, authority, None),
        "both": f"rediss://127.0.0.1:{port}",
    }[lacking]
    store = PolicyStore(connect(address, timeout_seconds=impatient(5)), timeout_seconds=impatient(5))
    with pytest.raises(StoreUnavailableError):
        await store.token_key()
    await store.aclose()
