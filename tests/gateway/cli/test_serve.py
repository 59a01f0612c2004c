"""How `llmpo serve` starts, and what it refuses before. That it serves is shown in tests/chaos."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import uvicorn

from gateway.api.hosts import is_loopback
from gateway.cli import main, worker
from gateway.cli.reading import check_exposure
from gateway.cli.sockets import bind, listen, share, shown_address
from gateway.errors import ConfigError, GatewayError
from tests.gateway.building import config_fields


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gateway.example.com"])  # noqa: S104 - refused here
def test_strangers_are_kept_out_of_a_gateway_without_keys(host: str) -> None:
    """Anyone who reaches it could spend the operator's money; the refusal says how to make keys."""
    with pytest.raises(ConfigError, match="llmpo keys new"):
        check_exposure(host, has_keys=False)
    check_exposure(host, has_keys=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_no_key(host: str) -> None:
    """Trying it out takes no ceremony."""
    assert is_loopback(host)
    check_exposure(host, has_keys=False)


def test_exposed_gateway_without_keys_ends_with_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An exposed gateway without keys is a wrong configuration and gets a one-line error."""
    monkeypatch.delenv("LLMPO_CLIENT_KEYS", raising=False)
    monkeypatch.delenv("LLMPO_ADMIN_KEYS", raising=False)
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps(config_fields()))

    assert main(["serve", "--config", str(file), "--host", "0.0.0.0", "--port", "0"]) == 2  # noqa: S104 - refused here
    assert "Without API keys" in capfd.readouterr().err


def test_wrong_configuration_ends_with_status_2(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every fault is reported before anything starts."""
    fields = config_fields(delta=1.5)
    fields["experiments"]["support"]["policies"]["warm"]["model"] = "large"
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps(fields))

    assert main(["serve", "--config", str(file), "--port", "0"]) == 2
    error = capfd.readouterr().err
    assert "experiments.support.delta" in error
    assert "large" in error


def test_connections_stay_open_between_requests_as_long_as_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's own five seconds are shorter than load balancers keep theirs."""
    seen: list[int] = []

    async def serve(_app: object, server: uvicorn.Server, listener: socket.socket, *_: object) -> None:
        seen.append(server.config.timeout_keep_alive)
        listener.close()

    monkeypatch.setattr(worker, "_serve", serve)
    monkeypatch.setenv("LLMPO_KEEP_ALIVE_SECONDS", "90")
    monkeypatch.setenv("LLMPO_DATA_DIR", str(tmp_path))
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps(config_fields()))

    assert main(["serve", "--config", str(file), "--port", "0"]) == 0
    assert seen == [90]


def test_address_in_use_is_named() -> None:
    """A port in use is an error even with workers, because only the gateway's own sockets share a port."""
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        for shared in (False, True):
            with pytest.raises(GatewayError, match=f"Cannot listen on 127.0.0.1:{port}"):
                bind("127.0.0.1", port, shared=shared)


def test_workers_sockets_share_one_address() -> None:
    """Each worker's socket has the same port, and no socket accepts before it listens."""
    with bind("127.0.0.1", 0, shared=True) as reserved:
        address = reserved.getsockname()
        with share(socket.AF_INET, address) as one, share(socket.AF_INET, address) as other:
            assert one.getsockname() == other.getsockname() == address
            with socket.socket() as caller:
                assert caller.connect_ex(address) != 0
            listen(one, 1)
            with socket.socket() as caller:
                assert caller.connect_ex(address) == 0


def test_address_taken_between_binding_and_listening_is_named() -> None:
    """Two gateways that start at the same moment can both bind, and only one can listen."""
    with bind("127.0.0.1", 0) as first, bind("127.0.0.1", first.getsockname()[1]) as second:
        listen(first, 1)
        with pytest.raises(GatewayError, match=f"Cannot listen on {shown_address(second)}: Address already"):
            listen(second, 1)


def test_address_is_shown_as_a_browser_wants_it() -> None:
    """IPv6 addresses are shown in brackets."""
    with bind("::1", 0) as six, bind("127.0.0.1", 0) as four:
        assert shown_address(six) == f"http://[::1]:{six.getsockname()[1]}"
        assert shown_address(four) == f"http://127.0.0.1:{four.getsockname()[1]}"
