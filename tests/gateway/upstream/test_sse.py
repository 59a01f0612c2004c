"""Events are cut where they end, however the bytes arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UpstreamError
from gateway.upstream import sse
from gateway.upstream.sse import EventCutter, has_event, is_last, is_sound, payloads, split_error

events = st.lists(
    st.builds(
        lambda line, end: b"data: " + line + end + end,
        st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1).map(
            str.encode
        ),
        st.sampled_from([b"\n", b"\r\n"]),
    ),
    max_size=6,
)


@given(events, st.data())
def test_any_cutting_of_the_bytes_gives_the_same_events(stream: list[bytes], data: st.DataObject) -> None:
    """Blocks are whole events, nothing is lost or moved, nothing waits at the end."""
    whole = b"".join(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    cutter = EventCutter()
    blocks = [
        cutter.feed(whole[start:end]) for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)
    ]
    assert b"".join(blocks) == whole
    ends = {sum(len(event) for event in stream[:count]) for count in range(len(stream) + 1)}
    sizes = [sum(len(block) for block in blocks[:count]) for count in range(len(blocks) + 1)]
    assert set(sizes) <= ends


def test_an_event_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider cannot fill the memory."""
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    cutter = EventCutter()
    assert cutter.feed(b"data: " + b"x" * 990) == b""
    with pytest.raises(UpstreamError, match="without end"):
        cutter.feed(b"xxxxx")


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"data: [DONE]\n\n", True),
        (b"data:[DONE]\r\n\r\n", True),
        (b'data: {"a":1}\n\ndata: [DONE]\n\n', True),
        (b'data: {"a":"[DONE]"}\n\n', False),
        (b": [DONE]\n\n", False),
    ],
)
def test_the_last_block_is_known(block: bytes, expected: bool) -> None:
    """By its final event, not by what a model said."""
    assert is_last(block) is expected


def test_comments_are_no_events() -> None:
    """A keep-alive is not the first byte of an answer."""
    assert not has_event(b": OPENROUTER PROCESSING\n\n")
    assert has_event(b': ping\n\ndata: {"a":1}\n\n')


@pytest.mark.parametrize(
    ("block", "before", "payload"),
    [
        (b'data: {"error":{"code":1}}\n\n', b"", b'{"error":{"code":1}}'),
        (b'data:{"error": "x"}\r\n\r\n', b"", b'{"error": "x"}'),
        (b'data: {"a":1}\n\ndata: {"error":{}}\n\ndata: [DONE]\n\n', b'data: {"a":1}\n\n', b'{"error":{}}'),
        (b'event: error\ndata: {"x":1}\n\n', b"", b'{"x":1}'),
    ],
)
def test_an_error_inside_a_stream_is_found(block: bytes, before: bytes, payload: bytes) -> None:
    """With the events before it, which still count."""
    assert split_error(block) == (before, payload)


@pytest.mark.parametrize(
    "block",
    [
        b'data: {"error":null,"choices":[]}\n\n',
        b'data: {"choices":[{"delta":{"content":"data: {\\"error\\":{}}"}}]}\n\n',
        b'data: {"choices":[],"x":{"error":{}}}\n\n',
    ],
)
def test_talk_of_errors_is_none(block: bytes) -> None:
    """Only an event that is an error counts."""
    assert split_error(block) is None


def test_payloads_are_the_events_data() -> None:
    """Comments, names and the final event left out, lines joined."""
    block = b'event: x\ndata: {"a":\ndata: 1}\n\n: c\n\ndata:{"b":2}\r\n\r\ndata: [DONE]\n\n'
    assert list(payloads(block)) == [b'{"a":1}', b'{"b":2}']


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (b'data: {"a":1}\n\n', True),
        (b'data:{"a":1}\r\n\r\n', True),
        (b'event: x\ndata: {"a":\ndata: 1}\n\n', True),
        (b": keep-alive\n\n", True),
        (b'data: {"a":\n\n', False),
        (b'data: {"a":1},{"b":2}\n\n', False),
        (b"data: [1]\n\n", False),
        (b'data: "a"\n\n', False),
    ],
)
def test_a_block_is_sound_when_all_its_events_are(event: bytes, expected: bool) -> None:
    """Wherever an event stands among plain ones, it counts as it does alone."""
    plain, done = b'data: {"x":{"y":[]}}\n\n', b"data: [DONE]\n\n"
    for block in (event, plain + event, event + plain, plain + event + plain + done):
        assert is_sound(block) is expected
