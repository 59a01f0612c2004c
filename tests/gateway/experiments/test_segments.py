"""What a request's metadata comes to as a segment: whatever callers send, a short plain text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.experiments.segments import OURS, segment_value, segments_counted, segments_in

PATHS = ("metadata.plan", "metadata.country")
LONGEST_BYTES = 32
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        ("pro", "pro"),
        ("  pro ", "pro"),
        ("Pro plan 2.0 (beta)", "(other)"),
        ("eu-west/1:a+b_c.d", "eu-west/1:a+b_c.d"),
        ("größe", "größe"),
        ("gro\u0308ße", "größe"),
        ("हिन्दी", "हिन्दी"),
        ("", "(none)"),
        (" \t\n", "(none)"),
        (None, "(none)"),
        ({"plan": "pro"}, "(none)"),
        (["pro"], "(none)"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (7, "7"),
        (-1.5, "-1.5"),
        ("x" * LONGEST_BYTES, "x" * LONGEST_BYTES),
        ("x" * (LONGEST_BYTES + 1), "(other)"),
        ("ö" * 17, "(other)"),
        ("x" * 100_000, "(other)"),
        ("ann@example.org", "(other)"),
        ("pro;plan=free", "(other)"),
        ("a|b", "(other)"),
        ("a,b", "(other)"),
        ("pro\nfree", "(other)"),
        ("<b>pro</b>", "(other)"),
        ("pro\x00", "(other)"),
        ("\u202epro", "(other)"),
        ("\ud800", "(other)"),
        ("(none)", "(other)"),
        ("(mixed)", "(other)"),
        ("other", "other"),
        ("none", "none"),
    ],
)
def test_a_value_is_counted_as(said: Any, counted: str) -> None:
    """Itself where it is short and plain; words of ours are in parentheses, which no value has."""
    assert segment_value(said) == counted


@given(JSON)
def test_no_value_is_long_or_means_anything_to_those_who_carry_it(said: Any) -> None:
    """Whatever JSON a caller sends."""
    value = segment_value(said)
    assert 0 < len(value.encode()) <= LONGEST_BYTES
    assert value in OURS or not set(value) & set("();|=,\n\0\"'<>&")


@given(JSON, JSON)
def test_segments_go_through_an_id_and_back(plan: Any, country: Any) -> None:
    """They come out as what they are counted as."""
    sealed = segments_in(PATHS, {"metadata": {"plan": plan, "country": country}})
    counted = [segment_value(plan), segment_value(country)]
    assert segments_counted(sealed, PATHS) == tuple(zip(PATHS, counted, strict=True))
    assert len(sealed.encode()) <= 2 * (len("country=;") + LONGEST_BYTES)


@pytest.mark.parametrize("payload", [{}, {"metadata": None}, {"metadata": {}}, {"metadata": {"other": "x"}}])
def test_a_request_without_the_key_says_so(payload: dict[str, Any]) -> None:
    """That is known of it, and differs from not having looked."""
    assert segments_in(PATHS, payload) == "plan=(none);country=(none)"
    assert segments_in((), payload) == ""


def test_a_path_that_the_file_names_no_more_is_left_out() -> None:
    """An answer may be reported after the file was changed."""
    assert segments_counted("plan=pro;country=de", ("metadata.country",)) == (("metadata.country", "de"),)
    assert segments_counted("plan=pro", ()) == ()
