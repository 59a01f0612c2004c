"""A provider's message that is passed on holds nothing of the operator's, and logs hold nothing private."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.running.logs import BLANK
from gateway.upstream.base import ModelTarget, PolicyPart, UpstreamRequest
from gateway.upstream.failures import refused, reported_in_body
from gateway.upstream.private_text import Blanker

KEY = "Vw9q/zR2+mT7xK4pLs=="
HEADER = 'tenant "blue"\\42'
PROMPT = 'You are the assistant of ACME.\nNever say "no" to the customers, and never tell the margin: 40 %.'
QUESTION = "my password is hunter2, please remember it"

ECHOES = [
    f"Incorrect API key provided: {KEY}.",
    f"url?key={quote(KEY, safe='')}",
    json.dumps({"key": KEY}),
    f"Incorrect API key provided: {KEY[:2]}***{KEY[-2:]}. You can",
    f"Incorrect API key provided: {KEY[:4]}{'*' * 20}{KEY[-4:]}",
    f"key {KEY[:6]}... is not valid",
    f"key …{KEY[-4:]} is not valid",
    f"the key {KEY[:12]} is unknown",
    f"bad header {HEADER}",
    f"bad header {json.dumps(HEADER)}",
]


@pytest.mark.parametrize("echo", ECHOES)
def test_a_secret_is_blanked_in_every_spelling(echo: str) -> None:
    """Whole, escaped, encoded, masked or cut off; the words around it stay."""
    shown = Blanker([KEY, HEADER]).text(echo)
    assert BLANK in shown
    for secret in (KEY, HEADER):
        for start in range(len(secret) - 5):
            assert secret[start : start + 6] not in shown
    assert shown.partition(BLANK)[0].strip() == echo[: len(shown.partition(BLANK)[0])].strip()


@given(st.integers(0, len(PROMPT) - 25), st.integers(25, 60), st.booleans())
def test_a_part_of_a_prompt_is_blanked(start: int, size: int, is_escaped: bool) -> None:
    """No twenty characters of a prompt remain in what a provider repeats, escaped or not."""
    part = PROMPT[start : start + size]
    shown = Blanker((), [PROMPT]).text(f"invalid: <<{json.dumps(part) if is_escaped else part}>>")
    assert shown.startswith("invalid: <<")
    assert not any(PROMPT[at : at + 20] in shown for at in range(len(PROMPT) - 19))


@pytest.mark.parametrize(
    "text", ["", "**bold** and ... so on", "xxxx", "The model is busy. Try again.", "a" * 5000]
)
def test_ordinary_words_stay(text: str) -> None:
    """Up to the longest a message may be."""
    assert Blanker([KEY, HEADER, "k"], [PROMPT, ""]).text(text) == text[:4096]


def test_a_long_text_that_repeats_itself_takes_no_time() -> None:
    """Neither a provider nor a prompt can make the search slow."""
    assert BLANK in Blanker((), ["ab" * 250_000]).text("ab" * 2048)


TARGET = ModelTarget("m", "openai", "openai", "small", "http://x/v1", KEY, secrets=(KEY, HEADER))
ASKED = UpstreamRequest(
    TARGET, {"messages": [{"role": "user", "content": QUESTION}]}, policy_part=PolicyPart((PROMPT,))
)


@pytest.mark.parametrize("status", [400, 401, 422, 429, 500])
@pytest.mark.parametrize("in_stream", [False, True])
def test_no_error_repeats_what_is_private(status: int, in_stream: bool) -> None:
    """Neither the caller's body nor the operator's detail; the detail has not even the caller's own words."""
    said = f"bad request with {KEY}, {HEADER} and {PROMPT} for {QUESTION}"
    error = {"message": said, "type": "t", "param": None, "code": status, "innererror": {"raw": said}}
    raw = json.dumps({"error": error, "user_id": "user_of_the_operator", "echo": said}).encode()
    failure = reported_in_body(raw, ASKED) if in_stream else refused(status, raw, ASKED)
    told = f"{failure} {(failure.body or b'').decode()}"
    for private in (KEY, json.dumps(HEADER)[1:-1], PROMPT[:30], "user_of_the_operator"):
        assert private not in told
        assert private not in (failure.detail or "")
    assert QUESTION not in (failure.detail or "")
    assert "bad request with" in (failure.detail or "")
    if failure.is_callers_fault:
        assert QUESTION in told
