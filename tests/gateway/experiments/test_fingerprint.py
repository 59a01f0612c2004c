"""A policy is its content: the fingerprint changes with what it sends, and with nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.values import PromptTemplate

from .conftest import Compile

BASE: dict[str, Any] = {"system": "You help.", "params": {"temperature": 0.2}}


def test_the_fingerprint_is_a_sha256_that_stays_the_same(compiled: Compile) -> None:
    """Pinned: evidence is filed under it, so it must survive upgrades of the gateway and its libraries."""
    fingerprint = compiled(**BASE).fingerprint

    assert fingerprint == "60f3eceef80dacae051fbecfd08a48803855627637e52b1115fd205a5765e92a"


@pytest.mark.parametrize(
    "spec",
    [
        {**BASE, "system": "You help, warmly."},
        {**BASE, "params": {"temperature": 0.3}},
        {**BASE, "params": {}},
        {"system": "You help.", "params": {"temperature": 0.2, "seed": 1}},
        {"template": "You help.", "params": {"temperature": 0.2}},
        {**BASE, "litellm_params": {"model": "openai/gpt-4o"}},
        {**BASE, "litellm_params": {"api_base": "http://elsewhere/v1"}},
        {**BASE, "litellm_params": {"extra_headers": {"anthropic-beta": "x"}}},
        {**BASE, "litellm_params": {"aws_region_name": "eu-west-1"}},
    ],
)
def test_changed_content_is_a_new_policy(compiled: Compile, spec: dict[str, Any]) -> None:
    """Prompt, parameters, model and where it runs all decide the answers."""
    assert compiled(**spec).fingerprint != compiled(**BASE).fingerprint


def test_a_changed_template_text_is_a_new_policy(compiled: Compile) -> None:
    """Editing a prompt file makes a new policy."""
    assert compiled(template="Hi").fingerprint != compiled(template="Hello").fingerprint


@pytest.mark.parametrize(
    "spec",
    [
        {**BASE, "litellm_params": {"api_key": "sk-rotated"}},
        {**BASE, "litellm_params": {"timeout": 5}},
        {**BASE, "litellm_params": {"aws_secret_access_key": "other"}},
        {**BASE, "litellm_params": {"extra_headers": {"Authorization": "Bearer x", "x-api-key": "y"}}},
        {**BASE, "cost": 3},
        {"params": {"temperature": 0.2}, "system": "You help."},
    ],
)
def test_secrets_timeouts_and_costs_do_not_matter(compiled: Compile, spec: dict[str, Any]) -> None:
    """Rotating a key or waiting longer does not throw evidence away."""
    assert compiled(**spec).fingerprint == compiled(**BASE).fingerprint


def test_a_moved_template_is_the_same_policy(compiled: Compile) -> None:
    """Only the text of a template counts, not the name of its file."""
    first, moved = PromptTemplate("a.j2", "Hi"), PromptTemplate("b.j2", "Hi")

    assert compiled(template=first).fingerprint == compiled(template=moved).fingerprint


def test_equal_numbers_are_the_same_policy(compiled: Compile) -> None:
    """Writing 1 or 1.0 in the file makes no difference."""
    assert (
        compiled(params={"temperature": 1}).fingerprint == compiled(params={"temperature": 1.0}).fingerprint
    )
