"""What a policy is can be shown, kept for years and checked; secrets are never part of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.config.gateway_file import GatewayConfig
from gateway.experiments.catalogue import catalogue_of
from gateway.experiments.policy_content import content_fingerprint, descriptions, misdescribed, shown_content
from gateway.settings import Settings
from tests.gateway.building import NAME, config_fields, definition

SECRET = "hunter2hunter2"


def _defined(system: str = "You help.", **params: Any) -> Any:
    fields = config_fields()
    fields["model_list"][0]["litellm_params"] |= params
    fields["experiments"][NAME]["policies"]["plain"] |= {"system": system, "params": {"temperature": 0.2}}
    return catalogue_of(GatewayConfig.model_validate(fields), Settings(), {}).definitions[NAME]


def test_the_fingerprint_follows_from_what_is_shown() -> None:
    """The fingerprint stays the same after writing and reading, so an old certificate says what won."""
    defined = _defined()
    for policy in defined.policies:
        shown = json.loads(json.dumps(shown_content(policy.content)))
        assert content_fingerprint(shown) == policy.fingerprint
    plain = defined.contents[defined.policies[0].fingerprint]
    assert (plain["system"], plain["params"], plain["model"]["model"]) == (
        "You help.",
        {"temperature": 0.2},
        "openai/plain",
    )


@pytest.mark.parametrize(
    ("system", "params"),
    [
        ("You help.", {"api_key": f"sk-{SECRET}"}),
        ("You help.", {"extra_headers": {"authorization": f"Bearer {SECRET}"}}),
        ("You help.", {"extra_headers": {"x-team": SECRET}}),
        (f"Use the key sk-{SECRET} for tools.", {}),
    ],
    ids=["key", "header of a known kind", "header of any other kind", "key within a prompt"],
)
def test_secrets_are_never_shown(system: str, params: dict[str, Any]) -> None:
    """Texts that look like secrets are blanked; such a content says `redacted` and still verifies."""
    defined = _defined(system, **params)
    assert SECRET not in json.dumps(defined.contents)
    policy = defined.policies[0]
    shown = defined.contents[policy.fingerprint]
    assert ("redacted" in shown) is (content_fingerprint(shown) != policy.fingerprint)
    assert misdescribed(defined.experiment, descriptions(defined.experiment, defined.contents, "full")) == []


def test_names_alone_are_shown_where_the_file_says_so() -> None:
    """Fingerprints still tell policies apart."""
    defined = definition()
    told = descriptions(defined.experiment, defined.contents, "names")
    assert [each["content"] for each in told] == [None, None]
    assert [each["name"] for each in told] == ["plain", "warm"]
    assert misdescribed(defined.experiment, told) == []
