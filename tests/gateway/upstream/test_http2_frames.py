"""GOAWAY frames are taken out of what arrives, and nothing else is touched."""

from __future__ import annotations

import pytest

from gateway.upstream.http.http2_frames import Goaway, GoawayFilter, MalformedFrameError


def frame(kind: int, payload: bytes, stream: int = 0) -> bytes:
    """One frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, 0]) + stream.to_bytes(4, "big") + payload


@pytest.mark.parametrize("size", range(1, 40))
def test_goaway_is_taken_out_however_the_bytes_are_cut(size: int) -> None:
    """All other frames pass in order and unchanged."""
    goaway = frame(7, (5).to_bytes(4, "big") + bytes(4) + b"bye")
    others = [frame(0, b"a" * 13, 1), frame(0, b"", 3), frame(6, bytes(8)), frame(0, b"b" * 7, 1)]
    arriving = goaway + others[0] + others[1] + goaway + goaway + others[2] + others[3]
    filtering = GoawayFilter()
    parts = [
        part
        for start in range(0, len(arriving), size)
        for part in filtering.feed(arriving[start : start + size])
    ]
    assert b"".join(part for part in parts if isinstance(part, bytes)) == b"".join(others)
    assert [part for part in parts if isinstance(part, Goaway)] == [Goaway(5)] * 3


@pytest.mark.parametrize("bad", [frame(7, b"1234567"), frame(7, bytes(20_000)), frame(0, bytes(16_385), 1)])
def test_a_frame_of_impossible_length_is_malformed(bad: bytes) -> None:
    """Without the check, such a frame would be buffered or misread."""
    with pytest.raises(MalformedFrameError):
        list(GoawayFilter().feed(bad))
