"""Configuration files written for one test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config.gateway_file import GatewayConfig
from gateway.config.load import load_config
from gateway.errors import ConfigError, ConfigIssue

Write = Callable[[str], Path]
Load = Callable[[str], GatewayConfig]
Issues = Callable[[str], list[ConfigIssue]]

GOOD = """\
model_list:
  - model_name: small
    litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/PROVIDER_KEY}
experiments:
  support:
    incumbent: base
    policies:
      base: {model: small, system: "You help."}
      warm: {model: small, system: "You help, warmly."}
"""
EXPERIMENT = "experiments.support"
ENVIRON = {"PROVIDER_KEY": "sk-provider-secret"}


def only(issues: list[ConfigIssue], path: str) -> ConfigIssue:
    """The one issue at a path."""
    (found,) = [issue for issue in issues if issue.path == path]
    return found


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a configuration file and give its path."""

    def write_file(text: str) -> Path:
        path = tmp_path / "gateway.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


@pytest.fixture
def load(write: Write) -> Load:
    """Load a configuration given as text."""
    return lambda text: load_config(write(text), ENVIRON)


@pytest.fixture
def issues(write: Write) -> Issues:
    """Load a wrong configuration given as text, and return the issues."""

    def find(text: str) -> list[ConfigIssue]:
        with pytest.raises(ConfigError) as caught:
            load_config(write(text), ENVIRON)
        return caught.value.issues

    return find
