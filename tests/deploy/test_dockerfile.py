"""The image's recipe, without building it (`test_images.py` builds and runs it)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.deploy.tools import ROOT, run

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_dockerfile_has_no_lint() -> None:
    """The linter hadolint finds nothing with every rule enabled."""
    verdict = run("hadolint", "--failure-threshold", "style", str(ROOT / "Dockerfile"))

    assert verdict.returncode == 0, verdict.stdout
    assert verdict.stdout == ""


def test_build_context_lets_in_what_is_copied_and_nothing_else() -> None:
    """Every source of a COPY is allowed by .dockerignore, and every exception there is copied."""
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    copied = {source for sources in copies for source in sources.split()}

    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert all((ROOT / source).exists() for source in copied)


def test_container_runs_as_a_numbered_user_that_is_not_root() -> None:
    """Kubernetes' runAsNonRoot can only check a number."""
    users = re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)

    assert users
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])


def test_health_check_has_no_argument_with_a_space() -> None:
    """No argument has a space, because some engines' APIs join and split the arguments again."""
    check = re.search(r"^HEALTHCHECK .*\\\n\s+CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)

    assert check
    assert not any(" " in argument for argument in json.loads(check[1]))


@contextmanager
def _server_answering(status: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/healthz"
        finally:
            server.shutdown()
            thread.join()


def _health_status(url: str, script: Path = ROOT / "deploy/healthcheck.py") -> int:
    proxied = {"http_proxy": "http://127.0.0.1:9"}  # nothing listens there
    return subprocess.run(
        [sys.executable, str(script), url], env=proxied, check=False, capture_output=True
    ).returncode


@pytest.mark.parametrize(("http_status", "exit_status"), [(200, 0), (404, 1), (503, 1)])
def test_health_check_tells_whether_the_gateway_answers_well(http_status: int, exit_status: int) -> None:
    """2xx is healthy, and a proxy meant for the providers is not asked."""
    with _server_answering(http_status) as url:
        assert _health_status(url) == exit_status


def test_health_check_fails_when_nobody_listens() -> None:
    """A refused connection is unhealthy."""
    with _server_answering(200) as url:
        pass

    assert _health_status(url) == 1
