"""A request's body: read within bounds and parsed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson
from starlette.types import Receive

from gateway.errors import BodyTooLargeError, InvalidRequestError, UnsupportedMediaTypeError

_LONGEST_NAME: Final = 64


class ClientLeftError(Exception):
    """The caller hung up before the request was complete: nobody is left to answer."""


async def read_body(receive: Receive, headers: Iterable[tuple[bytes, bytes]], max_bytes: int) -> bytes:
    """The whole body.

    Raises:
        BodyTooLargeError: As soon as more than `max_bytes` are announced or received.
        ClientLeftError: If the caller hangs up first.
    """
    for name, value in headers:
        if name == b"content-length" and value.isdigit() and int(value) > max_bytes:
            raise _too_large(max_bytes)
    message = await receive()
    body: bytes = message.get("body", b"")
    parts = [body]
    size = len(body)
    while True:
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        if size > max_bytes:
            raise _too_large(max_bytes)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
        message = await receive()
        body = message.get("body", b"")
        parts.append(body)
        size += len(body)


def check_media_type(content_type: bytes | None) -> None:
    """Refuse a body that is announced as anything but JSON.

    A page in a browser cannot send JSON to another site unasked, so a gateway without keys on loopback stays
    out of its reach.

    Raises:
        UnsupportedMediaTypeError: Naming what arrived.
    """
    if content_type is None:
        return
    kind = content_type.partition(b";")[0].strip().lower()
    if kind != b"application/json" and not kind.endswith(b"+json"):
        raise UnsupportedMediaTypeError(
            f"The request must be application/json, not {kind[:_LONGEST_NAME].decode('latin-1')!r}.",
            code="unsupported_media_type",
        )


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object a body holds.

    Raises:
        InvalidRequestError: If it holds none.
    """
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
