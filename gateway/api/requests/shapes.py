"""Building blocks for the JSON Schemas of requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

Schema = dict[str, Any]
Fields = dict[str, Schema]

TEXT: Final[Schema] = {"type": "string"}
NAME: Final[Schema] = {"type": "string", "minLength": 1}
YES_OR_NO: Final[Schema] = {"type": "boolean"}
NUMBER: Final[Schema] = {"type": "number"}
OBJECT: Final[Schema] = {"type": "object"}
TEXTS: Final[Schema] = {"type": "array", "items": TEXT}
OBJECTS: Final[Schema] = {"type": "array", "items": OBJECT}
ANY_OBJECT_OR_TEXT: Final[Schema] = {"type": ["object", "string"]}


def whole(least: int | None = None, most: int | None = None) -> Schema:
    """A whole number within bounds."""
    return {"type": "integer", **_bounds(least, most)}


def number(least: float | None = None, most: float | None = None) -> Schema:
    """A number within bounds."""
    return {"type": "number", **_bounds(least, most)}


def one_of(*values: str | int) -> Schema:
    """One of these values."""
    return {"enum": list(values)}


def listed(items: Schema, *, least: int | None = None, most: int | None = None) -> Schema:
    """A list with bounds on the number of items."""
    bounds = {"minItems": least, "maxItems": most}
    given = {name: value for name, value in bounds.items() if value is not None}
    return {"type": "array", "items": items, **given}


def record(required: str | Sequence[str] = (), /, **properties: Schema) -> Schema:
    """An object with these properties, and any others. `required` names the required ones."""
    names = required.split() if isinstance(required, str) else list(required)
    return {"type": "object", **({"required": names} if names else {}), "properties": properties}


def tagged(kind: str, required: str = "", /, **properties: Schema) -> Schema:
    """An object that is identified by its `type`."""
    return record(["type", *required.split()], type={"const": kind}, **properties)


def either(*schemas: Schema) -> Schema:
    """Any of these."""
    return {"anyOf": list(schemas)}


def or_null(schema: Schema) -> Schema:
    """The shape, or null, which means that nothing was given."""
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return either(*schema.get("anyOf", [schema]), {"type": "null"})


def all_or_null(fields: Fields) -> Fields:
    """Each of these, or null."""
    return {name: or_null(schema) for name, schema in fields.items()}


def described(schema: Schema, text: str) -> Schema:
    """The shape with a description."""
    return {**schema, "description": text}


def with_example(schema: Schema, value: Any) -> Schema:
    """The shape with an example."""
    return {**schema, "examples": [value]}


def ref(name: str) -> Schema:
    """A reference to the shape of that name in the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def _bounds(least: float | None, most: float | None) -> Schema:
    given = {"minimum": least, "maximum": most}
    return {name: bound for name, bound in given.items() if bound is not None}
