"""Settings come from the environment; a bad or misspelt one stops the start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.config.api_keys import hash_key, new_key
from gateway.errors import ConfigError
from gateway.settings import read_settings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LLMPO_")]:
        monkeypatch.delenv(name)


def test_without_variables_the_defaults_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway needs no setting to start; its data goes where the platform keeps such things."""
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    settings = read_settings()

    assert settings.data_dir == Path("/somewhere/llmpo")
    assert (settings.redis_url, settings.token_secret, settings.client_keys) == (None, None, ())
    assert (settings.refresh_seconds, settings.max_body_bytes) == (0.25, 10 * 1024 * 1024)


def test_user_without_a_home_is_told_to_name_a_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arbitrary user of a container has none; a directory that is named is enough."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(ConfigError) as caught:
        read_settings()
    assert "LLMPO_DATA_DIR" in str(caught.value)

    monkeypatch.setenv("LLMPO_DATA_DIR", "/data")
    assert read_settings().data_dir == Path("/data")


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each field is a variable; an empty one counts as absent."""
    monkeypatch.setenv("LLMPO_REDIS_URL", "rediss://cache:6380/0")
    monkeypatch.setenv("LLMPO_LOG_LEVEL", "WARNING")
    monkeypatch.setenv("LLMPO_LOG_JSON", "true")
    monkeypatch.setenv("LLMPO_LEASE_SECONDS", "")
    settings = read_settings()

    assert (settings.redis_url, settings.log_level, settings.log_json) == (
        "rediss://cache:6380/0",
        "warning",
        True,
    )
    assert settings.lease_seconds == 10


def test_keys_are_hashed_as_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys in the clear and hashes, separated by commas, all end up as hashes."""
    key, other = new_key(), hash_key("other")
    monkeypatch.setenv("LLMPO_CLIENT_KEYS", f"{key}, {other},")
    settings = read_settings()

    assert settings.client_keys == (hash_key(key), other)
    assert key not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("LLMPO_REDIS_URL", "http://sk-leak", "redis://, rediss:// or unix://"),
        ("LLMPO_REDIS_PREFIX", "leak{", "letters, digits, and . _ : / -"),
        ("LLMPO_REDIS_PREFIX", "leak" * 17, "at most 64 characters"),
        ("LLMPO_STORE_TIMEOUT_SECONDS", "0", "greater than 0"),
        ("LLMPO_STORE_TIMEOUT_SECONDS", "soon", "valid number"),
        ("LLMPO_STORE_CONFIRMING_REPLICAS", "1", "Set LLMPO_REDIS_URL to a store with replicas"),
        ("LLMPO_STORE_CONFIRMING_REPLICAS", "-1", "greater than or equal to 0"),
        ("LLMPO_MAX_BODY_BYTES", "10MB", "valid integer"),
        ("LLMPO_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("LLMPO_TOKEN_SECRET", "sk-leak", "at least 32"),
        ("LLMPO_ADMIN_KEYS", "sha256:sk-leak", "sha256: hashes"),
        ("LLMPO_ADMIN_KEYS", "sk leak", "separated by commas"),
        ("LLMPO_ADMIN_KEYS", "sk-leak" + "a" * 24, "32 characters"),
        ("LLMPO_CLIENT_KEYS", "a", "32 characters"),
        ("LLMPO_REFRESH_SECONDS", "inf", "finite number"),
    ],
)
def test_bad_values_stop_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, remedy: str
) -> None:
    """The variable and what would be right are named; the value, which may be a secret, is not."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        read_settings()

    (issue,) = caught.value.issues
    assert issue.path == name
    assert remedy in issue.remedy
    assert "leak" not in str(caught.value)


def test_every_bad_setting_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One error lists every bad setting, as for the configuration file."""
    monkeypatch.setenv("LLMPO_REDIS_ULR", "redis://x")
    monkeypatch.setenv("LLMPO_LEASE_SECONDS", "0")
    monkeypatch.setenv("LLMPO_REFRESH_SECONDS", "0")
    with pytest.raises(ConfigError) as caught:
        read_settings()

    assert [issue.path for issue in caught.value.issues] == [
        "LLMPO_REDIS_ULR",
        "LLMPO_REFRESH_SECONDS",
        "LLMPO_LEASE_SECONDS",
    ]
    assert caught.value.issues[0].remedy == "Did you mean LLMPO_REDIS_URL?"


def test_variables_a_cluster_makes_up_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets these for a service called llmpo."""
    monkeypatch.setenv("LLMPO_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("LLMPO_PORT", "tcp://10.0.0.1:8000")

    assert read_settings().redis_url is None


@pytest.mark.parametrize(
    "url", ["redis://:s3cr3t/x@host", "redis://h/abc", "redis://h?foo=s3cr3t", "redis://a,b"]
)
def test_a_wrong_address_of_the_store_is_named_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """The start fails with a correct example and without the wrong address."""
    monkeypatch.setenv("LLMPO_REDIS_URL", url)
    with pytest.raises(ConfigError) as raised:
        read_settings()
    (issue,) = raised.value.issues
    assert issue.path == "LLMPO_REDIS_URL"
    assert issue.remedy
    assert "s3cr3t" not in str(raised.value)


def test_a_setting_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting may be a mounted file; the variable itself wins unless it is empty."""
    (tmp_path / "secret").write_text("a secret of more than thirty-two characters\n")
    monkeypatch.setenv("LLMPO_TOKEN_SECRET_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("LLMPO_TOKEN_SECRET", "")
    assert read_settings().token_secret.get_secret_value() == "a secret of more than thirty-two characters"

    monkeypatch.setenv("LLMPO_TOKEN_SECRET", "another secret, that is in the environment")
    assert read_settings().token_secret.get_secret_value() == "another secret, that is in the environment"


def test_a_file_without_a_value_and_a_misspelt_one_are_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that was not mounted is not taken for none."""
    monkeypatch.setenv("LLMPO_ADMIN_KEYS_FILE", str(tmp_path / "no-such"))
    monkeypatch.setenv("LLMPO_TOKEN_SECRETS_FILE", str(tmp_path))

    with pytest.raises(ConfigError) as refused:
        read_settings()

    assert [issue.path for issue in refused.value.issues] == [
        "LLMPO_ADMIN_KEYS_FILE",
        "LLMPO_TOKEN_SECRETS_FILE",
    ]
    assert "LLMPO_TOKEN_SECRET_FILE" in str(refused.value)
