"""How much structure an answer may have, told without parsing it."""

from __future__ import annotations

import tracemalloc

import orjson
import pytest

from gateway.upstream.structure import (
    MOST_PER_BYTE,
    MOST_STRUCTURE_BYTES,
    Structure,
    is_heavy,
    outside_strings,
)

PARTS = {
    "objects": b"{},",
    "arrays": b"[],",
    "nested": b"[[[[[]]]]],",
    "fields": b'{"a":1},',
    "objects in objects": b'{"a":{"a":{"a":{}}}},',
    "short texts": b'"ab",',
    "numbers": b"1.5,",
}


def array(part: bytes, size: int) -> bytes:
    """An array of so many bytes."""
    return b"[" + part * (size // len(part)) + b"0]"


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_structure_takes_hardly_more_memory_than_is_told(part: bytes) -> None:
    """What is weighed is what parsing takes, so the bound holds whatever a provider sends."""
    content = array(part, 100_000)
    tracemalloc.start()
    found = orjson.loads(content)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) > 1
    assert taken < 1.25 * Structure().plus(content).bytes_parsed


def test_what_stands_inside_strings_is_no_structure() -> None:
    """A long text of brackets and commas takes no more room than another one."""
    said = orjson.dumps({"content": '{"a": [1, 2, "3\\\\"]},' * 60_000})
    assert Structure().plus(said).bytes_parsed > 20 * 1024 * 1024
    assert not is_heavy(said, 20 * 1024 * 1024)
    assert [*outside_strings(said)][-1] == Structure(containers=1, fields=1, commas=0)


@pytest.mark.parametrize("part", [*PARTS.values(), b'{"":0},', b'{"":{"":{}}},'])
def test_only_texts_that_can_be_heavy_are_weighed(part: bytes) -> None:
    """Nearly all answers are too short for that, whatever they hold, and pay nothing."""
    content = array(part, 10_000)
    assert Structure().plus(content).bytes_parsed <= len(content) * MOST_PER_BYTE
    assert not is_heavy(content, len(content) * MOST_PER_BYTE)
    assert is_heavy(content, len(content))


def test_the_longest_embeddings_are_not_too_heavy() -> None:
    """2,048 texts of 3,072 numbers."""
    numbers = 2_048 * 3_072
    assert (
        Structure(containers=3 * 2_048, fields=3 * 2_048, commas=numbers).bytes_parsed < MOST_STRUCTURE_BYTES
    )
