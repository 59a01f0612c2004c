"""Servers end with the block that started them, whatever ends the block; one that fails says why."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.real_models.processes import ServerDiedError, running
from tests.servers import free_port


def test_a_failing_block_ends_its_server(tmp_path: Path) -> None:
    """The port is free again once the block has raised."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    arguments = ["-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    with (
        pytest.raises(LookupError),
        running(arguments, ready_url=url, ready_seconds=10, log=tmp_path / "log"),
    ):
        raise LookupError
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=5)


def test_a_server_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    """The status and the end of the log are in the error."""
    arguments = ["-c", "import sys; sys.exit('no such weights')"]
    url = f"http://127.0.0.1:{free_port()}/"
    with (
        pytest.raises(ServerDiedError, match=r"(?s)status 1:.*no such weights"),
        running(arguments, ready_url=url, ready_seconds=10, log=tmp_path / "log"),
    ):
        pass
