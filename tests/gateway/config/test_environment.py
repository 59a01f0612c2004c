"""References to variables whose values are in files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.config.environment import Environment
from gateway.config.load import load_config
from gateway.errors import ConfigError
from tests.gateway.building import config_fields


def referring(folder: Path) -> Path:
    """A file whose provider key is a reference."""
    fields = config_fields()
    fields["model_list"][0]["litellm_params"]["api_key"] = "os.environ/PROVIDER"
    file = folder / "gateway.yaml"
    file.write_text(json.dumps(fields))
    return file


def test_a_reference_is_looked_up_in_a_file(tmp_path: Path) -> None:
    """Read anew each time, without the end of its line."""
    (tmp_path / "key").write_text("sk-first\n")
    environ = Environment({"PROVIDER_FILE": str(tmp_path / "key")})
    file = referring(tmp_path)

    assert load_config(file, environ).entry("plain").litellm_params.revealed()["api_key"] == "sk-first"
    (tmp_path / "key").write_text("sk-second\n")
    assert load_config(file, environ).entry("plain").litellm_params.revealed()["api_key"] == "sk-second"
    assert environ.files.stamps.keys() == {tmp_path / "key"}


@pytest.mark.parametrize("content", [None, "", "\xff"], ids=["missing", "empty", "no text"])
def test_a_file_without_a_value_is_a_fault_that_names_it(tmp_path: Path, content: str | None) -> None:
    """The error names the file and repeats nothing of its content."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))

    with pytest.raises(ConfigError, match=f"{path}, which PROVIDER_FILE names, cannot be read or is empty"):
        load_config(referring(tmp_path), Environment({"PROVIDER_FILE": str(path)}))
