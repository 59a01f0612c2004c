"""Tests that hold whichever version of HTTP the provider is asked over: `pytestmark = both_protocols`."""

from __future__ import annotations

from typing import Final

import pytest

from tests.gateway.fake_http2 import FakeHttp2Upstream
from tests.gateway.fake_upstream import FakeUpstream

PROVIDERS: Final[dict[str, type[FakeUpstream]]] = {"HTTP/1.1": FakeUpstream, "HTTP/2": FakeHttp2Upstream}

both_protocols = pytest.mark.parametrize("protocol", list(PROVIDERS), indirect=True)
