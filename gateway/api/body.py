"""Reads a request's body within bounds, unpacks and parses it, without making other requests wait."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Coroutine, Iterable
from typing import Any, Final

import orjson
from starlette.types import Message, Receive

from gateway.api.body_room import SMALL_BYTES, BodyPlace
from gateway.api.bounds import ASKING, CONTROLLING, Bounds, check_shape, check_weight
from gateway.errors import BodyTooLargeError, InvalidRequestError, UnsupportedMediaTypeError

CONTROL_BYTES: Final = 256 * 1024
"""Largest body of a request that does not ask a model."""

_LONGEST_SHOWN: Final = 64
_LARGE_BYTES: Final = 256 * 1024
"""From this size on, other requests get a turn between the steps of reading a body."""
_JSON: Final = b"application/json"
_UNPACKED_AT_A_TIME: Final = 1024 * 1024
# zlib's codes for the two formats: 16 plus the window's bits for gzip, the bits alone for deflate.
_PACKINGS: Final = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}

RequestHeaders = Iterable[tuple[bytes, bytes]]


class ClientLeftError(Exception):
    """The caller hung up before the request was complete, so there is no caller left to answer."""


def read_request(
    receive: Receive, headers: RequestHeaders, place: BodyPlace
) -> Coroutine[Any, Any, dict[str, Any]]:
    """The JSON object of a request that asks a model. Its memory counts until `place` is left.

    Raises:
        CrowdedError: If other requests' bodies leave too little memory for it.
        UnsupportedMediaTypeError: If it is declared as anything else, or compressed in an unknown way.
        BodyTooLargeError: As soon as more than the place may hold is declared, received or unpacked.
        InvalidRequestError: If it is no JSON object, or has too much structure.
        ClientLeftError: If the caller hangs up first.
    """
    return _read_object(receive, headers, place, place.max_bytes, ASKING)


def read_control(
    receive: Receive, headers: RequestHeaders, place: BodyPlace
) -> Coroutine[Any, Any, dict[str, Any]]:
    """The JSON object of any other request: feedback, or an administrator's. Raises like `read_request`."""
    return _read_object(receive, headers, place, min(place.max_bytes, CONTROL_BYTES), CONTROLLING)


async def _read_object(
    receive: Receive, headers: RequestHeaders, place: BodyPlace, max_bytes: int, bounds: Bounds
) -> dict[str, Any]:
    named = dict(headers)
    length = named.get(b"content-length", b"")
    if length.isdigit():
        announced = int(length)
        if announced > max_bytes:
            raise _too_large(max_bytes)
        if announced > SMALL_BYTES:
            place.check(announced)
    content_type = named.get(b"content-type")
    if content_type != _JSON:
        check_media_type(content_type)
    window_bits = _window_bits(headers) if b"content-encoding" in named else None
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.disconnect" or message.get("more_body") or len(body) > max_bytes:
        body = await _read_body(receive, message, place, max_bytes)
    if window_bits is not None:
        body = await _unpacked(body, window_bits, place, max_bytes)
    if len(body) > _LARGE_BYTES:
        return await _parse_large(body, bounds, place)
    if len(body) <= SMALL_BYTES:
        request = _object(body)
        check_shape(request, bounds, body)
        return request
    place.hold(body)
    request = _object(body)
    place.add(check_shape(request, bounds, body))
    return request


async def _read_body(receive: Receive, message: Message, place: BodyPlace, max_bytes: int) -> bytes:
    """The whole body, of which `message` is the first piece."""
    body: bytes = message.get("body", b"")
    parts = [body]
    size = len(body)
    while True:
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        if size > max_bytes:
            raise _too_large(max_bytes)
        if size > SMALL_BYTES:
            place.grow_to(size)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
        message = await receive()
        body = message.get("body", b"")
        parts.append(body)
        size += len(body)


def check_media_type(content_type: bytes | None) -> None:
    """Refuse a body that is declared as anything but JSON.

    A web page cannot send JSON to another site without that site's consent, so it cannot use a gateway
    without keys on loopback.

    Raises:
        UnsupportedMediaTypeError: Naming the type that was declared.
    """
    if content_type is None:
        return
    kind = content_type.partition(b";")[0].strip().lower()
    if kind != b"application/json" and not kind.endswith(b"+json"):
        raise UnsupportedMediaTypeError(
            f"The request must be application/json, not {_shown(kind)}.", code="unsupported_media_type"
        )


def _window_bits(headers: RequestHeaders) -> int | None:
    """The code with which zlib unpacks a body; None if the body is not compressed."""
    name = b",".join(value for name, value in headers if name == b"content-encoding").strip().lower()
    if name in {b"", b"identity"}:
        return None
    bits = _PACKINGS.get(name)
    if bits is None:
        raise UnsupportedMediaTypeError(
            f"The request cannot be unpacked from {_shown(name)}; send it as it is, or as gzip.",
            code="unsupported_content_encoding",
        )
    return bits


async def _unpacked(body: bytes, window_bits: int, place: BodyPlace, max_bytes: int) -> bytes:
    """The unpacked body. Unpacking stops as soon as it is too large."""
    unpacker = zlib.decompressobj(window_bits)
    parts: list[bytes] = []
    packed, size = len(body), 0
    try:
        while not unpacker.eof:
            part = unpacker.decompress(body, _UNPACKED_AT_A_TIME)
            body = unpacker.unconsumed_tail
            if not part and not body and not unpacker.eof:
                raise _not_packed("it ends too early")
            size += len(part)
            if size > max_bytes:
                raise _too_large(max_bytes)
            if size > SMALL_BYTES:
                place.grow_to(packed + size)
            parts.append(part)
            if size >= _UNPACKED_AT_A_TIME:
                await asyncio.sleep(0)
    except zlib.error:
        raise _not_packed("it is something else") from None
    if unpacker.unused_data:
        raise _not_packed("there is more after its end")
    return b"".join(parts)


async def _parse_large(body: bytes, bounds: Bounds, place: BodyPlace) -> dict[str, Any]:
    """The content of a large body, parsed in steps with turns for other requests between them."""
    await check_weight(body, bounds)
    place.hold(body)
    request = _object(body)
    await asyncio.sleep(0)
    place.add(check_shape(request, bounds, body))
    await asyncio.sleep(0)
    return request


def _object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises InvalidRequestError if there is none."""
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(
            f"The body of the request is not valid JSON: {error}.", code="invalid_json"
        ) from None
    if not isinstance(request, dict):
        raise InvalidRequestError("The body of the request must be a JSON object.", code="invalid_type")
    return request


def _too_large(max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"The body of the request is larger than {max_bytes} bytes.", code="request_too_large"
    )


def _not_packed(why: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"The body of the request cannot be unpacked as its content-encoding says: {why}.",
        code="invalid_content_encoding",
    )


def _shown(name: bytes) -> str:
    return repr(name[:_LONGEST_SHOWN].decode("latin-1"))
