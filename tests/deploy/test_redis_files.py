"""The documented configuration of Redis servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import CONFIGURATIONS

OF_ONE_SERVER = {"bind", "dir", "latency-tracking-info-percentiles", "loglevel", "port", "replicaof", "user"}


@pytest.mark.parametrize("file", sorted(CONFIGURATIONS.glob("*.conf")), ids=lambda file: file.name)
def test_the_files_hold_nothing_that_belongs_to_one_server(file: Path) -> None:
    """Folder, port and users are each server's own; a server that rewrites its file writes them into it."""
    lines = file.read_text(encoding="utf-8").splitlines()
    directives = {line.split()[0] for line in lines if line and not line.startswith("#")}
    assert directives.isdisjoint(OF_ONE_SERVER)
    assert "CONFIG REWRITE" not in file.read_text(encoding="utf-8")
