"""What a judge can be shown: texts, in each kind of request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.judging.texts import conversation_text, finished_text_in, text_to_judge, without_thought
from gateway.upstream.surfaces import CHAT, MESSAGES, RESPONSES, Surface

TURNS = [{"role": "user", "content": "North?"}, {"role": "assistant", "content": "Up."}]
PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}


@pytest.mark.parametrize(
    ("surface", "payload", "shown"),
    [
        (CHAT, {"messages": TURNS[:1]}, "North?"),
        (CHAT, {"messages": TURNS, "tools": [], "n": 1}, "user: North?\n\nassistant: Up."),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}, "Hi"),
        (CHAT, {"messages": TURNS, "tools": [{"type": "function"}]}, None),
        (CHAT, {"messages": TURNS, "n": 2}, None),
        (CHAT, {"messages": [{"role": "user", "content": [PICTURE]}]}, None),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": {}, "text": "Hi"}]}]}, None),
        (CHAT, {"messages": [*TURNS, {"role": "tool", "content": "7"}]}, None),
        (CHAT, {"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]}, None),
        (CHAT, {"messages": [{"role": "user", "content": None}]}, None),
        (CHAT, {"messages": ["North?"]}, None),
        (CHAT, {"messages": []}, None),
        (MESSAGES, {"messages": TURNS[:1], "system": "Be brief."}, "system: Be brief.\n\nuser: North?"),
        (MESSAGES, {"messages": [{"role": "user", "content": [{"type": "image"}]}]}, None),
        (RESPONSES, {"input": "North?"}, "North?"),
        (RESPONSES, {"input": TURNS[:1], "instructions": "Be brief."}, "system: Be brief.\n\nuser: North?"),
        (RESPONSES, {"input": [*TURNS, {"type": "function_call_output", "output": "7"}]}, None),
        (RESPONSES, {"input": "And south?", "previous_response_id": "resp_1"}, None),
    ],
)
def test_conversations_of_texts_are_shown(
    surface: Surface, payload: dict[str, Any], shown: str | None
) -> None:
    """One message is shown alone, several with their authors; anything but texts is not judged."""
    assert conversation_text(payload, surface) == shown


def _chat(message: dict[str, Any], *more: dict[str, Any]) -> dict[str, Any]:
    return {"choices": [{"message": message}, *more]}


def _chat_end(why: str | None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": "A", **fields}, "finish_reason": why}]}


@pytest.mark.parametrize(
    ("surface", "answer", "text"),
    [
        (CHAT, _chat({"content": " Up.\n\n- there\n"}), "Up.\n\n- there"),
        (CHAT, _chat({"content": "<think>Hm.</think>\nUp."}), "Up."),
        (CHAT, _chat({"content": ""}), None),
        (CHAT, _chat({"content": "Up.", "tool_calls": [{}]}), None),
        (CHAT, _chat({"content": None}), None),
        (CHAT, _chat({"content": "Up."}, {"message": {"content": "Down."}}), None),
        (CHAT, {"choices": None}, None),
        (CHAT, "Up.", None),
        (MESSAGES, {"content": [{"type": "thinking"}, {"type": "text", "text": "Up."}]}, "Up."),
        (MESSAGES, {"content": [{"type": "tool_use"}]}, None),
        (
            RESPONSES,
            {
                "output": [
                    {"type": "reasoning"},
                    {"type": "message", "content": [{"type": "output_text", "text": "Up."}]},
                ]
            },
            "Up.",
        ),
        (RESPONSES, {"output": [{"type": "function_call"}]}, None),
        (RESPONSES, {"output": [{"type": ["message"]}]}, None),
    ],
)
def test_answers_are_read_as_texts(surface: Surface, answer: Any, text: str | None) -> None:
    """Line breaks stay, a model's thinking goes, and what calls a tool or is empty is no text."""
    assert text_to_judge(answer, surface) == text


@pytest.mark.parametrize(
    ("surface", "answer", "text"),
    [
        (CHAT, _chat_end("stop"), "A"),
        (CHAT, _chat_end("eos"), "A"),
        (CHAT, _chat_end(None), "A"),
        (CHAT, _chat_end("length"), None),
        (CHAT, _chat_end("content_filter"), None),
        (CHAT, _chat_end("stop", refusal="I will not."), None),
        (CHAT, "A", None),
        (MESSAGES, {"content": [{"type": "text", "text": "A"}], "stop_reason": "end_turn"}, "A"),
        (MESSAGES, {"content": [{"type": "text", "text": "A"}], "stop_reason": "max_tokens"}, None),
        (MESSAGES, {"content": [{"type": "text", "text": "A"}], "stop_reason": "refusal"}, None),
    ],
)
def test_what_did_not_end_of_itself_is_not_read(surface: Surface, answer: Any, text: str | None) -> None:
    """Text that was refused, filtered or cut off may have gone on to say something else."""
    assert finished_text_in(json.dumps(answer).encode(), surface) == text


def test_what_is_no_json_is_not_read() -> None:
    """A provider may send anything."""
    assert finished_text_in(b"A", CHAT) is None


def test_nothing_is_left_of_a_thought() -> None:
    """A model that only thought said nothing."""
    assert without_thought("<think>Hm.</think> ") is None
