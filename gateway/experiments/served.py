"""Digests of the builds that serve answers: of the model and the fingerprint that a provider says it is.

A provider may put another build of a model behind the same name. Then the policy is another one, although
nothing in the configuration changed; so each comparison says which builds served it. A digest hides who the
provider is, and tells builds apart.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from gateway.experiments.sealing_key import SealingKeyHolder

BUILD_BYTES: Final = 6
UNKNOWN_BUILD: Final = bytes(BUILD_BYTES)

_MODEL_BYTES: Final = 3
# In the text of a JSON object an unescaped name of a field is never inside a string.
_MODEL: Final = b'"model"'
_FINGERPRINT: Final = b'"system_fingerprint"'
# Both stand before or after what an answer says, so a long one is not searched through.
_NEAR: Final = 16_384
_LONGEST: Final = 256  # of a name; a provider may send anything
_MOST_KNOWN: Final = 1024


class BuildDigests:
    """Reads from answers which build served them.

    Args:
        keys: The sealing keys; other keys give other digests.
    """

    def __init__(self, keys: SealingKeyHolder) -> None:
        self._holder = keys
        self._key = b""
        self._known: dict[tuple[bytes, bytes], bytes] = {}

    def of(self, text: bytes) -> bytes:
        """The digest of the build that a whole answer, or the beginning of a stream, names.

        The first half stands for the model and the second for its fingerprint; each is 0 if it is not named.
        """
        named = (
            _value(text, _MODEL, text.find(_MODEL, 0, _NEAR)),
            _value(text, _FINGERPRINT, text.rfind(_FINGERPRINT, -_NEAR)),
        )
        key = self._holder.current.newest
        if key is not self._key or len(self._known) > _MOST_KNOWN:
            self._key, self._known = key, {}
        digest = self._known.get(named)
        if digest is None:
            digest = self._known[named] = b"".join(map(self._digest, named))
        return digest

    def _digest(self, name: bytes) -> bytes:
        if not name:
            return bytes(_MODEL_BYTES)
        return blake2b(name, digest_size=_MODEL_BYTES, key=self._key, person=b"llmpo build").digest()


def _value(text: bytes, name: bytes, place: int) -> bytes:
    """The string after a name that begins there, up to the first quote; empty if there is none."""
    if place < 0:
        return b""
    start = text.find(b'"', place + len(name)) + 1
    if text[place + len(name) : start - 1].strip() != b":":
        return b""
    return text[start : start + _LONGEST].partition(b'"')[0]


def build_words(served: bytes) -> tuple[str, ...]:
    """The digests in a sequence of builds as the log has them, without the half that is not known."""
    builds = (served[start : start + BUILD_BYTES] for start in range(0, len(served), BUILD_BYTES))
    return tuple(_word(build) for build in builds)


def _word(build: bytes) -> str:
    if build == UNKNOWN_BUILD:
        return ""
    model, fingerprint = build[:_MODEL_BYTES], build[_MODEL_BYTES:]
    return model.hex() + (fingerprint.hex() if any(fingerprint) else "")
