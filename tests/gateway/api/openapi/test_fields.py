"""The fields of requests that the OpenAPI document describes."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.api.requests.catalogue import REQUESTS
from gateway.upstream.translating.fields import PASSED, SHAPING


@pytest.mark.parametrize("kind", REQUESTS)
def test_what_is_translated_is_described(kind: Any) -> None:
    """No field reaches a provider by way of LiteLLM that the document keeps to itself."""
    assert PASSED[kind] | SHAPING[kind] <= REQUESTS[kind].fields.keys()
