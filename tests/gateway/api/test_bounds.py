"""How much structure a request may have, at each bound and one beyond it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.api.bounds import ASKING, CONTROLLING, Bounds, check_shape
from gateway.errors import InvalidRequestError


def nested(depth: int) -> dict[str, Any]:
    """A request of so many objects inside each other."""
    return {"x": nested(depth - 1)} if depth > 1 else {}


def at_the_bounds(bounds: Bounds, more: int = 0) -> list[dict[str, Any]]:
    """Requests that reach one bound each, or lie so much beyond it."""
    return [
        nested(bounds.nesting + more),
        {str(number): 1 for number in range(bounds.own_fields + more)},
        {"x" * (bounds.name_characters + more): 1},
        {"x": {"x" * (bounds.name_characters + more): 1}},
        {"x": [[]] * (bounds.containers - 2 + more)},
        {"x": [1] * (bounds.items + more)},
        {"x": {str(number): 1 for number in range(bounds.fields - 1 + more)}},
    ]


@pytest.mark.parametrize("bounds", [ASKING, CONTROLLING])
def test_each_bound_holds_however_short_the_text_is(bounds: Bounds) -> None:
    """Short texts are not looked at as closely, because they cannot be beyond most bounds."""
    for request in at_the_bounds(bounds):
        check_shape(request, bounds, orjson.dumps(request))
    for request in at_the_bounds(bounds, more=1):
        with pytest.raises(InvalidRequestError, match="The request has"):
            check_shape(request, bounds, orjson.dumps(request))
