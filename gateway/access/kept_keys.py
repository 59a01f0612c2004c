"""The last known keys of the store on disk, so that a replica started without its store still knows them.

The file holds the same as the store: hashes, names and limits of keys made at run time, and revocations. A
file that is too old, damaged or sealed with another secret is ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

from gateway.running.kept_file import KeptFile
from gateway.running.logs import get_logger
from policy_store.api_keys import KeyBook, KeyRecord

_log = get_logger(__name__)

KEPT_KEYS_SCHEMA: Final = 1
CONFIRM_SECONDS: Final = 60.0


@dataclass(slots=True)
class KeptKeys:
    """The file with the keys.

    Attributes:
        file: The file.
        longest_seconds: Age from which the file is ignored; 0: no file is written or read.
        clock: Unix seconds.
    """

    file: KeptFile
    longest_seconds: float
    clock: Callable[[], float]
    _kept: KeyBook | None = None
    _kept_at: float = 0.0

    def read(self) -> KeyBook | None:
        """The kept keys, unless the file has to be ignored."""
        kept = self.file.read() if self.longest_seconds else None
        if not isinstance(kept, dict) or kept.get("schema") != KEPT_KEYS_SCHEMA:
            return None
        age = self.clock() - kept["at"]
        if not 0 <= age <= self.longest_seconds:
            _log.warning("kept_keys_too_old", age_seconds=round(age))
            return None
        keys = kept["keys"]
        return KeyBook(
            revision=int(keys["revision"]),
            records=tuple(KeyRecord(**record) for record in keys["records"]),
            revoked={str(digits): float(at) for digits, at in keys["revoked"].items()},
        )

    def keep(self, book: KeyBook) -> None:
        """Write the keys that the store just gave, or only the time if they are unchanged."""
        now = self.clock()
        if not self.longest_seconds or not (book.records or book.revoked):
            return
        # A clock that was set back must not leave a file from the future, which nothing would believe.
        if book is not self._kept or not 0 <= now - self._kept_at < CONFIRM_SECONDS:
            self._kept, self._kept_at = book, now
            self.file.write({"schema": KEPT_KEYS_SCHEMA, "at": now, "keys": asdict(book)})
