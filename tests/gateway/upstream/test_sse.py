"""Events are cut where they end, however the bytes arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UpstreamError
from gateway.upstream import sse
from gateway.upstream.sse import DONE, EventCutter, events_of, has_event, is_last, payloads

ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
lines = st.text("ab :{}\u2028é", min_size=1, max_size=12).map(str.encode)
streams = st.lists(st.tuples(lines, ends, ends), max_size=6)
MARK = b"\xef\xbb\xbf"


@given(streams, st.booleans(), st.data())
def test_any_cutting_of_the_bytes_gives_the_same_events(
    stream: list[tuple[bytes, bytes, bytes]], has_mark: bool, data: st.DataObject
) -> None:
    """Blocks are whole events, nothing is lost or moved, nothing waits at the end."""
    # A lone CR before a LF would be one line end, not two.
    written = [(b"data: " + line, first, b"\r" if first == b"\r" else last) for line, first, last in stream]
    whole = MARK * has_mark + b"".join(b"".join(parts) for parts in written)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    cutter = EventCutter()
    blocks = [
        cutter.feed(whole[start:end]) for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)
    ]
    came = b"".join([*blocks, cutter.rest()])
    assert came.replace(b"\r\n", b"\n") == b"".join(line + b"\n\n" for line, _, _ in written)
    assert all(block.endswith((b"\n\n", b"\n\r\n")) for block in blocks if block)
    if not any(end == b"\r" for _, *ends in written for end in ends):
        assert came == b"".join(b"".join(parts) for parts in written)


@given(lines)
def test_what_a_stream_leaves_unended_is_its_last_event(text: bytes) -> None:
    """The last event counts without the empty line that a client would wait for."""
    cutter = EventCutter()
    assert cutter.feed(b"data: 1\n\nx" + text) == b"data: 1\n\n"
    assert cutter.rest() == b"x" + text + b"\n\n"
    assert cutter.rest() == b""


def test_an_event_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider cannot fill the memory."""
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    cutter = EventCutter()
    assert cutter.feed(b"data: " + b"x" * 990) == b""
    with pytest.raises(UpstreamError, match="without end"):
        cutter.feed(b"xxxxx")


@pytest.mark.parametrize(
    "data",
    [b"[DONE]", b" [DONE]", b"  [DONE]  ", b"\t[DONE]", b'"[DONE]"', b" [DONE] bye"],
)
def test_the_last_event_is_known_in_any_spelling(data: bytes) -> None:
    """Every spelling that clients accept is recognised, and text of the model is not."""
    (event,) = events_of(b"data:" + data + b"\n\n")
    assert event.is_done
    (other,) = events_of(b'data: {"a":"' + data.replace(b'"', b"") + b'"}\n\n')
    assert not other.is_done


def test_a_block_that_holds_the_last_event_is_known() -> None:
    """The end of a block shows that it holds the last event."""
    assert is_last(b'data: {"a":1}\n\n' + DONE)
    assert not is_last(b'data: {"a":"[DONE]"}\n\n')


def test_comments_are_no_events() -> None:
    """A keep-alive is not the first byte of an answer."""
    assert not has_event(b": OPENROUTER PROCESSING\n\n")
    assert has_event(b': ping\n\ndata: {"a":1}\n\n')


def test_payloads_are_the_events_data() -> None:
    """Comments, names and the final event left out, lines joined."""
    block = b'event: x\ndata: {"a":\ndata: 1}\n\n: c\n\ndata:{"b":2}\n\ndata: [DONE]\n\n'
    assert list(payloads(block)) == [b'{"a":\n1}', b'{"b":2}']
