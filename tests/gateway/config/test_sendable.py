"""What could never be sent is refused when the configuration is read, by its name and unrepeated."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.config.load import load_config
from gateway.errors import ConfigError, ConfigIssue

SECRET = "sk-Vw9secretsecret"


def faults(tmp_path: Path, environ: dict[str, str] | None = None, **params: object) -> list[ConfigIssue]:
    """The issues of a model with these parameters."""
    file = tmp_path / "gateway.yaml"
    model = {"model_name": "m", "litellm_params": {"model": "openai/gpt", **params}}
    file.write_text(json.dumps({"model_list": [model]}))
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ or {})
    assert SECRET not in str(caught.value)
    assert "pw9" not in str(caught.value)
    return caught.value.issues


@pytest.mark.parametrize("name", ["api_key", "azure_ad_token", "client_secret", "aws_secret_access_key"])
@pytest.mark.parametrize(
    ("written", "said"),
    [
        (f"{SECRET}\n", "ends in a line break"),
        (f"{SECRET}\r\n", "ends in a line break"),
        (f"{SECRET}\nx-evil: 1", "control character"),
        (f"{SECRET}\0", "control character"),
        (f" {SECRET}", "space"),
        (f"{SECRET}…", "not ASCII"),
    ],
)
def test_a_secret_that_no_header_can_carry_is_refused(
    tmp_path: Path, name: str, written: str, said: str
) -> None:
    """A file's last line break is the usual one; the secret itself is not shown."""
    (issue,) = faults(tmp_path, {"PROVIDER_KEY": written}, **{name: "os.environ/PROVIDER_KEY"})
    assert issue.path.endswith(f"litellm_params.{name}")
    assert said in issue.problem


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "mistral"])
def test_a_key_the_file_does_not_even_name_is_checked(tmp_path: Path, provider: str) -> None:
    """The key that the environment gives is checked too."""
    name = f"{provider.upper()}_API_KEY"
    (issue,) = faults(tmp_path, {name: f"{SECRET}\n"}, model=f"{provider}/x")
    assert f"{name} ends in a line break" in issue.problem


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("x-team", f"{SECRET}\nx-other: 1", "The header x-team has a value"),
        ("x-team", f"{SECRET} ", "The header x-team has a value"),
        ("x-team", "Zürich", "not ASCII"),
        ("x team", "a", "HTTP does not allow"),
        ("x-team:", "a", "HTTP does not allow"),
        ("", "a", "HTTP does not allow"),
        ("Content-Length", "5", "set by the gateway"),
        ("transfer-encoding", "chunked", "set by the gateway"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused(tmp_path: Path, name: str, value: str, said: str) -> None:
    """The error gives the header's name and not its value, which may be a credential."""
    (issue,) = faults(tmp_path, extra_headers={name: value})
    assert "extra_headers" in issue.path
    assert said in issue.problem


def test_other_texts_of_an_entry_are_checked_as_well(tmp_path: Path) -> None:
    """Other texts of an entry become parts of addresses and headers."""
    (issue,) = faults(tmp_path, {"ORG": "org-1\n"}, organization="os.environ/ORG")
    assert re.search("organization$", issue.path)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://user:pw9@host:8000/v1", "user name or a password"),
        ("https://pw9@host/v1", "user name or a password"),
        ("http://:pw9@host/v1", "user name or a password"),
        (f"http://{'a' * 64}.example/v1", "cannot exist"),
        (f"http://{'.'.join(['a' * 60] * 5)}/v1", "cannot exist"),
        ("http://a..example/v1", "cannot exist"),
        ("http://.example/v1", "cannot exist"),
        ("http://host:99999/v1", "host or port"),
        ("http://host:0/v1", "port 0"),
        ("http://host:eighty/v1", "host or port"),
        ("http://[::1/v1", "host or port"),
        ("http://host/v1#here", "after #"),
        ("http://host/v1\n", "line break"),
        ("http://host/ v1", "space"),
        ("http:///v1", "not an HTTP address"),
        ("ftp://host/v1", "not an HTTP address"),
    ],
)
def test_an_address_nobody_can_connect_to_is_refused(tmp_path: Path, address: str, said: str) -> None:
    """Without the check such an address would fail only at the first request, with a less clear error."""
    (issue,) = faults(tmp_path, {"BASE": address}, api_base="os.environ/BASE")
    assert issue.path.endswith("api_base")
    assert said in issue.problem


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:8000/v1", "http://[::1]:8000/v1", "https://host.example./v1", "http://h/v1?x=1"],
)
def test_addresses_that_can_be_connected_to_are_taken(tmp_path: Path, address: str) -> None:
    """Valid addresses are taken unchanged."""
    file = tmp_path / "gateway.yaml"
    model = {"model_name": "m", "litellm_params": {"model": "openai/gpt", "api_base": address}}
    file.write_text(json.dumps({"model_list": [model]}))
    assert load_config(file, {}).model_list[0].litellm_params.api_base == address
