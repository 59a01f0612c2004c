"""What the OpenAPI document says of a body that its route reads by itself."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel


@cache
def described_body(*shapes: type[BaseModel]) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body has one of these shapes; any object if there are none.

    Every gateway of a process shares the result, so it must not be changed.
    """
    schemas = [shape.model_json_schema() for shape in shapes] or [{"type": "object"}]
    return body_of({"anyOf": schemas} if shapes[1:] else schemas[0])


def body_of(schema: dict[str, Any]) -> dict[str, Any]:
    """The `openapi_extra` of a route whose body has this schema."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
