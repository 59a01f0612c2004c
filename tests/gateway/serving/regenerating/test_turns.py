"""What makes two conversations show the same question, and two texts the same answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.feedback import RegenerateSpec
from gateway.serving.sketches import SHINGLES, Sketch, which_was_kept
from gateway.serving.streamed_text import StreamedText, ended_response
from gateway.serving.turns import answer_text, turns_of
from gateway.upstream.surfaces import CHAT, MESSAGES, RESPONSES, Surface

SECRET = bytes(32)
RULES = RegenerateSpec()
ASKED = {"role": "user", "content": "Which way?"}
TOLD = {"role": "assistant", "content": "North."}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TEXTS = st.text(st.sampled_from("ab c\n.,éß中日"), min_size=1, max_size=300)


def asked(*messages: dict[str, Any], surface: Surface = CHAT, **fields: Any) -> Any:
    """The turns of a conversation."""
    holder = "input" if surface is RESPONSES else "messages"
    return turns_of({holder: list(messages), **fields}, surface)


@pytest.mark.parametrize("surface", [CHAT, MESSAGES, RESPONSES])
def test_the_question_of_one_request_is_the_answered_one_of_the_next(surface: Surface) -> None:
    """The next request contains the question and, after it, the answer, whatever it asks then."""
    before = asked(ASKED, surface=surface)
    after = asked(ASKED, TOLD, {"role": "user", "content": "And back?"}, surface=surface)
    assert (after.answered, after.kept) == (before.asked, "North.")
    assert before.answered is None
    assert after.asked not in (None, before.asked)


def test_no_two_conversations_of_the_same_letters_are_the_same() -> None:
    """The limits of messages and their authors matter, not only the letters."""
    found = {
        asked({"role": "user", "content": "a b"}).asked,
        asked({"role": "user", "content": "a"}, {"role": "user", "content": "b"}).asked,
        asked({"role": "system", "content": "a"}, {"role": "user", "content": "b"}).asked,
        asked({"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}).asked,
    }
    assert len(found) == 4


@pytest.mark.parametrize(
    ("one", "other", "surface"),
    [
        ("Caf\u00e9", "Cafe\u0301", CHAT),
        ("a  b", [{"type": "text", "text": "a"}, {"type": "text", "text": "\nb"}], CHAT),
        ("a", [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}], MESSAGES),
        ("a", [{"type": "input_text", "text": "a"}], RESPONSES),
    ],
)
def test_spelling_is_not_meaning(one: Any, other: Any, surface: Surface) -> None:
    """Clients differ in it, and even one client from turn to turn."""
    said = [asked({"role": "user", "content": each}, surface=surface).asked for each in (one, other)]
    assert said[0] == said[1]


def test_an_image_belongs_to_the_question() -> None:
    """The same words about another picture ask something else."""
    said = [
        asked({"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}).asked
        for url in ("data:a", "data:b")
    ]
    assert said[0] != said[1]


def test_instructions_outside_of_the_conversation_belong_to_it() -> None:
    """Messages and responses have a field for them."""
    assert asked(ASKED, surface=MESSAGES).asked != asked(ASKED, surface=MESSAGES, system="Brief.").asked
    assert asked(ASKED, surface=RESPONSES).asked != asked(ASKED, surface=RESPONSES, instructions="x").asked
    assert turns_of({"input": "Which way?"}, RESPONSES) == asked(ASKED, surface=RESPONSES)


@pytest.mark.parametrize(
    "messages",
    [
        [
            ASKED,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "content": "x"},
        ],
        [ASKED, TOLD],
    ],
)
def test_a_loop_of_tools_and_a_text_to_go_on_with_ask_nothing(messages: list[dict[str, Any]]) -> None:
    """A loop of tools and a text to continue belong to the question before them."""
    found = asked(*messages)
    assert (found.asked, found.answered, found.kept) == (None, asked(ASKED).asked, None)


def test_an_answer_that_took_tools_was_not_kept_by_a_person() -> None:
    """The client went on by itself."""
    called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    found = asked(ASKED, called, {"role": "tool", "content": "x"}, TOLD, ASKED)
    assert (found.answered, found.kept) == (asked(ASKED).asked, None)


def test_thoughts_are_not_part_of_an_answer() -> None:
    """Some clients send them back, others do not."""
    thinking = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "North."}]
    assert answer_text({"content": thinking}, MESSAGES) == "North."
    chat = {"choices": [{"message": {"content": "<think>Hm.</think>\n\nNorth."}}]}
    assert answer_text(chat, CHAT) == "North."


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"choices": []},
        {"choices": [{"message": {"content": "a"}}, None]},
        {"choices": [{"message": {"content": "a", "tool_calls": [CALL]}}]},
        {"choices": [{"message": {"content": None}}]},
        {"choices": [{"message": {"content": [{"type": {}, "text": "a"}]}}]},
        {"choices": [{"message": {"content": "a", "function_call": {"arguments": "\ud800"}}}]},
        {"choices": [{"message": {"content": "a", "function_call": {"arguments": 10**30}}}]},
    ],
)
def test_what_is_more_than_a_text_or_none_is_compared_with_nothing(answer: dict[str, Any]) -> None:
    """An answer that is not exactly one text has no comparison, even one that no provider should send."""
    assert answer_text(answer, CHAT) == ""


def test_a_stream_that_calls_a_tool_or_breaks_its_format_has_no_text() -> None:
    """Such a stream has no text, whatever else it contains."""
    for odd in (b'{"choices":[{"index":0,"delta":{"tool_calls":[{"id":"c"}]}}]}', b"no JSON", b"[]"):
        text = StreamedText(CHAT)
        text.read(b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n')
        assert text.text == "Hi"
        text.read(b"data: " + odd + b"\n\n")
        assert text.text == ""
        assert not text.is_over
        text.read(b"data: [DONE]\n\n")
        assert text.is_over


@pytest.mark.parametrize("kind", [{}, [], ["text"], None, 3, True])
@pytest.mark.parametrize("surface", [CHAT, MESSAGES, RESPONSES])
def test_a_kind_of_any_type_is_no_fault(surface: Surface, kind: Any) -> None:
    """Callers and providers may send anything where a part, an item or an event says what it is."""
    part = {"type": kind, "text": "Hi"}
    assert asked({"role": "user", "content": [part]}, part, ASKED, surface=surface).question == "Which way?"

    event = json.dumps({"type": kind, "delta": part, "response": {"output": [part]}})
    begun = json.dumps({"type": "content_block_start", "content_block": part})
    text = StreamedText(surface)
    text.read(f"data: {event}\n\ndata: {begun}\n\n".encode())
    assert (text.text, text.is_over) == ("", False)
    assert ended_response(f'data: {event}\n\ndata: "response.completed"\n\n'.encode()) is None


@given(TEXTS)
def test_a_text_is_as_similar_to_itself_as_can_be(text: str) -> None:
    """A text has similarity 1 to itself even after its sketch was written and read."""
    sketch = Sketch.of(text, SECRET)
    assert Sketch.read(sketch.written()) == sketch
    assert sketch.similarity(sketch) == 1.0
    assert len(sketch.shingles) <= SHINGLES


@given(TEXTS, TEXTS)
def test_similarity_is_mutual_and_a_share(one: str, other: str) -> None:
    """Similarity is symmetric and between 0 and 1 for any two texts in any script."""
    first, second = Sketch.of(one, SECRET), Sketch.of(other, SECRET)
    assert first.similarity(second) == second.similarity(first)
    assert 0 <= first.similarity(second) <= 1


def test_similarity_is_near_the_share_of_runs_in_common() -> None:
    """The similarity of long texts is close to the share although a sketch holds only part of a text."""
    words = [f"w{number}" for number in range(2_000)]
    half = [*words[:1_000], *(f"v{number}" for number in range(1_000))]
    found = Sketch.of(" ".join(words), SECRET).similarity(Sketch.of(" ".join(half), SECRET))
    assert abs(found - 1 / 3) < 0.2


def test_sketches_of_two_questions_have_nothing_in_common() -> None:
    """The store therefore does not show that two people got the same answer."""
    one, other = (Sketch.of("North is up there.", bytes([byte]) * 32) for byte in (1, 2))
    assert one.exact != other.exact
    assert not one.shingles & other.shingles


def test_an_answer_is_kept_if_it_is_closer_than_the_other() -> None:
    """The closer answer counts as kept only if it is also close enough."""
    first, second = "Go up the hill and then turn left.", "Go down to the river and wait there."
    edited = f"{first} Thanks."
    sketches = [Sketch.of(text, SECRET) for text in (first, second)]

    def kept(text: str) -> Any:
        return which_was_kept(Sketch.of(text, SECRET), sketches[0], sketches[1], RULES)

    assert [kept(text) for text in (first, second, edited, "Something else.")] == [0, 1, 0, "tie"]
