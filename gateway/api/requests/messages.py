"""Anthropic's messages."""

from __future__ import annotations

from typing import Final

from gateway.api.requests.common import METADATA, MODEL, NUCLEUS, STREAM
from gateway.api.requests.shapes import (
    OBJECT,
    OBJECTS,
    TEXT,
    TEXTS,
    YES_OR_NO,
    Fields,
    Schema,
    all_or_null,
    either,
    listed,
    one_of,
    or_null,
    record,
    ref,
    tagged,
    whole,
    with_example,
)

_CACHED: Final[Schema] = or_null(tagged("ephemeral", "", ttl=one_of("5m", "1h")))
_BASE64: Final[Fields] = {"media_type": TEXT, "data": TEXT}
_TOOL: Final[Schema] = {"name": "add", "input_schema": {"type": "object"}}

MESSAGE_SHAPES: Final[Fields] = {
    "AnthropicText": tagged("text", "text", text=TEXT, cache_control=_CACHED),
    "AnthropicImage": tagged(
        "image",
        "source",
        source=either(
            tagged("base64", "media_type data", **_BASE64),
            tagged("url", "url", url=TEXT),
            tagged("file", "file_id", file_id=TEXT),
        ),
        cache_control=_CACHED,
    ),
    "AnthropicBlock": either(
        ref("AnthropicText"),
        ref("AnthropicImage"),
        tagged(
            "document",
            "source",
            source=either(
                tagged("base64", "media_type data", **_BASE64),
                tagged("text", "media_type data", **_BASE64),
                tagged("url", "url", url=TEXT),
            ),
            title=or_null(TEXT),
            context=or_null(TEXT),
            citations=or_null(record(enabled=YES_OR_NO)),
            cache_control=_CACHED,
        ),
        tagged("tool_use", "id name input", id=TEXT, name=TEXT, input=OBJECT, cache_control=_CACHED),
        tagged(
            "tool_result",
            "tool_use_id",
            tool_use_id=TEXT,
            content=either(TEXT, listed(either(ref("AnthropicText"), ref("AnthropicImage")))),
            is_error=YES_OR_NO,
            cache_control=_CACHED,
        ),
        tagged("thinking", "thinking signature", thinking=TEXT, signature=TEXT),
        tagged("redacted_thinking", "data", data=TEXT),
    ),
    "AnthropicMessage": record(
        "role content",
        role=one_of("user", "assistant"),
        content=either(TEXT, listed(ref("AnthropicBlock"))),
    ),
    "AnthropicTool": either(
        record(
            "name input_schema",
            type=or_null({"const": "custom"}),
            name={"type": "string", "minLength": 1, "maxLength": 128},
            description=TEXT,
            input_schema=tagged("object", "", properties=or_null(OBJECT), required=or_null(TEXTS)),
            cache_control=_CACHED,
            strict=YES_OR_NO,
        ),
        record("type name", type=TEXT, name=TEXT),
    ),
    "AnthropicToolChoice": either(
        tagged("auto", "", disable_parallel_tool_use=YES_OR_NO),
        tagged("any", "", disable_parallel_tool_use=YES_OR_NO),
        tagged("tool", "name", name=TEXT, disable_parallel_tool_use=YES_OR_NO),
        tagged("none"),
    ),
}
MESSAGE_FIELDS: Final[Fields] = {
    **MODEL,
    **STREAM,
    **NUCLEUS,
    "messages": listed(ref("AnthropicMessage"), least=1),
    "max_tokens": whole(1),
    "metadata": METADATA,
    "system": or_null(either(TEXT, listed(ref("AnthropicText")))),
    **all_or_null(
        {
            "cache_control": _CACHED,
            "compaction": OBJECT,
            "container": either(TEXT, record(id=or_null(TEXT), skills=or_null(OBJECTS))),
            "context_management": record(edits=OBJECTS),
            "inference_geo": TEXT,
            "mcp_servers": listed(tagged("url", "name url", name=TEXT, url=TEXT)),
            "output_config": record(
                effort=or_null(one_of("low", "medium", "high", "xhigh", "max")),
                format=or_null(tagged("json_schema", "schema", schema=OBJECT)),
            ),
            "output_format": tagged("json_schema", "schema", schema=OBJECT),
            "service_tier": one_of("auto", "standard_only"),
            "speed": one_of("standard", "fast"),
            "stop_sequences": TEXTS,
            "thread": either(
                tagged("create"), tagged("continue", "previous_message_id", previous_message_id=TEXT)
            ),
            "thinking": either(
                tagged("enabled", "budget_tokens", budget_tokens=whole(1024)),
                tagged("disabled"),
                tagged("adaptive"),
            ),
            "tool_choice": ref("AnthropicToolChoice"),
            "tools": with_example(listed(ref("AnthropicTool")), [_TOOL]),
            "top_k": whole(0),
        }
    ),
}
