"""Only `id` and `model` change, whatever the JSON looks like; orjson and json are the judges."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import UpstreamError
from gateway.serving.json_fields import find_fields, set_found
from gateway.serving.relabelling import Label, StreamRelabeller

LABEL = Label("chatcmpl-ours", 'sup"port')
OURS = {"id": "chatcmpl-ours", "model": 'sup"port'}

texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    [
        '"id":"x"',
        '{"model":',
        "\\",
        'data: {"id":"x"',
        "]}",
        "\n\ndata: [DONE]\n\n",
        "id",
        "model",
        '\\"id":"x"',
    ]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts | st.sampled_from(["id", "model", "choices", "created"]), values, max_size=6)
styles = st.sampled_from(
    [
        {"separators": (",", ":")},
        {},
        {"indent": 2},
        {"separators": (" ,\n", " :\t")},
        {"ensure_ascii": False},
        {"sort_keys": True},
    ]
)


def written(answer: dict[str, Any], style: dict[str, Any]) -> bytes:
    """JSON as some server may write it."""
    return json.dumps(answer, **style).encode()


@given(objects, styles)
def test_a_whole_answer_parses_to_itself_but_for_the_label(
    answer: dict[str, Any], style: dict[str, Any]
) -> None:
    """Every other field keeps its value; missing ones are added."""
    assert json.loads(LABEL.relabel(written(answer, style))) == {**answer, **OURS}


@given(objects, styles)
def test_the_fields_found_are_the_objects_own(answer: dict[str, Any], style: dict[str, Any]) -> None:
    """Same names, same order, and each value's bytes parse to the value."""
    text = written(answer, style)
    names = frozenset(name.encode() for name in json.loads(text))
    fields = find_fields(text, names).values()
    found = [(field.name.decode(), json.loads(text[field.value : field.end])) for field in fields]
    assert found == list(json.loads(text).items())


def set_fields(text: bytes, values: dict[bytes, bytes]) -> bytes:
    """An object with these top-level values."""
    return set_found(text, find_fields(text, frozenset(values)), values)


def test_bytes_around_the_values_are_untouched() -> None:
    """White space, number formats, escapes and duplicate nested names stay."""
    text = b' {\n "a" : 1.10, "id"\t:\t"x" ,"n":{"id":"x","model":"m"},"model":null,"u":"\\u00e9" } '
    assert set_fields(text, {b"id": b"1", b"model": b"2"}) == text.replace(b'\t:\t"x"', b"\t:\t1").replace(
        b'"model":null', b'"model":2'
    )


def test_keys_written_with_escapes_are_found() -> None:
    """A provider may spell `id` in a way that only a parser recognises."""
    assert json.loads(set_fields(b'{"\\u0069d":"x"}', {b"id": b'"y"'})) == {"id": "y"}


def test_values_that_are_objects_are_replaced_whole() -> None:
    """This holds even if an id is not a string."""
    assert set_fields(b'{"id":{"a":[1]},"b":[2]}', {b"id": b"7"}) == b'{"id":7,"b":[2]}'


@pytest.mark.parametrize("empty", [b"{}", b" { } "])
def test_an_empty_object_gets_the_label(empty: bytes) -> None:
    """The result has no stray comma."""
    assert json.loads(LABEL.relabel(empty)) == OURS


def events(answers: list[dict[str, Any]], style: dict[str, Any], end: bytes) -> bytes:
    """Answers as one block of events; written on one line each, as JSON escapes line ends in strings."""
    one_line = {name: value for name, value in style.items() if name != "indent"} or {
        "separators": (",", ":")
    }
    flat = {**one_line, "separators": (",", ":")} if "separators" in one_line else one_line
    return b"".join(b"data: " + written(answer, flat) + end + end for answer in answers)


def parsed(block: bytes) -> list[dict[str, Any]]:
    """The events of a block."""
    return [json.loads(line[5:]) for line in block.splitlines() if line.startswith(b"data:")]


@settings(deadline=None)
@given(
    st.lists(st.lists(objects, min_size=1, max_size=4), max_size=4), styles, st.sampled_from([b"\n", b"\r\n"])
)
def test_every_event_of_any_stream_is_relabelled(
    blocks: list[list[dict[str, Any]]], style: dict[str, Any], end: bytes
) -> None:
    """Events that differ in everything, ids that change, fields missing: each gets the label, no more."""
    relabeller = StreamRelabeller(LABEL)
    for answers in blocks:
        assert parsed(relabeller.relabel(events(answers, style, end))) == [{**a, **OURS} for a in answers]


@settings(deadline=None)
@given(st.lists(st.lists(objects, min_size=1, max_size=4), max_size=4), styles)
def test_every_event_of_a_regular_stream_is_relabelled(
    blocks: list[list[dict[str, Any]]], style: dict[str, Any]
) -> None:
    """The usual stream, where id and model stay the same: the fast way gives what the slow way gives."""
    relabeller = StreamRelabeller(LABEL)
    for answers in blocks:
        regular = [{**answer, "model": "m", "id": "chatcmpl-1"} for answer in answers]
        block = events(regular, style, b"\n")
        assert parsed(relabeller.relabel(block)) == [{**a, **OURS} for a in regular]


def test_comments_names_and_the_end_pass_through() -> None:
    """Only data that is an object is changed."""
    relabeller = StreamRelabeller(LABEL)
    block = b': ping\n\nevent: chunk\nid: 3\ndata: {"id":"a","model":"b"}\n\ndata: [DONE]\n\n'
    expected = block.replace(b'"a"', orjson.dumps(OURS["id"])).replace(b'"b"', orjson.dumps(OURS["model"]))
    assert relabeller.relabel(block) == expected
    assert relabeller.relabel(block) == expected
    assert relabeller.relabel(b": ping\n\n") == b": ping\n\n"
    assert relabeller.relabel(b"data: [DONE]\n\n") == b"data: [DONE]\n\n"


def test_data_over_several_lines_is_understood() -> None:
    """An event may be split over lines anywhere between two tokens."""
    out = StreamRelabeller(LABEL).relabel(b'data: {"id":"a",\ndata: "model":"b"}\n\n')
    assert parsed(out) == [OURS]


@pytest.mark.parametrize("bad", [b'data: {"id":\n\n', b"data: [1]\n\n", b"data: nope\n\n"])
def test_a_malformed_event_is_not_passed_on(bad: bytes) -> None:
    """What cannot be relabelled could name the model."""
    relabeller = StreamRelabeller(LABEL)
    relabeller.relabel(b'data: {"id":"a","model":"b"}\n\n')
    with pytest.raises(UpstreamError, match="malformed"):
        relabeller.relabel(bad)


def test_text_that_looks_like_a_label_is_left_alone() -> None:
    """A model may say anything, even the bytes that are being replaced."""
    said = '"id":"chatcmpl-1" and "model":"m"\n\ndata: {"id":"chatcmpl-1"}'
    answer = {"id": "chatcmpl-1", "model": "m", "choices": [{"delta": {"content": said}}]}
    relabeller = StreamRelabeller(LABEL)
    for _ in range(3):
        assert parsed(relabeller.relabel(events([answer, answer], {}, b"\n"))) == [{**answer, **OURS}] * 2
