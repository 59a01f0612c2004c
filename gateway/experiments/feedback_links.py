"""Links by which one report on one answer can be made without an API key, such as those in an e-mail.

A link holds the report it may make, until when, and a MAC of both under the sealing key. Nothing is stored,
any replica with the key opens it, and a key that was rotated opens it as long as it opens response ids. A
link makes that report and no other.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from urllib.parse import urlencode

from gateway.errors import InvalidFeedbackError
from gateway.experiments.sealing_key import SealingKeyHolder

_SIGNED: Final = ("id", "signal", "value", "preferred", "expires")
_SIGNATURE: Final = "signature"
_GONE: Final = 410


@dataclass(frozen=True, slots=True)
class FeedbackLink:
    """The report that one link may make; each part as in the link's query.

    Attributes:
        response_id: The answer.
        expires_at: Unix seconds; it reports nothing afterwards.
        signal: The signal that rates the answer; empty if the link names the better of two.
        value: The signal's value; empty if the user gives it when the link is used.
        preferred: The better of two choices; empty if the link rates one answer.
    """

    response_id: str
    expires_at: int
    signal: str = ""
    value: str = ""
    preferred: str = ""

    @property
    def query(self) -> str:
        """Its parts in one order and one spelling."""
        parts = (self.response_id, self.signal, self.value, self.preferred, str(self.expires_at))
        return urlencode([(name, part) for name, part in zip(_SIGNED, parts, strict=True) if part])


class FeedbackLinks:
    """Signs links and checks them.

    Args:
        keys: The sealing keys, read at each use: the newest signs, each of them checks.
    """

    def __init__(self, keys: SealingKeyHolder) -> None:
        self._holder = keys

    def signed(self, link: FeedbackLink) -> str:
        """The query of a link's address."""
        return f"{link.query}&{_SIGNATURE}={_mac(self._holder.current.newest, link)}"

    def open(self, query: Mapping[str, str], now: float) -> FeedbackLink:
        """The link of an address. Parts that are not signed are ignored: mail systems add some of their own.

        Raises:
            InvalidFeedbackError: With reason `forged_link` (changed, cut short, or signed with a key that is
                no longer known) or `expired_link`.
        """
        expires = query.get("expires", "")
        link = FeedbackLink(
            query.get("id", ""),
            int(expires)
            if expires.isascii() and expires.isdecimal() and len(expires) <= len(str(2**63))
            else 0,
            *(query.get(name, "") for name in ("signal", "value", "preferred")),
        )
        shown = query.get(_SIGNATURE, "").encode()
        if not any(hmac.compare_digest(_mac(key, link).encode(), shown) for key in self._holder.current.all):
            raise InvalidFeedbackError(
                "This feedback link is not from this gateway, or it was changed or cut short on its way.",
                reason="forged_link",
                param=_SIGNATURE,
            )
        if link.expires_at < now:
            raise InvalidFeedbackError(
                "This feedback link has expired: nothing was reported.",
                reason="expired_link",
                status=_GONE,
                param="expires",
            )
        return link


def _mac(key: bytes, link: FeedbackLink) -> str:
    secret = blake2b(key, digest_size=32, person=b"llmpo link").digest()
    return hmac.new(secret, link.query.encode(), "sha256").hexdigest()
