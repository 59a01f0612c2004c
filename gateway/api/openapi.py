"""The OpenAPI document: every route, the bare ones included, and the errors all of them answer with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastapi import FastAPI

from gateway.api.inference import ENDPOINTS
from gateway.api.requests.catalogue import REQUESTS, SHAPES
from gateway.api.requests.shapes import Schema

_TEXT: Final[Schema] = {"type": "string"}
_EVENT: Final[Schema] = {
    "type": "object",
    "required": ["data"],
    "properties": {"event": _TEXT, "data": _TEXT},
}
_ERRORS: Final[dict[str, Schema]] = {
    "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type"],
                "properties": {
                    "message": _TEXT,
                    "type": {"type": ["string", "null"]},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "integer", "null"]},
                },
            }
        },
    },
    "AnthropicError": {
        "type": "object",
        "required": ["type", "error"],
        "properties": {
            "type": {"const": "error"},
            "error": {
                "type": "object",
                "required": ["type", "message"],
                "properties": {"type": _TEXT, "message": _TEXT},
            },
        },
    },
}


def openapi_document(app: FastAPI) -> Callable[[], Schema]:
    """What `app.openapi` answers. Made anew each time: routes come and go with the app's lifespan."""
    described = app.openapi

    def document() -> Schema:
        app.openapi_schema = None
        whole = described()
        for operation in _operations(whole):
            # The gateway answers 400 where FastAPI would 422.
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = _error("Error")
        whole["paths"].update(_inference_paths())
        components = whole.setdefault("components", {})
        components.setdefault("schemas", {}).update({**SHAPES, **_ERRORS})
        for name in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(name, None)
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        whole["security"] = [{}, {"key": []}]
        return whole

    return document


def _operations(document: Schema) -> list[Schema]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def _inference_paths() -> Schema:
    paths: Schema = {}
    for path, surface, _ in ENDPOINTS:
        request = REQUESTS[surface.name]
        answer: Schema = {
            "type": "object",
            "required": [surface.items],
            "properties": {surface.items: {"type": "array"}},
        }
        content: Schema = {"application/json": {"schema": answer}}
        if "stream" in request.fields:
            content["text/event-stream"] = {"schema": _EVENT}
        paths[path] = {
            "post": {
                "tags": ["models"],
                "summary": request.summary,
                "operationId": surface.name,
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": request.schema}},
                },
                "responses": {
                    "200": {"description": "The answer.", "content": content},
                    "default": _error("AnthropicError" if surface.wire == "anthropic" else "Error"),
                },
            }
        }
    return paths


def _error(kind: str) -> Schema:
    return {
        "description": "What went wrong.",
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind}"}}},
    }
