"""Large bodies of every kind: what looks large and is cheap, and what is made to be costly.

Each is made when a test asks for it, because together they take a quarter of a gigabyte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Making = Callable[[], bytes]

BYTES: Final = 10_000_000

_FIELDS: Final = b'"model":"support","messages":[{"role":"user","content":"Hi"}]'


def _with(rest: bytes) -> bytes:
    return b"{" + _FIELDS + b"," + rest + b"}"


def _asking(content: bytes) -> bytes:
    return b'{"model":"support","messages":[{"role":"user","content":' + content + b"}]}"


def _repeated(piece: bytes) -> bytes:
    return piece * (BYTES // len(piece))


def _names(count: int, length: int) -> bytes:
    return b",".join(b'"f%0*d":1' % (length, number) for number in range(count))


# Refused for their structure, all of them in the words of one limit or another.
BOMBS: Final[dict[str, Making]] = {
    "empty lists": lambda: _with(b'"x":[' + _repeated(b"[],") + b"1]"),
    "empty objects": lambda: _with(b'"x":[' + _repeated(b"{},") + b"1]"),
    "numbers": lambda: _with(b'"x":[' + _repeated(b"1,") + b"1]"),
    "strings": lambda: _with(b'"x":[' + _repeated(b'"",') + b"1]"),
    "escaped quotes": lambda: _with(b'"x":[' + _repeated(b'"\\"[",') + b"1]"),
    "unknown fields": lambda: _with(_names(800_000, 6)),
    "fields inside": lambda: _with(b'"metadata":{' + _names(800_000, 6) + b"}"),
    "parts of a message": lambda: _asking(b"[" + _repeated(b'{"type":"text","text":""},') + b"{}]"),
    "nesting": lambda: _asking(b"[" * 1_000 + b"]" * 1_000),
    "nesting of objects": lambda: _asking(b'{"a":' * 250 + b"1" + b"}" * 250),
    "nesting without end": lambda: _asking(b"[" * BYTES),
    "nesting in an unknown field": lambda: _with(b'"x":' + b"[" * 100 + b"]" * 100),
    "one long name": lambda: _with(b'"' + b"n" * BYTES + b'":1'),
    "one long name inside": lambda: _with(b'"metadata":{"' + b"n" * BYTES + b'":"a"}'),
    "many long names": lambda: _with(_names(5_000, 1_900)),
}
# Not JSON, or not what a provider takes: refused as well, but only once all of it was looked at.
BROKEN: Final[dict[str, Making]] = {
    "digits": lambda: _with(b'"seed":' + b"9" * BYTES),
    "spaces": lambda: b"{" + b" " * BYTES,
    "nulls": lambda: b"\x00" * BYTES,
    "backslashes": lambda: _asking(b'"' + b"\\" * (BYTES + 1) + b'"'),
    "quotes": lambda: b'"' * BYTES,
    "no end": lambda: _asking(b'"' + b"a" * BYTES),
}
# Text, which any model may be asked about.
TEXTS: Final[dict[str, Making]] = {
    "plain text": lambda: _asking(b'"' + _repeated(b"Why is that so, and what is it? ") + b'"'),
    "JSON in text": lambda: _asking(b'"' + _repeated(b'{\\"a\\": [1, 2], \\"b\\": {}}\\n') + b'"'),
    "line breaks": lambda: _asking(b'"' + _repeated(b"\\n") + b'"'),
    "escaped characters": lambda: _asking(b'"' + _repeated(b"\\u4e2d\\ud83d\\ude00") + b'"'),
    "emoji": lambda: _asking(b'"' + _repeated("what? 😀 ".encode()) + b'"'),
    "many messages": lambda: (
        b'{"model":"support","messages":['
        + b",".join(b'{"role":"user","content":"%b"}' % (b"Hi, you: " * 55) for _ in range(18_000))
        + b"]}"
    ),
}
