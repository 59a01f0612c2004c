"""The OpenAPI document: every route, the bare ones included, and the errors all of them answer with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import FastAPI

from gateway.api.inference import ENDPOINTS
from gateway.upstream.surfaces import SurfaceName

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_WHOLE_NUMBER: Final[Schema] = {"type": "integer", "minimum": 1}
_MESSAGES: Final[Schema] = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role"],
        "properties": {
            "role": {"type": "string", "minLength": 1, "examples": ["user"]},
            "content": {"anyOf": [_TEXT, {"type": "array", "items": {"type": "object"}}, {"type": "null"}]},
        },
    },
}
_METADATA: Final[Schema] = {
    "type": "object",
    "properties": {
        "session_id": {"type": "string", "description": "The session, for `unit: session`."},
        "user_id": {"type": "string", "description": "The user, where no session is named."},
    },
}
_USER: Final[dict[str, Schema]] = {
    name: {"type": "string", "description": "The user, for `unit: session` where no session is named."}
    for name in ("user", "safety_identifier")
}
_COMMON: Final[dict[str, Schema]] = {
    "model": {"type": "string", "minLength": 1, "description": "A model or an experiment of the gateway."},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
}
_STREAM: Final[dict[str, Schema]] = {"stream": {"type": "boolean"}}
_TEXTS: Final[Schema] = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}

_EVENT: Final[Schema] = {
    "type": "object",
    "required": ["data"],
    "properties": {"event": _TEXT, "data": _TEXT},
}

# What the gateway relies on; everything else that providers know may be sent as well.
_REQUESTS: Final[Mapping[SurfaceName, tuple[str, list[str], dict[str, Schema]]]] = {
    "chat": (
        "Answer a conversation (OpenAI's chat completions).",
        ["model", "messages"],
        {**_STREAM, "messages": _MESSAGES, "n": _WHOLE_NUMBER, "metadata": _METADATA, **_USER},
    ),
    "responses": (
        "Answer an input (OpenAI's responses).",
        ["model", "input"],
        {
            **_STREAM,
            "input": {"anyOf": [_TEXT, {"type": "array", "items": {"type": "object"}}]},
            "instructions": _TEXT,
            "max_output_tokens": _WHOLE_NUMBER,
            "metadata": _METADATA,
            **_USER,
        },
    ),
    "completions": (
        "Continue a text (OpenAI's completions); plain models only.",
        ["model", "prompt"],
        {**_STREAM, "prompt": _TEXTS, "max_tokens": _WHOLE_NUMBER},
    ),
    "embeddings": (
        "Embed texts (OpenAI's embeddings); plain models only.",
        ["model", "input"],
        {"input": _TEXTS, "encoding_format": {"enum": ["float", "base64"]}},
    ),
    "messages": (
        "Answer a conversation (Anthropic's messages).",
        ["model", "messages", "max_tokens"],
        {
            **_STREAM,
            "messages": _MESSAGES,
            "max_tokens": _WHOLE_NUMBER,
            "system": {"anyOf": [_TEXT, {"type": "array", "items": {"type": "object"}}]},
            "metadata": _METADATA,
        },
    ),
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
        components.setdefault("schemas", {}).update(_ERRORS)
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
        summary, required, properties = _REQUESTS[surface.name]
        request = {"type": "object", "required": required, "properties": {**_COMMON, **properties}}
        answer: Schema = {
            "type": "object",
            "required": [surface.items],
            "properties": {surface.items: {"type": "array"}},
        }
        content: Schema = {"application/json": {"schema": answer}}
        if "stream" in properties:
            content["text/event-stream"] = {"schema": _EVENT}
        paths[path] = {
            "post": {
                "tags": ["models"],
                "summary": summary,
                "operationId": surface.name,
                "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
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
