"""Requests without end around their body: refused early, at no cost of memory, and without harm to others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from gateway.cli.http_protocol import FRAMING_BYTES, HEAD_BYTES, MOST_HEADERS, PIPELINED, URL_BYTES
from tests.abuse.conftest import Target
from tests.abuse.raw import resident_bytes, said_to, statuses

MEGABYTE = 1024 * 1024
FLOOD_BYTES = 200 * MEGABYTE
# What the answers above and the allocator's own habits may take. The flood is ten times as large.
SPARE_BYTES = 20 * MEGABYTE
GET = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED = b"POST /v1/feedback HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
BLOCK = b"a" * 65536


def flood(start: bytes, block: bytes) -> Iterator[bytes]:
    """The start, and then the block again and again."""
    yield start
    for _ in range(FLOOD_BYTES // len(block)):
        yield block


ENDLESS = {
    "header lines": (GET, b"x-filler: " + b"a" * 1000 + b"\r\n", 431),
    "short header lines": (GET, b"a:\r\n" * 1000, 431),
    "a header value": (GET + b"x-a: ", BLOCK, 431),
    "a header name": (GET, BLOCK, 431),
    "spaces before a value": (GET + b"x-a:", b" " * 65536, 431),
    "a path": (b"GET /", BLOCK, 414),
    "a query": (b"GET /healthz?", BLOCK, 414),
    "a method": (b"", BLOCK, 400),
    "trailers": (CHUNKED + b"1\r\na\r\n0\r\n", b"x-a: " + b"a" * 1000 + b"\r\n", 400),
    "a trailer's value": (CHUNKED + b"0\r\nx-a: ", BLOCK, 400),
    "a chunk's extension": (CHUNKED + b"1;a=", BLOCK, 400),
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_what_has_no_end_is_refused_early(target: Target, kind: str) -> None:
    """The status says what was too long, the connection is closed, and memory does not grow."""
    start, block, status = ENDLESS[kind]
    await said_to(target.port, [GET + b"connection: close\r\n\r\n"])
    before = resident_bytes(target.pid)
    answer, sent = await said_to(target.port, flood(start, block))
    assert statuses(answer)[:1] in ([status], [])  # it may be lost with the connection, which is what counts
    assert sent < FLOOD_BYTES / 2
    assert resident_bytes(target.pid) < before + SPARE_BYTES


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (GET + b"".join(b"x-%d: a\r\n" % number for number in range(MOST_HEADERS)) + b"\r\n", 431),
        (GET + b"x-a: " + b"a" * HEAD_BYTES + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * URL_BYTES + b" HTTP/1.1\r\nhost: localhost\r\n\r\n", 414),
        (CHUNKED + b"1;" + b"a" * (2 * HEAD_BYTES + FRAMING_BYTES) + b"\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nhost localhost\r\n\r\n", 400),
    ],
    ids=["headers", "bytes", "url", "framing", "syntax"],
)
async def test_a_refusal_says_what_the_limit_is(target: Target, request_text: bytes, status: int) -> None:
    """The error has OpenAI's shape, even if the request arrived in one piece."""
    answer, _ = await said_to(target.port, [request_text])
    assert statuses(answer) == [status]
    assert b'{"error":{"message":"' in answer


async def test_as_much_as_the_limits_allow_is_answered(target: Target) -> None:
    """Nearly all the headers, bytes and path there may be, a body in chunks of one byte, and trailers."""
    many = b"".join(b"x-%d: %b\r\n" % (number, b"a" * 300) for number in range(MOST_HEADERS - 3))
    close = b"connection: close\r\n\r\n"
    answer, _ = await said_to(target.port, [GET + many + close])
    assert statuses(answer) == [200]
    answer, _ = await said_to(target.port, [GET.replace(b" HTTP", b"?" + b"a" * 16000 + b" HTTP") + close])
    assert statuses(answer) == [200]
    head = CHUNKED.replace(b"transfer", b"content-type: application/json\r\nconnection: close\r\ntransfer")
    body = b"".join(b"1\r\n%b\r\n" % b"{}  "[n : n + 1] for n in range(4))
    answer, _ = await said_to(target.port, [head + body + b"1\r\n \r\n" * 50_000, b"0\r\nx-a: b\r\n\r\n"])
    assert statuses(answer) == [400]
    assert b"invalid_body" in answer


async def test_trailers_are_no_headers(target: Target) -> None:
    """Fields after a body cannot change the meaning of its headers."""
    head = CHUNKED.replace(b"feedback", b"embeddings").replace(
        b"transfer", b"content-type: text/plain\r\nconnection: close\r\ntransfer"
    )
    answer, _ = await said_to(target.port, [head + b"2\r\n{}\r\n0\r\ncontent-type: application/json\r\n\r\n"])
    assert statuses(answer) == [415]


async def test_headers_nearly_too_long_on_many_connections_stay_bounded(target: Target) -> None:
    """Each connection stays below its own limit, but together they exceed the limit of the process."""
    start = GET + b"x-a: " + b"a" * (HEAD_BYTES - 4096)
    before = resident_bytes(target.pid)
    waiting = [await asyncio.open_connection("127.0.0.1", target.port) for _ in range(500)]
    for _, writer in waiting:
        writer.write(start)
        await writer.drain()
    answer, _ = await said_to(target.port, [GET + b"connection: close\r\n\r\n"])
    after = resident_bytes(target.pid)
    for _, writer in waiting:
        writer.close()
    assert statuses(answer) == [200]
    assert after < before + 2 * 500 * HEAD_BYTES + SPARE_BYTES


async def test_requests_piled_up_on_a_connection_are_bounded(target: Target) -> None:
    """The first are answered in order, then the connection ends: a client asks again for the rest."""
    before = resident_bytes(target.pid)
    answer, _ = await said_to(target.port, [(GET + b"\r\n") * 200_000])
    assert set(statuses(answer)) == {200}
    assert 1 <= len(statuses(answer)) <= 2 * PIPELINED
    assert resident_bytes(target.pid) < before + SPARE_BYTES


async def test_nonsense_after_a_request_does_not_cut_its_answer_off(target: Target) -> None:
    """The answer is complete; the connection is closed after it."""
    answer, _ = await said_to(target.port, [GET + b"\r\n" + b"\x00nonsense\r\n\r\n"])
    assert statuses(answer)[0] == 200
    assert b'{"status":"ok"}' in answer
