"""OpenAI's chat completions."""

from __future__ import annotations

from typing import Final

from gateway.api.requests.common import (
    EFFORT,
    LOCATION,
    MODEL,
    NUCLEUS,
    OPENAI,
    PENALTIES,
    SERVERS,
    STOP,
    STREAM,
    TOOL_NAME,
    VERBOSITY,
)
from gateway.api.requests.shapes import (
    OBJECT,
    OBJECTS,
    TEXT,
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

_CACHE_MARK: Final[Schema] = record("mode", mode=one_of("explicit"))
_TEXT_PARTS: Final[Schema] = listed(ref("ChatTextPart"))
_CUSTOM_FORMAT: Final[Schema] = either(
    tagged("text"),
    tagged(
        "grammar",
        "grammar",
        grammar=record("definition syntax", definition=TEXT, syntax=one_of("lark", "regex")),
    ),
)
_CALLED: Final[Schema] = record("name arguments", name=TEXT, arguments=TEXT)
_TOOL: Final[Schema] = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def _message(role: str, required: str = "content", /, **properties: Schema) -> Schema:
    return record(["role", *required.split()], role={"const": role}, **properties)


CHAT_SHAPES: Final[Fields] = {
    "ChatTextPart": tagged("text", "text", text=TEXT, prompt_cache_breakpoint=_CACHE_MARK),
    "ChatPart": either(
        ref("ChatTextPart"),
        tagged(
            "image_url",
            "image_url",
            image_url=record("url", url=TEXT, detail=one_of("auto", "low", "high")),
            prompt_cache_breakpoint=_CACHE_MARK,
        ),
        tagged(
            "input_audio",
            "input_audio",
            input_audio=record("data format", data=TEXT, format=one_of("wav", "mp3")),
        ),
        tagged("file", "file", file=record(file_data=TEXT, file_id=TEXT, filename=TEXT)),
    ),
    "ChatToolCall": either(
        tagged("function", "id function", id=TEXT, function=_CALLED),
        tagged("custom", "id custom", id=TEXT, custom=record("name input", name=TEXT, input=TEXT)),
    ),
    "ChatMessage": either(
        _message("user", content=either(TEXT, listed(ref("ChatPart"))), name=TEXT),
        _message("system", content=either(TEXT, _TEXT_PARTS), name=TEXT),
        _message("developer", content=either(TEXT, _TEXT_PARTS), name=TEXT),
        _message(
            "assistant",
            "",
            content=or_null(
                either(TEXT, listed(either(ref("ChatTextPart"), tagged("refusal", "refusal", refusal=TEXT))))
            ),
            name=TEXT,
            refusal=or_null(TEXT),
            audio=or_null(record("id", id=TEXT)),
            tool_calls=listed(ref("ChatToolCall")),
            function_call=or_null(_CALLED),
        ),
        _message("tool", "content tool_call_id", content=either(TEXT, _TEXT_PARTS), tool_call_id=TEXT),
        _message("function", "content name", content=or_null(TEXT), name=TEXT),
    ),
    "ChatTool": either(
        tagged(
            "function",
            "function",
            function=record(
                "name", name=TOOL_NAME, description=TEXT, parameters=OBJECT, strict=or_null(YES_OR_NO)
            ),
        ),
        tagged("custom", "custom", custom=record("name", name=TEXT, description=TEXT, format=_CUSTOM_FORMAT)),
    ),
    "ChatToolChoice": either(
        one_of("none", "auto", "required"),
        tagged("function", "function", function=record("name", name=TEXT)),
        tagged("custom", "custom", custom=record("name", name=TEXT)),
        tagged(
            "allowed_tools",
            "allowed_tools",
            allowed_tools=record("mode tools", mode=one_of("auto", "required"), tools=OBJECTS),
        ),
    ),
    "ChatResponseFormat": either(
        tagged("text"),
        tagged("json_object"),
        tagged(
            "json_schema",
            "json_schema",
            json_schema=record(
                "name", name=TOOL_NAME, description=TEXT, schema=OBJECT, strict=or_null(YES_OR_NO)
            ),
        ),
    ),
}
CHAT_FIELDS: Final[Fields] = {
    **SERVERS,
    **MODEL,
    **STREAM,
    **NUCLEUS,
    **PENALTIES,
    **OPENAI,
    "messages": listed(ref("ChatMessage"), least=1),
    **all_or_null(
        {
            "audio": record(
                "format voice",
                format=one_of("wav", "aac", "mp3", "flac", "opus", "pcm16"),
                voice=either(TEXT, record("id", id=TEXT)),
            ),
            "function_call": either(one_of("none", "auto"), record("name", name=TEXT)),
            "functions": listed(
                record("name", name=TOOL_NAME, description=TEXT, parameters=OBJECT), least=1, most=128
            ),
            "logprobs": YES_OR_NO,
            "max_completion_tokens": whole(1),
            "max_tokens": whole(1),
            "modalities": listed(one_of("text", "audio")),
            "n": whole(1),
            "prediction": tagged("content", "content", content=either(TEXT, _TEXT_PARTS)),
            "reasoning_effort": EFFORT,
            "response_format": ref("ChatResponseFormat"),
            "stop": STOP,
            "stream_options": record(include_usage=YES_OR_NO, include_obfuscation=YES_OR_NO),
            "tool_choice": ref("ChatToolChoice"),
            "tools": with_example(listed(ref("ChatTool")), [_TOOL]),
            "verbosity": VERBOSITY,
            "web_search_options": record(
                search_context_size=one_of("low", "medium", "high"),
                user_location=or_null(tagged("approximate", "approximate", approximate=record(**LOCATION))),
            ),
        }
    ),
}
