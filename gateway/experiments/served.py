"""Digests of the builds that serve answers: of the model and the fingerprint that a provider says it is.

A provider may put another build of a model behind the same name. Then the policy is another one, although
nothing in the configuration changed; so each comparison says which builds served it. A digest hides who the
provider is, and tells builds apart.
"""

from __future__ import annotations

from functools import lru_cache
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
_MOST_LATEST: Final = 4


class BuildDigests:
    """Reads from answers which build served them.

    Args:
        keys: The sealing keys; other keys give other digests.
    """

    def __init__(self, keys: SealingKeyHolder) -> None:
        self._holder = keys
        self._key = b""
        self._known: dict[tuple[bytes, bytes], bytes] = {}
        # Both fields of the latest answers, and the digest: nearly every answer is like one of these.
        self._latest: tuple[tuple[bytes, bytes, bytes], ...] = ()

    def of(self, text: bytes) -> bytes:
        """The digest of the build that a whole answer, or the beginning of a stream, names.

        The first half stands for the model and the second for its fingerprint; each is 0 if it is not named.
        """
        model, fingerprint = text.find(_MODEL, 0, _NEAR), text.rfind(_FINGERPRINT, -_NEAR)
        if self._key is not self._holder.current.newest or len(self._known) > _MOST_KNOWN:
            self._key, self._known, self._latest = self._holder.current.newest, {}, ()
        for own, mark, digest in self._latest:
            if text.startswith(own, model) and (
                text.startswith(mark, fingerprint) if mark else fingerprint < 0
            ):
                return digest
        return self._read(_field(text, _MODEL, model), _field(text, _FINGERPRINT, fingerprint))

    def _read(self, model: bytes, fingerprint: bytes) -> bytes:
        """The digest for both fields, from their names to the quotes that end their values."""
        named = _value(model, _MODEL), _value(fingerprint, _FINGERPRINT)
        digest = self._known.get(named)
        if digest is None:
            digest = self._known[named] = b"".join(map(self._digest, named))
        if named[0] and bool(named[1]) is bool(fingerprint):
            self._latest = ((model, fingerprint, digest), *self._latest[: _MOST_LATEST - 1])
        return digest

    def _digest(self, name: bytes) -> bytes:
        if not name:
            return bytes(_MODEL_BYTES)
        return blake2b(name, digest_size=_MODEL_BYTES, key=self._key, person=b"llmpo build").digest()


def _field(text: bytes, name: bytes, place: int) -> bytes:
    """A field that begins there, up to the quote that ends its value; its name alone if that is no text."""
    if place < 0:
        return b""
    start = text.find(b'"', place + len(name)) + 1
    if text[place + len(name) : start - 1].strip() != b":":
        return name
    value, quote, _ = text[start : start + _LONGEST].partition(b'"')
    return text[place:start] + value + quote


def _value(field: bytes, name: bytes) -> bytes:
    return field[len(name) :].partition(b'"')[2].removesuffix(b'"')


@lru_cache(maxsize=1024)  # the same builds serve many answers
def build_words(served: bytes) -> tuple[str, ...]:
    """The digests in a sequence of builds as the log has them, without the half that is not known."""
    words = []
    for start in range(0, len(served), BUILD_BYTES):
        build = served[start : start + BUILD_BYTES]
        model, fingerprint = build[:_MODEL_BYTES], build[_MODEL_BYTES:]
        word = model.hex() + (fingerprint.hex() if any(fingerprint) else "")
        words.append("" if build == UNKNOWN_BUILD else word)
    return tuple(words)
