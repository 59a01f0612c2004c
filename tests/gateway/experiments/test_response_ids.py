"""The assignment inside a response id."""

from __future__ import annotations

import os
import string
from base64 import urlsafe_b64encode
from hashlib import blake2b

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidFeedbackError
from gateway.experiments import response_ids
from gateway.experiments.coins import Coin
from gateway.experiments.collecting import WAYS
from gateway.experiments.response_ids import Apart, Assignment, ResponseIds, Unassigned
from gateway.experiments.sealing_key import SealingKeyHolder, SealingKeys

OLD, NEW = bytes(32), bytes([1] * 32)
NOW = 1_800_000_000
NAMES = ("support", "x", "n" * 64)
ASSIGNMENT = Assignment("support", 1, 0, 1, "matched", 0, 3, b"u" * 16, NOW + 60)
LONGEST_SEGMENTS = 3 * (32 + 1 + 32) + 2  # bytes: of names, values and what is between them
BASE64URL = string.ascii_letters + string.digits + "-_"

assignments = st.builds(
    Assignment,
    experiment=st.sampled_from(NAMES),
    generation=st.integers(0, 2**32 - 1),
    first=st.integers(0, 2**16 - 1),
    second=st.integers(0, 2**16 - 1),
    collect=st.sampled_from(["matched", "side_by_side"]),
    side=st.integers(0, 1),
    plan_version=st.integers(0, 2**30 - 1),
    coin=st.sampled_from(Coin),
    unit=st.binary(min_size=16, max_size=16),
    expires_at=st.integers(NOW, 2**40),
    assigned_at=st.integers(0, 2**40),
    key=st.binary(min_size=8, max_size=8),
    voter=st.binary(min_size=8, max_size=8),
    definition=st.binary(min_size=6, max_size=6),
    served=st.binary(min_size=12, max_size=12),
    segments=st.just("") | st.text(max_size=LONGEST_SEGMENTS // 4),
)


def sealer(*keys: bytes, names: tuple[str, ...] = NAMES) -> ResponseIds:
    """A replica."""
    newest, *older = keys or (OLD,)
    return ResponseIds(SealingKeyHolder(SealingKeys(newest, tuple(older))), lambda: names)


def sealed_by_version(number: int, payload: bytes) -> str:
    """An id as an earlier version made it."""
    nonce = bytes(12)
    sealed = AESGCMSIV(OLD).encrypt(nonce, payload, b"llmpo assignment \x01")
    return "chatcmpl-" + urlsafe_b64encode(bytes([number]) + nonce + sealed).rstrip(b"=").decode()


def reason(opener: ResponseIds, response_id: str) -> str:
    """Why an id was refused."""
    with pytest.raises(InvalidFeedbackError) as refused:
        opener.open(response_id)
    assert 400 <= refused.value.status < 500
    return refused.value.reason


@given(assignments)
def test_any_replica_opens_what_another_sealed(assignment: Assignment) -> None:
    """Replicas need to share only the key."""
    response_id = sealer().seal(assignment)
    assert sealer().open(response_id) == assignment
    assert len(response_id) < (170 if not assignment.segments else 460)
    assert response_id.startswith("chatcmpl-")
    assert set(response_id[9:]) <= set(BASE64URL)


def test_ids_tell_nothing_of_segments_but_their_length() -> None:
    """An answer that takes no part has an id as long as one that does."""
    ours, segments = sealer(), "plan=pro"
    ids = [
        ours.seal(ASSIGNMENT._replace(segments=segments)),
        ours.seal_unassigned("support", segments=segments),
    ]

    assert len(set(map(len, ids))) == 1
    assert "plan" not in ids[0]
    assert len(ours.seal(ASSIGNMENT)) < len(ids[0])
    assert sealer().open(ids[1]) == Unassigned("support")


@pytest.mark.parametrize("cut", [1, 2, 5, 11, 12, 40])
def test_an_id_with_segments_opens_only_whole(cut: int) -> None:
    """Cut short, or with the number of another version, it opens to nothing."""
    whole = sealer().seal(ASSIGNMENT._replace(segments="plan=pro"))
    assert reason(sealer(), whole[:-cut]) in {"forged_id", "malformed_id"}
    assert reason(sealer(), whole.replace("chatcmpl-B", "chatcmpl-A")) == "malformed_id"


def test_two_ids_are_never_the_same() -> None:
    """Sealing one assignment twice gives two ids: an id names a response."""
    assert len({sealer().seal(ASSIGNMENT) for _ in range(100)}) == 100


def test_ids_tell_nothing_to_those_without_the_key() -> None:
    """All ids have the same length and share no bytes but the version, whatever they hold."""
    ours = sealer()
    ids = [
        ours.seal(ASSIGNMENT),
        ours.seal(ASSIGNMENT._replace(side=1, experiment="n" * 64)),
        ours.seal_unassigned("support"),
    ]
    assert len({len(response_id) for response_id in ids}) == 1
    assert len({response_id[12:20] for response_id in ids}) == 3


@given(st.data())
def test_one_changed_character_is_forgery(data: st.DataObject) -> None:
    """An id with any character changed is refused and never opens to another assignment."""
    response_id = sealer().seal(ASSIGNMENT)
    place = data.draw(st.integers(0, len(response_id) - 1))
    other = data.draw(st.sampled_from(sorted(set(BASE64URL) - {response_id[place]})))
    changed = response_id[:place] + other + response_id[place + 1 :]
    assert reason(sealer(), changed) in {"forged_id", "malformed_id"}


@given(st.integers(0, 106))
def test_a_truncated_id_is_malformed(length: int) -> None:
    """This holds for any number of missing characters."""
    assert reason(sealer(), sealer().seal(ASSIGNMENT)[:length]) == "malformed_id"


@given(st.text())
def test_arbitrary_text_is_malformed(text: str) -> None:
    """Anything a caller may send is refused without harm."""
    assert reason(sealer(), text) == "malformed_id"
    assert reason(sealer(), f"chatcmpl-{text}") == "malformed_id"


@pytest.mark.parametrize("tail", ["=", " ", "\n", "A", "==", "é"])
def test_only_the_one_spelling_opens(tail: str) -> None:
    """Padding and white space make another id, so feedback cannot be repeated under a new name."""
    assert reason(sealer(), sealer().seal(ASSIGNMENT) + tail) == "malformed_id"


def test_an_id_of_another_gateway_is_forged() -> None:
    """Sealed with a key this one does not know."""
    assert reason(sealer(OLD), sealer(os.urandom(32)).seal(ASSIGNMENT)) == "forged_id"


def test_keys_can_be_rotated() -> None:
    """The first key seals; ids sealed with the ones behind it still open."""
    before = sealer(OLD).seal(ASSIGNMENT)
    rotated = sealer(NEW, OLD)
    assert rotated.open(before) == ASSIGNMENT
    assert sealer(NEW).open(rotated.seal(ASSIGNMENT)) == ASSIGNMENT
    assert reason(sealer(NEW), before) == "forged_id"


def test_an_unassigned_id_says_so() -> None:
    """The id also names its experiment, so that the reply to feedback can name it."""
    assert sealer().open(sealer().seal_unassigned("support")) == Unassigned("support")


def test_an_experiment_taken_out_of_the_configuration_is_unknown() -> None:
    """A removed experiment is unknown even to a replica that served it before."""
    names = ["support"]
    ours = ResponseIds(SealingKeyHolder(SealingKeys(OLD)), lambda: names)
    response_id = ours.seal(ASSIGNMENT)
    assert ours.open(response_id) == ASSIGNMENT
    names.clear()
    assert reason(ours, response_id) == "unknown_experiment"


def test_an_id_of_a_way_only_later_versions_know_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica not yet upgraded refuses it like any other it cannot count."""
    response_id = sealer().seal(ASSIGNMENT._replace(collect="side_by_side"))
    monkeypatch.setattr(response_ids, "WAY_OF_NUMBER", {0: WAYS["matched"]})
    assert reason(sealer(), response_id) == "unknown_experiment"


@pytest.mark.parametrize("keys", [[b"short"], [OLD, b""]])
def test_bad_keys_are_refused_at_once(keys: list[bytes]) -> None:
    """The error comes at construction, not at the first request."""
    with pytest.raises(ValueError, match="32 bytes"):
        sealer(*keys)


def test_ids_of_the_first_version_are_opened() -> None:
    """Feedback on answers given before an upgrade counts; who asked for them is not known."""
    payload = response_ids._PAYLOAD_1.pack(
        0, 1, 0, 1, 3, NOW + 60, blake2b(b"support", digest_size=8).digest(), b"u" * 16
    )
    assert sealer().open(sealed_by_version(1, payload)) == ASSIGNMENT


def test_ids_of_the_second_version_are_opened() -> None:
    """Ids of the second version hold the caller's key but no definition."""
    payload = response_ids._PAYLOAD_2.pack(
        0,
        1,
        0,
        1,
        3,
        NOW + 60,
        blake2b(b"support", digest_size=8).digest(),
        b"u" * 16,
        NOW,
        b"k" * 8,
        b"v" * 8,
    )
    assert sealer().open(sealed_by_version(2, payload)) == ASSIGNMENT._replace(
        assigned_at=NOW, key=b"k" * 8, voter=b"v" * 8
    )


@pytest.mark.parametrize("why", Apart)
def test_an_id_says_why_its_answer_takes_no_part(why: Apart) -> None:
    """The application learns it when it reports on the answer."""
    assert sealer().open(sealer().seal_unassigned("support", why=why)) == Unassigned("support", why=why)


def test_voters_of_different_keys_are_different() -> None:
    """A user's name means nothing without the key that names the user, and cannot be read from its digest."""
    voters = {sealer().voter("web", "ann"), sealer().voter("app", "ann"), sealer(NEW).voter("web", "ann")}
    assert len(voters) == 3
    assert sealer().voter("web", "ann") in voters


def test_ids_of_the_third_version_are_opened() -> None:
    """Ids of the third version do not say which builds served the answer."""
    payload = response_ids._PAYLOAD_3.pack(
        0,
        1,
        0,
        1,
        3,
        NOW + 60,
        blake2b(b"support", digest_size=8).digest(),
        b"u" * 16,
        NOW,
        b"k" * 8,
        b"v" * 8,
        b"d" * 6,
    )
    assert sealer().open(sealed_by_version(3, payload)) == ASSIGNMENT._replace(
        assigned_at=NOW, key=b"k" * 8, voter=b"v" * 8, definition=b"d" * 6
    )
