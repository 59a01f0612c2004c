"""OpenAI's responses."""

from __future__ import annotations

from typing import Final

from gateway.api.requests.common import (
    EFFORT,
    LOCATION,
    MODEL,
    NUCLEUS,
    OPENAI,
    SERVERS,
    STREAM,
    TOOL_NAME,
    VERBOSITY,
)
from gateway.api.requests.shapes import (
    OBJECT,
    OBJECTS,
    TEXT,
    TEXTS,
    YES_OR_NO,
    Fields,
    Schema,
    all_or_null,
    described,
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

_DETAIL: Final[Schema] = one_of("auto", "low", "high", "original")
_STATUS: Final[Schema] = or_null(one_of("in_progress", "completed", "incomplete"))
_SUMMARY: Final[Schema] = or_null(one_of("auto", "concise", "detailed"))
_TOOL: Final[Schema] = {"type": "function", "name": "add", "parameters": {"type": "object"}}

RESPONSE_SHAPES: Final[Fields] = {
    "ResponsePart": either(
        tagged("input_text", "text", text=TEXT),
        tagged("input_image", "", image_url=or_null(TEXT), file_id=or_null(TEXT), detail=or_null(_DETAIL)),
        tagged("input_file", "", file_data=TEXT, file_id=or_null(TEXT), file_url=TEXT, filename=TEXT),
    ),
    "ResponseItem": either(
        record(
            "role content",
            type={"const": "message"},
            role=one_of("user", "assistant", "system", "developer"),
            content=either(TEXT, listed(ref("ResponsePart"))),
            status=_STATUS,
        ),
        tagged(
            "message",
            "id role content",
            id=TEXT,
            role={"const": "assistant"},
            content=listed(
                either(
                    tagged("output_text", "text", text=TEXT, annotations=OBJECTS),
                    tagged("refusal", "refusal", refusal=TEXT),
                )
            ),
            status=_STATUS,
        ),
        tagged(
            "function_call",
            "call_id name arguments",
            id=or_null(TEXT),
            call_id=TEXT,
            name=TEXT,
            arguments=TEXT,
            status=_STATUS,
        ),
        tagged(
            "function_call_output",
            "call_id output",
            id=or_null(TEXT),
            call_id=TEXT,
            output=either(TEXT, listed(ref("ResponsePart"))),
            status=_STATUS,
        ),
        tagged("custom_tool_call", "call_id name input", call_id=TEXT, name=TEXT, input=TEXT),
        tagged("custom_tool_call_output", "call_id output", call_id=TEXT, output=TEXT),
        tagged(
            "reasoning",
            "id summary",
            id=TEXT,
            summary=listed(tagged("summary_text", "text", text=TEXT)),
            encrypted_content=or_null(TEXT),
            status=_STATUS,
        ),
        tagged("item_reference", "id", id=TEXT),
    ),
    "ResponseTool": either(
        tagged(
            "function",
            "name",
            name=TOOL_NAME,
            description=or_null(TEXT),
            parameters=or_null(OBJECT),
            strict=or_null(YES_OR_NO),
        ),
        tagged("custom", "name", name=TEXT, description=TEXT, format=OBJECT),
        tagged("file_search", "vector_store_ids", vector_store_ids=TEXTS, max_num_results=whole(1, 50)),
        tagged(
            "web_search",
            "",
            search_context_size=one_of("low", "medium", "high"),
            user_location=or_null(record(**LOCATION)),
            filters=or_null(record(allowed_domains=or_null(TEXTS))),
        ),
        tagged("code_interpreter", "container", container=either(TEXT, OBJECT)),
        tagged("image_generation", "", size=TEXT, quality=TEXT),
    ),
    "ResponseToolChoice": either(
        one_of("none", "auto", "required"),
        tagged("function", "name", name=TEXT),
        tagged("custom", "name", name=TEXT),
        tagged("allowed_tools", "mode tools", mode=one_of("auto", "required"), tools=OBJECTS),
        tagged("file_search"),
        tagged("code_interpreter"),
    ),
    "ResponseFormat": either(
        tagged("text"),
        tagged("json_object"),
        tagged(
            "json_schema",
            "name schema",
            name=TOOL_NAME,
            description=TEXT,
            schema=OBJECT,
            strict=or_null(YES_OR_NO),
        ),
    ),
}
RESPONSE_FIELDS: Final[Fields] = {
    **SERVERS,
    **MODEL,
    **STREAM,
    **NUCLEUS,
    **OPENAI,
    "input": either(TEXT, listed(ref("ResponseItem"))),
    "background": described(
        {"enum": [False, None]}, "The gateway does not keep answers for later, so `true` is refused."
    ),
    **all_or_null(
        {
            "client_metadata": {"type": "object", "additionalProperties": TEXT},
            "context_management": listed(record("type", type=TEXT, compact_threshold=or_null(whole(1000)))),
            "conversation": either(TEXT, record("id", id=TEXT)),
            "include": listed(
                one_of(
                    "file_search_call.results",
                    "web_search_call.results",
                    "web_search_call.action.sources",
                    "message.input_image.image_url",
                    "computer_call_output.output.image_url",
                    "code_interpreter_call.outputs",
                    "reasoning.encrypted_content",
                    "message.output_text.logprobs",
                )
            ),
            "instructions": TEXT,
            "max_output_tokens": whole(1),
            "max_tool_calls": whole(1),
            "previous_response_id": TEXT,
            "prompt": record("id", id=TEXT, version=or_null(TEXT), variables=or_null(OBJECT)),
            "reasoning": record(effort=EFFORT, summary=_SUMMARY, generate_summary=_SUMMARY),
            "stream_options": record(include_obfuscation=YES_OR_NO),
            "text": record(format=ref("ResponseFormat"), verbosity=VERBOSITY),
            "tool_choice": ref("ResponseToolChoice"),
            "tools": with_example(listed(ref("ResponseTool")), [_TOOL]),
            "truncation": one_of("auto", "disabled"),
        }
    ),
}
