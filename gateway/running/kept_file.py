"""A small file in the data directory with what a replica knew about its store, for its next start.

Only its owner may read it. It is sealed with a key derived from `LLMPO_TOKEN_SECRET` if that is set;
otherwise a checksum detects a file that was truncated or edited by mistake.
"""

from __future__ import annotations

import hmac
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.running.logs import get_logger

_log = get_logger(__name__)

_NO_SECRET: Final = b"llmpo kept file, no secret"


def kept_path(data_dir: Path, what: str, store_url: str | None, prefix: str = "") -> Path:
    """The path of a kept file. Two stores never share a file, and the path reveals nothing of a password."""
    parts = urlsplit(store_url or "embedded:")
    place = f"{parts.scheme}|{parts.netloc.rpartition('@')[2]}|{parts.path}|{parts.query}"
    place += f"|{prefix}" if prefix else ""
    return data_dir / f"{what}-{blake2b(place.encode(), digest_size=8).hexdigest()}.json"


@dataclass(slots=True)
class KeptFile:
    """The file.

    Attributes:
        path: The path of the file.
        secret: The operator's secret; None if there is none.
    """

    path: Path
    secret: str | None
    _is_failing: bool = False

    def read(self) -> Any:
        """The content; None if there is no file, or it is damaged or sealed with another secret."""
        try:
            content: dict[str, Any] = json.loads(self.path.read_bytes())
            body = str(content["body"])
            is_ours = hmac.compare_digest(str(content["seal"]), self._seal(body))
            return json.loads(body if is_ours else "")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("kept_file_not_used", file=self.path.name, error=type(error).__name__)
            return None

    def write(self, content: Any) -> None:
        """Write the whole file or nothing; a failure is logged once."""
        body = json.dumps(content)
        try:
            self._replace(json.dumps({"seal": self._seal(body), "body": body}).encode())
        except OSError as error:
            if not self._is_failing:
                _log.warning("kept_file_not_written", file=self.path.name, error=error.strerror)
            self._is_failing = True
        else:
            self._is_failing = False

    def _replace(self, content: bytes) -> None:
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
        return hmac.new(b"llmpo kept file\0" + secret, body.encode(), sha256).hexdigest()
