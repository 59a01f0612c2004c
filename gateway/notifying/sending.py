"""Sends signed requests by the rules of Standard Webhooks, to addresses that the configuration names.

Requests go to the receiver's own address only: redirects are not followed, and certificates are checked.
Only the status of an answer is read, unless the caller wants the body. Failures of a receiver raise nothing
here, and no reason repeats an address, because it may be a secret.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
from standardwebhooks import Webhook
from yarl import URL

from gateway import __version__
from gateway.config.webhooks import Receiver
from policy_store.deliveries import DeliveryOutcome

SENDING_SECONDS: Final = 10.0
_GONE: Final = 410
_SUCCESSES: Final = range(200, 300)
_REDIRECTS: Final = range(300, 400)


@dataclass(frozen=True, slots=True)
class ReceiverAnswer:
    """A receiver's answer.

    Attributes:
        status: Its status; None if no answer came.
        reason: What was wrong, in a few words; empty if nothing was.
        retry_after_seconds: How long it asks to wait.
        body: The beginning of the answer, if the caller wanted it.
    """

    status: int | None
    reason: str = ""
    retry_after_seconds: float | None = None
    body: bytes = b""

    @classmethod
    def of(cls, answer: aiohttp.ClientResponse, body: bytes, now: float) -> ReceiverAnswer:
        """What a receiver answered; `body` is the beginning of its answer."""
        status = answer.status
        if status in _SUCCESSES:
            return cls(status, body=body)
        reason = "redirects, which is not followed" if status in _REDIRECTS else f"answered {status}"
        return cls(status, reason, _seconds_of(answer.headers.get("retry-after", ""), now))

    @property
    def is_taken(self) -> bool:
        """Whether the receiver accepted the request."""
        return not self.reason

    def outcome(self, *, may_retry: bool) -> DeliveryOutcome:
        """What it means for the message; `may_retry` says whether further attempts are allowed."""
        if self.is_taken:
            return DeliveryOutcome.DELIVERED
        if self.status == _GONE:
            return DeliveryOutcome.GONE
        return DeliveryOutcome.FAILED if may_retry else DeliveryOutcome.GIVEN_UP


def address_digest(receiver: Receiver) -> str:
    """A digest that stands for a receiver's address, which must not be shown."""
    return sha256(receiver.url.get_secret_value().encode()).hexdigest()[:16]


def signed_headers(receiver: Receiver, message_id: str, body: str, at: float) -> dict[str, str]:
    """The headers of Standard Webhooks, with a signature for each of the receiver's secrets."""
    moment = datetime.fromtimestamp(int(at), UTC)
    signatures = (
        Webhook(secret.get_secret_value()).sign(message_id, moment, body) for secret in receiver.secrets
    )
    return {
        "content-type": "application/json",
        "user-agent": f"llmpo-gateway/{__version__}",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at)),
        "webhook-signature": " ".join(signatures),
    }


class Sender:
    """Sends requests to all receivers, without one waiting for another.

    Args:
        clock: Unix seconds.
        timeout_seconds: Longest time for a request.
    """

    def __init__(self, clock: Callable[[], float], *, timeout_seconds: float = SENDING_SECONDS) -> None:
        self._clock = clock
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def send(
        self, receiver: Receiver, message_id: str, body: str, *, most_read: int = 0
    ) -> ReceiverAnswer:
        """Send one request.

        Args:
            receiver: The receiver.
            message_id: The same for every attempt at the message.
            body: JSON.
            most_read: How many bytes of the answer are wanted.
        """
        url = URL(receiver.url.get_secret_value())
        headers = signed_headers(receiver, message_id, body, self._clock())
        proxy = None if proxy_bypass(url.host or "") else getproxies().get(url.scheme)
        try:
            async with self._session.post(
                url, data=body.encode(), headers=headers, proxy=proxy, allow_redirects=False
            ) as answer:
                content = await _start_of(answer.content, most_read)
                answer.close()
                return ReceiverAnswer.of(answer, content, self._clock())
        except TimeoutError:
            return ReceiverAnswer(None, "no answer in time")
        except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError):
            return ReceiverAnswer(None, "has no trusted certificate")
        except (aiohttp.ClientError, OSError, ValueError):
            return ReceiverAnswer(None, "cannot be reached")


async def _start_of(content: aiohttp.StreamReader, most: int) -> bytes:
    """At most this many bytes of a body, and one more if it is longer."""
    found = b""
    while len(found) <= most and most:
        block = await content.read(most + 1 - len(found))
        if not block:
            break
        found += block
    return found


def _seconds_of(retry_after: str, now: float) -> float | None:
    """The seconds in `Retry-After`, which may be a number or a date; None if there is none."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except ValueError:
        return None
