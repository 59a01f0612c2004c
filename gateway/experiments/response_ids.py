"""The assignment inside a response id: everything that feedback needs, without storing anything.

An id is `chatcmpl-`, `resp_` or `msg_`, depending on the kind of request, followed by the base64url form of
`version | nonce | ciphertext | tag`. The ciphertext hides which policies a caller is comparing, the tag makes
ids unforgeable (AES-GCM-SIV: random nonces may repeat without harm, however many ids a key seals). Any
replica with the key opens any id. An id holds a digest of the experiment's name, so that ids have the same
length. It also holds the start of the definition's fingerprint, because a store that lost something may use
a generation's number twice, and digests of the builds that served the answer. Version 5 also holds the
segments of the request as text; without segments an id is of version 4. Ids of version 1, which did not name
the caller, of version 2, which did not name the definition, and of version 3, which did not name the builds,
are opened as long as they are valid.
"""

from __future__ import annotations

import os
import re
import struct
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from gateway.config.experiments import Collect
from gateway.errors import InvalidFeedbackError, UnavailableError
from gateway.experiments.coins import Coin
from gateway.experiments.collecting import WAY_OF_NUMBER, WAYS, Assigns
from gateway.experiments.sealing_key import SealingKeyHolder, SealingKeys
from gateway.experiments.served import BUILD_BYTES, BuildDigests, build_words
from gateway.upstream.surfaces import CHAT, SURFACES

UNIT_BYTES: Final = 16
DEFINITION_BYTES: Final = 6

_PREFIXES: Final = tuple(surface.id_prefix for surface in SURFACES)
_REQUEST_ID: Final = re.compile(r"req_[0-9a-f]{32}\.")
NOBODY: Final = bytes(8)
ANY_DEFINITION: Final = bytes(DEFINITION_BYTES)
_SERVED_BYTES: Final = 2 * BUILD_BYTES
UNKNOWN_BUILDS: Final = bytes(_SERVED_BYTES)
_VERSION: Final = b"\x04"
_WITH_SEGMENTS: Final = b"\x05"
_ASSOCIATED_DATA: Final = b"llmpo assignment \x01"
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_DIGEST_BYTES: Final = 8
# number of the way and side, generation, first, second, plan version (with the coin in the highest two bits,
# which earlier versions leave 0), expiry, experiment digest, unit
_PAYLOAD_1: Final = struct.Struct(f">BIHHIQ{_DIGEST_BYTES}s{UNIT_BYTES}s")
# those of version 1, then the time of assignment, the API key and the user
_PAYLOAD_2: Final = struct.Struct(f"{_PAYLOAD_1.format}Q{_DIGEST_BYTES}s{_DIGEST_BYTES}s")
# those of version 2, then the definition
_PAYLOAD_3: Final = struct.Struct(f"{_PAYLOAD_2.format}{DEFINITION_BYTES}s")
# those of version 3, then the builds
_PAYLOAD: Final = struct.Struct(f"{_PAYLOAD_3.format}{_SERVED_BYTES}s")
_PAYLOAD_BYTES: Final = {
    b"\x01": _PAYLOAD_1.size,
    b"\x02": _PAYLOAD_2.size,
    b"\x03": _PAYLOAD_3.size,
    _VERSION: _PAYLOAD.size,
    _WITH_SEGMENTS: _PAYLOAD.size,  # and the segments as text
}
_OVERHEAD_BYTES: Final = len(_VERSION) + _NONCE_BYTES + _TAG_BYTES
_UNASSIGNED: Final = 0xFF
_PLAN_BITS: Final = 30
_MOST_PLAN: Final = (1 << _PLAN_BITS) - 1
_MOST_COIN: Final = 0b11
_COINS: Final = tuple(map(Coin, range(_MOST_COIN + 1)))
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")


class Assignment(NamedTuple):
    """The comparison that an answer belongs to.

    Attributes:
        experiment: Name of the experiment.
        generation: The experiment's generation; below 2**32.
        first: Index of one policy of the pair; `first < second`.
        second: Index of the other.
        collect: How the comparison arises.
        side: Which of (first, second) the coin chose: the policy that answers, or choice 0 if both answer.
        plan_version: Version of the plan from which the pair was drawn; 0 before the first plan.
        unit: The unit it was drawn for, 16 bytes; outcomes are counted once per unit.
        expires_at: Unix seconds; feedback is not counted afterwards.
        assigned_at: Unix seconds; in a session, of its first answer; 0 if the id's version did not say.
        key: Digest of the API key that got the answer; `NOBODY` if that is not known.
        voter: Digest of the key and the user that it named; `NOBODY` if it named none.
        definition: First bytes of the fingerprint of the experiment's definition; `ANY_DEFINITION` if the
            id's version did not say.
        coin: How the coin was weighted that chose the side.
        served: Digests of the builds that served `first` and `second`, one after the other; 0 if unknown.
        segments: The segments of the request, as `segments_in` writes them; empty if the file named none.
    """

    experiment: str
    generation: int
    first: int
    second: int
    collect: Collect
    side: int
    plan_version: int
    unit: bytes
    expires_at: int
    assigned_at: int = 0
    key: bytes = NOBODY
    voter: bytes = NOBODY
    definition: bytes = ANY_DEFINITION
    coin: Coin = Coin.UNSAID
    served: bytes = UNKNOWN_BUILDS
    segments: str = ""

    @property
    def builds(self) -> tuple[str, str]:
        """Digests of the builds that served both policies, as the log has them; empty if unknown."""
        first, second = build_words(self.served)
        return first, second

    def build_of(self, policy: int) -> str:
        """The build that served one of the two policies, in hex; all 0 if unknown."""
        start = 0 if policy == self.first else BUILD_BYTES
        return self.served[start : start + BUILD_BYTES].hex()

    @property
    def position(self) -> int | None:
        """Which policy's answer the user saw first: 0 or 1; None where no user saw both."""
        shows_both = WAYS[self.collect].assigns in (Assigns.BOTH, Assigns.IN_TURN)
        return self.side if shows_both else None

    @property
    def plan_and_coin(self) -> int:
        """Coin and plan version as one number of 32 bits; earlier versions write the plan version alone."""
        return self.coin << _PLAN_BITS | self.plan_version & _MOST_PLAN

    @property
    def drawn(self) -> str:
        """How the coin fell that chose a side; empty where that chooses only an order, or is not known."""
        is_told = self.coin and WAYS[self.collect].assigns is not Assigns.IN_TURN
        return f"{self.coin:d}:{self.side}" if is_told else ""


def coin_and_plan(number: int) -> tuple[Coin, int]:
    """The coin and the plan version in such a number."""
    return _COINS[number >> _PLAN_BITS & _MOST_COIN], number & _MOST_PLAN


class Apart(IntEnum):
    """Why an answer of an experiment belongs to no comparison; the numbers are in sealed ids."""

    NOT_DRAWN = 0
    PROVIDER_STATE = 1  # the conversation carries something that only one policy's provider can read
    EARLIER_SESSION = 2  # the session began before a decision, or under another definition


@dataclass(frozen=True, slots=True)
class Unassigned:
    """An answer of an experiment that belongs to no comparison; `key` is as in an `Assignment`."""

    experiment: str
    key: bytes = NOBODY
    why: Apart = Apart.NOT_DRAWN


_REASONS: Final = frozenset(Apart)


class ResponseIds:
    """Seals assignments into response ids and opens them again.

    Args:
        keys: The sealing keys, read at each use: the newest seals, each of them opens.
        experiments: Names of experiments that an id may refer to, read at each use.

    Attributes:
        builds: Digests of the builds that serve answers, to seal.
    """

    def __init__(self, keys: SealingKeyHolder, experiments: Callable[[], Collection[str]]) -> None:
        self._holder = keys
        self.builds = BuildDigests(keys)
        self._keys: SealingKeys | None = None
        self._kept_ciphers: tuple[AESGCMSIV, ...] = ()
        self._experiments = experiments
        self._names: dict[bytes, str] = {}
        self._digests: dict[str, bytes] = {}

    def seal(self, assignment: Assignment, prefix: str = CHAT.id_prefix) -> str:
        """A response id that `open` turns back into `assignment`; two calls never give the same id."""
        return prefix + self._seal(
            _PAYLOAD.pack(
                WAYS[assignment.collect].number << 1 | assignment.side,
                assignment.generation,
                assignment.first,
                assignment.second,
                assignment.plan_and_coin,
                assignment.expires_at,
                self._digest(assignment.experiment),
                assignment.unit,
                assignment.assigned_at,
                assignment.key,
                assignment.voter,
                assignment.definition,
                assignment.served,
            ),
            assignment.segments,
        )

    def seal_unassigned(
        self,
        experiment: str,
        prefix: str = CHAT.id_prefix,
        key: bytes = NOBODY,
        why: Apart = Apart.NOT_DRAWN,
        segments: str = "",
    ) -> str:
        """An id for an answer of an experiment that belongs to no comparison; it looks like any other."""
        digest, unit = self._digest(experiment), bytes(UNIT_BYTES)
        whose = key, NOBODY, ANY_DEFINITION, UNKNOWN_BUILDS
        fields = (_UNASSIGNED, why, 0, 0, 0, 0, digest, unit, 0, *whose)
        return prefix + self._seal(_PAYLOAD.pack(*fields), segments)

    def voter(self, key: str | None, name: str) -> bytes:
        """A digest of a user that an API key names, for ids and the store; it does not reveal the user."""
        secret = blake2b(self._holder.current.newest, digest_size=32, person=b"llmpo voter").digest()
        text = f"{key or ''}\0{name}".encode()
        return blake2b(text, digest_size=_DIGEST_BYTES, key=secret).digest()

    def request_digests(self, holder: str, request_id: str) -> tuple[str, ...]:
        """The digests that may stand for a key's request in the store, by the newest sealing key first."""
        text = f"{holder}\0{request_id}".encode()
        return tuple(
            blake2b(text, digest_size=16, key=key, person=b"llmpo request").hexdigest()
            for key in self._holder.current.all
        )

    def open(self, response_id: str) -> Assignment | Unassigned:
        """The assignment that a response id was sealed with.

        Raises:
            InvalidFeedbackError: With reason `malformed_id` (not an id of this gateway, or cut short),
                `forged_id` (changed, or sealed with a key no longer known) or `unknown_experiment`.
        """
        plain = self._decrypt(_decode(response_id)).ljust(_PAYLOAD.size, b"\0")
        flags, generation, first, second, *more = _PAYLOAD.unpack_from(plain)
        plan, expires_at, digest, unit, assigned_at, key, voter, definition, served = more
        coin, plan_version = coin_and_plan(plan)
        experiment = self._name(digest)
        if flags == _UNASSIGNED:
            why = Apart(generation) if generation in _REASONS else Apart.NOT_DRAWN
            return Unassigned(experiment, key, why)
        way = WAY_OF_NUMBER.get(flags >> 1)
        if way is None:  # it was sealed by a replica of a later version
            raise _unknown_experiment()
        return Assignment(  # by position, because naming so many fields takes three times as long
            experiment,
            generation,
            first,
            second,
            way.name,
            flags & 1,
            plan_version,
            unit,
            expires_at,
            assigned_at,
            key,
            voter,
            definition,
            coin,
            served,
            plain[_PAYLOAD.size :].decode(),
        )

    def _ciphers(self) -> tuple[AESGCMSIV, ...]:
        """A cipher for each key in force, the newest first; made anew only when the keys change."""
        keys = self._holder.current
        if keys is not self._keys:
            self._keys, self._kept_ciphers = keys, tuple(AESGCMSIV(key) for key in keys.all)
        return self._kept_ciphers

    def _seal(self, payload: bytes, segments: str) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        version = _WITH_SEGMENTS if segments else _VERSION
        sealed = self._ciphers()[0].encrypt(nonce, payload + segments.encode(), _ASSOCIATED_DATA)
        return _encoded(version + nonce + sealed).decode()

    def _decrypt(self, token: bytes) -> bytes:
        nonce, sealed = token[1 : 1 + _NONCE_BYTES], token[1 + _NONCE_BYTES :]
        for cipher in self._ciphers():
            try:
                return cipher.decrypt(nonce, sealed, _ASSOCIATED_DATA)
            except InvalidTag:
                continue
        if self._holder.is_stand_in:
            raise UnavailableError(
                "The store has not given the key of response ids yet. Send it again later."
            )
        raise InvalidFeedbackError(
            "This gateway did not issue this id, or the id was changed on the way.",
            reason="forged_id",
            param="id",
        )

    def _digest(self, experiment: str) -> bytes:
        digest = self._digests.get(experiment)
        if digest is None:
            digest = blake2b(experiment.encode(), digest_size=_DIGEST_BYTES).digest()
            self._digests[experiment] = digest
            self._names[digest] = experiment
        return digest

    def _name(self, digest: bytes) -> str:
        known = self._experiments()
        found = self._names.get(digest)
        if found is None:
            for name in known:
                self._digest(name)
            found = self._names.get(digest)
        if found is None or found not in known:
            raise _unknown_experiment()
        return found


def with_response_id(request_id: str, response_id: str, prefix: str) -> str:
    """A request's id that also names its answer, so feedback may use it in place of the response's id.

    Args:
        request_id: The request's id, which this gateway made.
        response_id: The answer's id.
        prefix: The prefix of the answer's id.
    """
    return f"{request_id}.{response_id[len(prefix) :]}"


@lru_cache(maxsize=1024)
def key_digest(key: str | None) -> bytes:
    """A digest of an API key's name, for sealed ids; `NOBODY` for none."""
    if key is None:
        return NOBODY
    return blake2b(key.encode(), digest_size=_DIGEST_BYTES, person=b"llmpo api key").digest()


def _unknown_experiment() -> InvalidFeedbackError:
    return InvalidFeedbackError(
        "The experiment this response belonged to is no longer configured.",
        reason="unknown_experiment",
        status=404,
        param="id",
    )


def _decode(response_id: str) -> bytes:
    """The bytes of a response id, checked for form only."""
    prefix = _prefix_of(response_id)
    if prefix is None or not response_id.isascii():
        raise malformed_id()
    text = response_id[len(prefix) :].encode()
    try:
        token = a2b_base64(text.translate(_STANDARD) + b"=" * (-len(text) % 4))
    except Base64Error:
        raise malformed_id() from None
    # The decoder skips foreign characters and ignores spare bits, so only the canonical spelling is accepted.
    version, payload_bytes = token[:1], len(token) - _OVERHEAD_BYTES
    known_bytes = _PAYLOAD_BYTES.get(version, payload_bytes + 1)
    if payload_bytes < known_bytes or (payload_bytes > known_bytes and version != _WITH_SEGMENTS):
        raise malformed_id()
    if _encoded(token) != text:
        raise malformed_id()
    return token


def _encoded(token: bytes) -> bytes:
    """The text of a token, fit for addresses and without padding."""
    return b2a_base64(token, newline=False).translate(_URL_SAFE).rstrip(b"=")


def _prefix_of(response_id: str) -> str | None:
    """What stands before the token in the id of an answer, or in that of its request; None for other ids."""
    for prefix in _PREFIXES:
        if response_id.startswith(prefix):
            return prefix
    of_request = _REQUEST_ID.match(response_id)
    return of_request and of_request[0]


def malformed_id() -> InvalidFeedbackError:
    """The refusal of what is no id of an answer of an experiment."""
    return InvalidFeedbackError(
        "This is not the id of an answer of an experiment of this gateway.",
        reason="malformed_id",
        param="id",
    )
