"""A store over TLS, with certificates of a private authority, on a real server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from policy_store.connect import connect
from policy_store.errors import StoreUnavailableError
from policy_store.store import PolicyStore
from policy_store.vitals import StoreVitals
from tests.pace import impatient
from tests.policy_store.building import NAME, started
from tests.servers import free_port, wait_until

DAY: Final = timedelta(days=1)


class Authority:
    """A private certificate authority; its files and the certificates it signs are in `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir()
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / "ca.pem"
        self._write("ca", self._key, self._certificate(self._name, self._key, is_authority=True))

    def vouch(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of a server or client on this machine."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._write(name, key, self._certificate(subject, key, is_authority=False))
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_authority: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        # Python 3.13 and later ask for all that RFC 5280 does.
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
        )
        may = x509.KeyUsage(
            digital_signature=not is_authority,
            key_cert_sign=is_authority,
            crl_sign=is_authority,
            encipher_only=False,
            decipher_only=False,
            **usage,
        )
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(may, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(issuer, critical=False)
            .add_extension(names, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        (self.folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (self.folder / f"{name}.key").write_bytes(private)


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
