"""Digests of the builds that answers name."""

from __future__ import annotations

import json

import pytest

from gateway.experiments.sealing_key import SealingKeyHolder, SealingKeys
from gateway.experiments.served import BUILD_BYTES, UNKNOWN_BUILD, BuildDigests, build_words

_KEYS = SealingKeyHolder(SealingKeys(b"k" * 32))
WHOLE = {"id": "x", "model": "m-1", "choices": [{"message": {"content": "Hi"}}], "system_fingerprint": "fp_1"}


def _digest(answer: dict[str, object] | bytes) -> bytes:
    text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return BuildDigests(_KEYS).of(text)


def test_an_answer_names_its_build_wherever_the_fields_stand() -> None:
    """Whole answers, first events of streams, and answers inside an envelope give the same digest."""
    event = b'data: {"model":"m-1","system_fingerprint":"fp_1","choices":[]}\n\n'
    fields = dict(reversed(WHOLE.items()))
    enveloped = {"type": "response.created", "response": {"id": "r", "model": "m-1"}, **_only("fp_1")}

    assert {_digest(each) for each in (WHOLE, event, fields, enveloped)} == {_digest(WHOLE)}
    assert len(_digest(WHOLE)) == BUILD_BYTES


def test_model_and_fingerprint_are_told_apart() -> None:
    """Each has a half of its own; what is not named is 0."""
    other = _digest({**WHOLE, "system_fingerprint": "fp_2"})
    unnamed = _digest({"model": "m-1", "choices": []})

    assert other[:3] == _digest(WHOLE)[:3] == unnamed[:3]
    assert other[3:] != _digest(WHOLE)[3:]
    assert unnamed[3:] == bytes(3)
    assert _digest({"choices": []}) == _digest({"model": "", "system_fingerprint": None}) == UNKNOWN_BUILD


@pytest.mark.parametrize("said", ['"model": "x"', '{"system_fingerprint": "x"}', 'a \\" "model":"x"'])
def test_what_an_answer_says_is_not_what_it_names(said: str) -> None:
    """Text that looks like the fields changes nothing, wherever it stands."""
    early = {"choices": [{"message": {"content": said}}], **WHOLE}

    assert _digest(early) == _digest({**WHOLE, "choices": [{"message": {"content": said}}]}) == _digest(WHOLE)


@pytest.mark.parametrize("length", range(24))
def test_no_other_field_is_taken_for_one_that_is_missing(length: int) -> None:
    """Wherever the colon after another name stands, its value names no build."""
    assert _digest({"i" * length: "said", "object": "chat.completion"}) == UNKNOWN_BUILD
    assert _digest(b'{"' + b"i" * length + b'":"said"}') == UNKNOWN_BUILD


def test_names_that_never_end_take_no_room() -> None:
    """A provider may send a name of any length, or break off within it."""
    digests = BuildDigests(_KEYS)
    digests.of(b'{"model":"' + b"m" * 5_000_000)

    assert [len(model) for model, _ in digests._known] == [256]


def test_digests_depend_on_the_key() -> None:
    """Without the gateway's secret nobody can look a model up; another secret gives other digests."""
    holder = SealingKeyHolder(SealingKeys(b"k" * 32))
    digests = BuildDigests(holder)
    before = digests.of(json.dumps(WHOLE).encode())
    holder.current = SealingKeys(b"l" * 32, (b"k" * 32,))

    assert digests.of(json.dumps(WHOLE).encode()) != before


def test_words_leave_out_what_is_not_known() -> None:
    """Six digits for a model, twelve with a fingerprint, none for an unknown build."""
    model, both = bytes((1, 2, 3, 0, 0, 0)), bytes((1, 2, 3, 4, 5, 6))

    assert build_words(model + both) == ("010203", "010203040506")
    assert build_words(UNKNOWN_BUILD * 2) == ("", "")


def test_fingerprints_that_are_new_in_every_answer_do_not_pile_up() -> None:
    """A provider may name as many builds as it likes."""
    digests = BuildDigests(_KEYS)
    found = {digests.of(b'{"model":"m","system_fingerprint":"%d"}' % number) for number in range(3000)}

    assert len(found) > 2990
    assert len(digests._known) <= 1025


def _only(fingerprint: str) -> dict[str, str]:
    return {"system_fingerprint": fingerprint}
