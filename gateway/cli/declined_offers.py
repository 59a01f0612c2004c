"""Declines offers to switch to another protocol, and answers the request in HTTP/1.1.

Java's own client offers HTTP/2 with every request to an `http://` address (`Upgrade: h2c`), and so do
programs built on it (LangChain4j, Spring AI, editors). A server may ignore an offer (RFC 9110, 7.8). The
parser cannot: it stops after the headers, takes the request for complete, and loses the body. So a new parser
gets the headers again, without the offer.
"""

from __future__ import annotations

from typing import Any, Final

import httptools
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TUNNEL: Final = b"CONNECT"
"""The method that asks a proxy for a tunnel. The parser stops at it as at an offer."""

# The offer consists of header fields of its own and of words in `Connection`.
_OFFER: Final = frozenset({b"upgrade", b"http2-settings"})
_INVALID: Final = "Invalid HTTP request received."


class DecliningProtocol(HttpToolsProtocol):
    """Ignores offers to switch, and continues in HTTP/1.1.

    Attributes:
        is_declining: Whether the parser has just stopped at an offer, so that it gets the headers once more.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_declining = False

    @override
    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.logger.warning(_INVALID)
            self.send_400_response(_INVALID)

    @override
    def on_headers_complete(self) -> None:
        self.is_declining = bool(self.parser.should_upgrade())
        if not self.is_declining:
            super().on_headers_complete()

    @override
    def on_message_complete(self) -> None:
        if not self.is_declining:
            super().on_message_complete()

    def _parse(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as stopped:
                data = self._head_without_offer() + data[stopped.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            else:
                return

    def _head_without_offer(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == TUNNEL:  # there is no offer to leave out: another parser would stop in the same place
            raise httptools.HttpParserInvalidMethodError
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        for name, value in self.headers:
            words = value.split(b",") if name == b"connection" else [value]
            kept = b", ".join(word.strip() for word in words if word.strip().lower() not in _OFFER)
            if name not in _OFFER and (kept or not value):
                lines.append(b"%b: %b" % (name, kept))
        return b"\r\n".join([*lines, b"", b""])
