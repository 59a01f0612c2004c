"""The OpenAPI document: every route, including the bare ASGI ones, and the errors they may answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from fastapi import FastAPI

from gateway.api.count_tokens import COUNT_TOKENS_PATH
from gateway.api.feedback_links import LINK_PATH
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
_MEANINGS: Final = {
    400: "The request is wrong; the message says where.",
    401: "The key is missing or wrong.",
    403: "The key may not do this.",
    404: "There is nothing of that name.",
    408: "The request took too long to arrive.",
    409: "The present state does not allow it.",
    410: "The link has expired.",
    413: "The request is too large.",
    415: "The request is not JSON.",
    422: "The request is well-formed but cannot be carried out.",
    429: "A limit is reached, the gateway's or the provider's.",
    500: "The gateway failed.",
    502: "The provider failed.",
    503: "Something that is needed is not available now.",
    504: "The provider did not answer in time.",
}
_ASKING: Final = (400, 401, 404, 408, 413, 415, 422, 429, 500, 502, 503, 504)
_READING: Final = (400, 401, 403, 404, 500, 503)
_WRITING: Final = (*_READING, 408, 409, 413, 415, 422)


def openapi_document(app: FastAPI) -> Callable[[], Schema]:
    """A replacement for `app.openapi` that makes the document anew each time: routes change with the app."""
    described = app.openapi

    def document() -> Schema:
        app.openapi_schema = None
        whole = described()
        for path, operations in whole["paths"].items():
            for method, operation in operations.items():
                # The gateway answers 400 where FastAPI would answer 422.
                operation["responses"].pop("422", None)
                statuses = _READING if method == "get" else _WRITING
                if path == LINK_PATH:
                    statuses = (*statuses, 410)
                if path == COUNT_TOKENS_PATH:
                    errors = _errors(_ASKING, "AnthropicError")
                else:
                    errors = _errors(statuses, "Error")
                operation["responses"] = {**errors, **operation["responses"]}
        whole["paths"].update(_inference_paths())
        components = whole.setdefault("components", {})
        components.setdefault("schemas", {}).update({**SHAPES, **_ERRORS})
        for name in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(name, None)
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        whole["security"] = [{}, {"key": []}]
        return whole

    return document


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
                    **_errors(_ASKING, "AnthropicError" if surface.wire == "anthropic" else "Error"),
                },
            }
        }
    return paths


def _errors(statuses: Iterable[int], kind: str) -> Schema:
    schema = {"$ref": f"#/components/schemas/{kind}"}
    return {
        str(status): {
            "description": _MEANINGS[status],
            "content": {"application/json": {"schema": schema}},
        }
        for status in statuses
    }
