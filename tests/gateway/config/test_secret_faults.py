"""Faults of references to the environment and of secrets, which are never repeated."""

from __future__ import annotations

import pytest

from gateway.config.load import load_config
from gateway.errors import ConfigError

from .conftest import EXPERIMENT, GOOD, Issues, Write, only


@pytest.mark.parametrize(
    ("entry", "key", "remedy"),
    [
        ("api_key: '${OPENAI_API_KEY}'", "api_key", "os.environ/OPENAI_API_KEY"),
        ("api_key: $OPENAI_API_KEY", "api_key", "os.environ/ and the name"),
        ("api_base: '${BASE}'", "api_base", "os.environ/BASE"),
        ("api_base: 'https://${HOST}/v1'", "api_base", "os.environ/HOST"),
        ("extra_headers: {x-team: '${TEAM:-secret}'}", "extra_headers.x-team", "os.environ/TEAM"),
    ],
)
def test_other_programs_references_to_the_environment_are_refused(
    issues: Issues, entry: str, key: str, remedy: str
) -> None:
    """Sent as they stand they would be a wrong key, which would come out at the first request."""
    (issue,) = issues(f"model_list:\n- {{model_name: m, litellm_params: {{model: openai/m, {entry}}}}}\n")

    assert issue.path == f"model_list[0].litellm_params.{key}"
    assert "not looked up" in issue.problem
    assert remedy in issue.remedy
    assert "secret" not in issue.problem + issue.remedy


@pytest.mark.parametrize(("environ", "state"), [({}, "not set"), ({"PROVIDER_KEY": ""}, "empty")])
def test_a_missing_environment_variable_is_named(write: Write, environ: dict[str, str], state: str) -> None:
    """An unset or empty variable is a fault of its own."""
    with pytest.raises(ConfigError) as caught:
        load_config(write(GOOD), environ)

    (issue,) = caught.value.issues
    assert (issue.path, issue.line) == ("model_list[0].litellm_params.api_key", 3)
    assert issue.problem == f"The environment variable PROVIDER_KEY is {state}."


def test_environment_references_elsewhere_are_refused(issues: Issues) -> None:
    """References elsewhere would be taken literally, which is never meant."""
    issue = only(issues(GOOD.replace("You help.", "os.environ/PROMPT")), f"{EXPERIMENT}.policies.base.system")

    assert (
        issue.remedy == "Environment references work in litellm_params, auth, webhooks and promotion.confirm."
    )


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("api_key: os.environ/PROVIDER_KEY", "timeout: sk-leak"),
        GOOD.replace("api_key: os.environ/PROVIDER_KEY", "api_base: sk-leak"),
        GOOD.replace("api_key: os.environ/PROVIDER_KEY", "api_keey: sk-leak"),
        GOOD.replace("api_key: os.environ/PROVIDER_KEY", "api_version: [sk-leak]"),
        GOOD.replace("api_key: os.environ/PROVIDER_KEY", "extra_headers: sk-leak"),
        GOOD.replace("{model: openai/gpt-4o-mini, api_key: os.environ/PROVIDER_KEY}", "sk-leak"),
        GOOD + "auth: sk-leak\n",
        GOOD + "auth: {client_keys: [sk-leak]}\n",
        GOOD + "auth: {client_keys: sk-leak}\n",
        GOOD + "auth: {admin_keys: [sha256:sk-leak]}\n",
        GOOD + "api_key: sk-leak\n",
    ],
)
def test_secrets_are_never_repeated(issues: Issues, text: str) -> None:
    """A key in the wrong place is reported by its place; what could be a secret is not shown."""
    assert "sk-leak" not in "\n".join(map(str, issues(text)))


@pytest.mark.parametrize("key", ["timeout", "model", "api_base"])
def test_values_from_the_environment_are_never_repeated(write: Write, key: str) -> None:
    """Only the name of the variable is shown when its value is wrong."""
    params = f"model: openai/m, {key}: os.environ/WRONG" if key != "model" else "model: os.environ/WRONG"
    text = GOOD.replace("model: openai/gpt-4o-mini, api_key: os.environ/PROVIDER_KEY", params)
    with pytest.raises(ConfigError) as caught:
        load_config(write(text), {"WRONG": "sk-leak"})

    assert "sk-leak" not in str(caught.value)
    assert caught.value.issues[0].path == f"model_list[0].litellm_params.{key}"


def test_a_plain_key_in_the_file_is_refused(issues: Issues) -> None:
    """The file holds hashes, so that a reader of the file cannot use the gateway."""
    found = issues(GOOD + "auth: {client_keys: [llmpo-plain-key]}\n")

    assert "llmpo keys new" in only(found, "auth.client_keys[0]").remedy
