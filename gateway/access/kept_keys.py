"""The last known keys of the store on disk, so that a replica started without its store still knows them.

The file holds what the store holds: hashes, names and limits of keys made at run time, and what was revoked.
It is read by its owner alone and sealed with a key that follows from `LLMPO_TOKEN_SECRET`, where there is
one; without one a checksum tells a file that was cut short or edited by mistake. A file that is too old,
damaged or of another secret is left aside.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.running.logs import get_logger
from policy_store.api_keys import KeyBook, KeyRecord

_log = get_logger(__name__)

SCHEMA: Final = 1
CONFIRM_SECONDS: Final = 60.0
_NO_SECRET: Final = b"llmpo kept keys, no secret"


def kept_keys_path(data_dir: Path, store_url: str | None) -> Path:
    """Where the keys of a store are kept: two stores never share a file. Nothing of a password is in it."""
    parts = urlsplit(store_url or "embedded:")
    place = f"{parts.scheme}|{parts.netloc.rpartition('@')[2]}|{parts.path}|{parts.query}"
    return data_dir / f"keys-{blake2b(place.encode(), digest_size=8).hexdigest()}.json"


@dataclass(slots=True)
class KeptKeys:
    """The file.

    Attributes:
        path: Where it is.
        secret: The operator's secret; None where there is none.
        longest_seconds: Age from which the file counts for nothing; 0: no file is written or read.
        clock: Unix seconds.
    """

    path: Path
    secret: str | None
    longest_seconds: float
    clock: Callable[[], float]
    _kept: KeyBook | None = None
    _kept_at: float = 0.0
    _is_failing: bool = False

    def read(self) -> KeyBook | None:
        """What was kept, if it still counts."""
        if not self.longest_seconds:
            return None
        try:
            content: dict[str, Any] = json.loads(self.path.read_bytes())
            body = content["body"]
            is_ours = hmac.compare_digest(str(content["seal"]), self._seal(body))
            kept = json.loads(body if is_ours else "")
            age, book = self.clock() - kept["at"], _book(kept["keys"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("kept_keys_not_used", reason="damaged", error=type(error).__name__)
            return None
        if not 0 <= age <= self.longest_seconds:
            _log.warning("kept_keys_not_used", reason="too old", age_seconds=round(age))
            return None
        return book

    def keep(self, book: KeyBook) -> None:
        """Keep what the store just said, or note that it still says so."""
        now = self.clock()
        if not self.longest_seconds or not (book.records or book.revoked):
            return
        if book is self._kept and now - self._kept_at < CONFIRM_SECONDS:
            return
        self._kept, self._kept_at = book, now
        body = json.dumps({"schema": SCHEMA, "at": now, "keys": asdict(book)})
        try:
            self._write(json.dumps({"seal": self._seal(body), "body": body}).encode())
        except OSError as error:
            if not self._is_failing:
                _log.warning("kept_keys_not_written", error=error.strerror)
            self._is_failing = True
        else:
            self._is_failing = False

    def _write(self, content: bytes) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.path.with_suffix(f".{os.getpid()}")
        with suppress(FileNotFoundError):
            fresh.unlink()
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        fresh.replace(self.path)

    def _seal(self, body: str) -> str:
        secret = _NO_SECRET if self.secret is None else self.secret.encode()
        return hmac.new(b"llmpo kept keys\0" + secret, body.encode(), sha256).hexdigest()


def _book(fields: dict[str, Any]) -> KeyBook:
    return KeyBook(
        revision=int(fields["revision"]),
        records=tuple(KeyRecord(**record) for record in fields["records"]),
        revoked={str(digits): float(at) for digits, at in fields["revoked"].items()},
    )
