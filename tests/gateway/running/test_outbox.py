"""What waits for the end of a turn of the loop is sent then: together, in order, and nothing to nobody."""

from __future__ import annotations

import asyncio

import pytest
from typing_extensions import override

from gateway.running.outbox import Outbox


class Wire(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.is_gone = False
        self.is_broken = False

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_gone
        if self.is_broken:
            raise RuntimeError("unable to perform operation")
        self.sent.append(bytes(data))

    @override
    def is_closing(self) -> bool:
        return self.is_gone

    @override
    def abort(self) -> None:
        self.is_gone = True


async def test_a_turns_pieces_are_one_write() -> None:
    """Head and body of several answers leave at the end of the turn, those of each connection together."""
    outbox, first, second = Outbox(), Wire(), Wire()
    for piece in (b"head ", b"body"):
        outbox.put(first, piece)
        outbox.put(second, piece.upper())
    assert first.sent == []
    await asyncio.sleep(0)
    assert (first.sent, second.sent) == ([b"head body"], [b"HEAD BODY"])


async def test_each_turn_sends_its_own() -> None:
    """What is put in the next turn is sent at that one's end."""
    outbox, wire = Outbox(), Wire()
    for piece in (b"1", b"2", b"3"):
        outbox.put(wire, piece)
        await asyncio.sleep(0)
    assert wire.sent == [b"1", b"2", b"3"]


async def test_where_waiting_gains_nothing_pieces_are_sent_at_once() -> None:
    """A stream that turns serve alone soon stops waiting for their ends, and its head never does."""
    outbox, wire, waited = Outbox(), Wire(), 0
    for _ in range(200):
        before = len(wire.sent)
        outbox.put(wire, b"event")
        waited += len(wire.sent) == before
        await asyncio.sleep(0)
    assert wire.sent == [b"event"] * 200
    assert 0 < waited < 40
    outbox.put(wire, b"HTTP/1.1 200 OK")
    outbox.put(wire, b"event")
    assert len(wire.sent) == 200
    await asyncio.sleep(0)
    assert wire.sent[200:] == [b"HTTP/1.1 200 OKevent"]


async def test_once_turns_serve_several_their_pieces_wait_again() -> None:
    """Of streams that come in the same turns, hardly a piece is sent before the turn's end."""
    outbox, wires = Outbox(), (Wire(), Wire())
    for _ in range(20):
        outbox.put(wires[0], b"alone")
        await asyncio.sleep(0)
    at_once = 0
    for _ in range(100):
        before = sum(len(wire.sent) for wire in wires)
        for wire in wires:
            outbox.put(wire, b"event")
        at_once += sum(len(wire.sent) for wire in wires) - before
        await asyncio.sleep(0)
    assert at_once <= 16
    assert b"".join(wires[1].sent) == b"event" * 100


@pytest.mark.parametrize(("pieces", "writes"), [([b"x" * 50_000], 1), ([b"x" * 500] * 200, 7)])
async def test_much_does_not_wait(pieces: list[bytes], writes: int) -> None:
    """A large piece, and many small ones, are sent within the turn, behind what was put before.

    So a stream that outruns its reader fills the transport's buffer, which stops it, and not the outbox.
    """
    outbox, wire = Outbox(), Wire()
    outbox.put(wire, b"first")
    for piece in pieces:
        outbox.put(wire, piece)
    assert wire.sent[0].startswith(b"firstx")
    await asyncio.sleep(0)
    assert b"".join(wire.sent) == b"first" + b"".join(pieces)
    assert len(wire.sent) == writes


async def test_a_connection_that_is_gone_gets_nothing() -> None:
    """If a connection ends within the turn, the others still get their answers."""
    outbox, gone, other = Outbox(), Wire(), Wire()
    outbox.put(gone, b"x")
    outbox.put(other, b"y")
    gone.is_gone = True
    await asyncio.sleep(0)
    assert (gone.sent, other.sent) == ([], [b"y"])


async def test_a_write_that_fails_ends_its_own_connection_only() -> None:
    """The others get their answers, what is put later is sent too, and the loop learns of the failure."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: faults.append(said["exception"]))
    outbox, broken, others = Outbox(), (Wire(), Wire()), (Wire(), Wire())
    for wire in (broken[0], others[0], broken[1], others[1]):
        outbox.put(wire, b"x")
    for wire in broken:
        wire.is_broken = True
    for _ in range(3):
        await asyncio.sleep(0)
    assert [wire.sent for wire in others] == [[b"x"], [b"x"]]
    assert [type(fault) for fault in faults] == [RuntimeError, RuntimeError]
    assert all(wire.is_gone for wire in broken)
    outbox.put(others[0], b"HTTP/1.1 200 OK")
    await asyncio.sleep(0)
    assert others[0].sent[1:] == [b"HTTP/1.1 200 OK"]


async def test_what_waits_can_be_sent_at_once() -> None:
    """Before a connection is closed, its answer is sent, and only once."""
    outbox, wire = Outbox(), Wire()
    outbox.put(wire, b"last")
    outbox.send(wire)
    assert wire.sent == [b"last"]
    await asyncio.sleep(0)
    assert wire.sent == [b"last"]
