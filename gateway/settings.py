"""Every setting of a running gateway that is not in its file: where state is kept, time limits, logging.

Read once at start from environment variables named `LLMPO_...`; with a bad value the gateway does not start.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gateway.config.api_keys import hash_key
from gateway.config.environment import FILE_SUFFIX, Environment
from gateway.config.values import KEY_HASH_PATTERN, fault
from gateway.errors import ConfigError, ConfigIssue
from policy_store.address import StoreAddressError, read_address
from policy_store.confirming import MOST_REPLICAS
from policy_store.names import Names, PrefixError

PREFIX: Final = "LLMPO_"
_SHORTEST_SECRET: Final = 32
_SHORTEST_KEY: Final = 32
_MISSPELT: Final = 0.8  # an unknown variable this similar to a known one is taken for a typing error


def default_data_dir() -> Path:
    """The directory in which this platform keeps a program's data.

    Raises:
        ConfigError: If the user has no home directory, as an arbitrary user of a container has none.
    """
    base = os.environ.get("XDG_DATA_HOME")
    if base and sys.platform != "darwin":
        return Path(base) / "llmpo"
    try:
        home = Path.home()
    except RuntimeError as error:
        problem = "It is not set, and this user has no home directory to keep data in."
        raise ConfigError([ConfigIssue(f"{PREFIX}DATA_DIR", problem, "Name a directory.")]) from error
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "llmpo"
    return home / ".local" / "share" / "llmpo"


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _key_hash(key: str) -> str:
    if re.fullmatch(KEY_HASH_PATTERN, key):
        return key
    if key.startswith("sha256:") or any(character.isspace() for character in key):
        raise fault(
            "One of the keys is malformed.", "List keys or their sha256: hashes, separated by commas."
        )
    if len(key) < _SHORTEST_KEY:
        raise fault(
            "One of the keys is too short.",
            f"Use at least {_SHORTEST_KEY} characters; `llmpo keys new` makes a key.",
        )
    return hash_key(key)


TextList = Annotated[tuple[str, ...], NoDecode]
"""Texts, separated by commas in the environment."""


class Settings(BaseSettings):
    """The gateway's settings; each field is the environment variable LLMPO_ + its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="Directory of the embedded store, and of the last known API keys.",
    )
    redis_url: str | None = Field(
        default=None,
        repr=False,
        description="Address of a Redis or Valkey (server, Sentinel, cluster) for all replicas; without it, "
        "the embedded store.",
    )
    redis_prefix: str = Field(
        default="",
        description="Prefix of every key's name in the store; environments with different prefixes share "
        "nothing.",
    )
    store_timeout_seconds: float = Field(
        default=1.0, gt=0, le=60, description="Longest wait for one answer of the store."
    )
    store_confirming_replicas: int = Field(
        default=0,
        ge=0,
        le=MOST_REPLICAS,
        description="How many replicas of the store have to confirm what is told as done, such as feedback "
        "and decisions (`WAIT`); 0: none.",
    )
    token_secret: SecretStr | None = Field(
        default=None,
        description="Secret that seals response ids, 32 characters or more; without one, the store makes and "
        "keeps its own.",
    )
    previous_token_secret: SecretStr | None = Field(
        default=None,
        description="The previous secret: ids that it sealed can still be opened, and sessions that began "
        "under it stay with their policies.",
    )
    client_keys: TextList = Field(
        default=(), repr=False, description="Keys or key hashes that may call models, separated by commas."
    )
    admin_keys: TextList = Field(
        default=(), repr=False, description="Keys or key hashes that may do everything, separated by commas."
    )
    allowed_hosts: TextList = Field(
        default=(),
        description="Host names that a gateway without keys accepts besides those of this machine, "
        "separated by commas.",
    )
    max_body_bytes: int = Field(
        default=10 * 1024 * 1024, ge=1024, le=1024**3, description="Largest request body accepted."
    )
    bodies_memory_bytes: int = Field(
        default=512 * 1024 * 1024,
        ge=1024 * 1024,
        le=1024**4,
        description="Memory that the bodies of all requests in progress may take together, in each process.",
    )
    max_connections: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Connections a process keeps open at once."
    )
    receive_timeout_seconds: float = Field(
        default=60.0, gt=0, le=3600, description="Longest time a request may take to arrive, body included."
    )
    keep_alive_seconds: int = Field(
        default=75,
        ge=1,
        le=3600,
        description="How long a connection without a request stays open; longer than clients and load "
        "balancers keep theirs.",
    )
    kept_keys_seconds: float = Field(
        default=86_400.0,
        ge=0,
        le=31_536_000,
        description="Largest age of the last known API keys on disk that a replica uses when it starts "
        "without its store; 0 keeps none on disk.",
    )
    spool_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1024,
        le=1024**4,
        description="Largest file of feedback that waits for the store, of each process; for experiments "
        "with `feedback.spool`.",
    )
    limits_timeout_seconds: float = Field(
        default=0.1,
        gt=0,
        le=60,
        description="Longest wait for the store to account for a key's limits; after that the request "
        "passes.",
    )
    upstream_timeout_seconds: float = Field(
        default=600.0, gt=0, le=86_400, description="Longest time one request to a provider may take."
    )
    request_timeout_seconds: float = Field(
        default=1200.0,
        gt=0,
        le=86_400,
        description="Longest time an answer may take, including all fallbacks.",
    )
    connect_timeout_seconds: float = Field(
        default=10.0, gt=0, le=600, description="Longest wait for a connection to a provider."
    )
    first_byte_timeout_seconds: float = Field(
        default=60.0, gt=0, le=86_400, description="Longest wait for the first event of a stream."
    )
    stall_timeout_seconds: float = Field(
        default=60.0, gt=0, le=86_400, description="Longest silence within a stream."
    )
    retry_ratio: float = Field(
        default=0.1, ge=0, le=1, description="Failed second attempts allowed per request, in the long run."
    )
    retry_burst: int = Field(
        default=100, ge=0, le=1_000_000, description="Second attempts a process may have in progress at once."
    )
    eject_after_failures: int = Field(
        default=5, ge=1, le=1000, description="Failures in a row after which a model or policy is ejected."
    )
    eject_max_seconds: float = Field(
        default=60.0,
        ge=1,
        le=3600,
        description="Longest time between two probes of an ejected model or policy.",
    )
    drain_notice_seconds: float = Field(
        default=0.0,
        ge=0,
        le=600,
        description="How long after SIGTERM the gateway still takes requests while /readyz says 503.",
    )
    drain_seconds: float = Field(
        default=25.0,
        ge=0,
        le=86_400,
        description="How long answers in progress may take to finish after that.",
    )
    judge_drain_seconds: float = Field(
        default=5.0,
        ge=0,
        le=600,
        description="How long requests that wait for a judge may still be compared after the last answer; "
        "the rest is dropped.",
    )
    refresh_seconds: float = Field(
        default=0.25,
        gt=0,
        le=10,
        description="Time between two checks of the store for a new plan or incumbent.",
    )
    plan_interval_seconds: float = Field(
        default=1.0, gt=0, le=3600, description="Shortest time between two plans of an experiment."
    )
    lease_seconds: float = Field(
        default=10.0,
        ge=1,
        le=600,
        description="How long a planner, or a process that delivers to a webhook, keeps its lease after it "
        "stopped answering, before another takes over.",
    )
    watch_config_seconds: float = Field(
        default=0.0,
        ge=0,
        le=3600,
        description="Time between looks at the configuration's files: those that changed are read again. 0: "
        "only when asked.",
    )
    metrics_public: bool = Field(
        default=False, description="Let anyone who can connect read /metrics, not only admin keys."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe level that is logged."
    )
    log_json: bool = Field(default=False, description="Log one JSON object per line instead of text.")
    revision: str = Field(
        default="",
        max_length=64,
        pattern=r"^[\w.+-]*$",
        description="The source revision that the gateway was built from, shown in `llmpo_build_info`.",
    )

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: str | None) -> str | None:
        if url is not None:
            try:
                read_address(url)
            except StoreAddressError as error:
                raise fault(error.problem, error.remedy) from None
        return url

    @field_validator("store_confirming_replicas")
    @classmethod
    def _check_confirming_replicas(cls, replicas: int, info: ValidationInfo) -> int:
        if replicas and info.data.get("redis_url", "") is None:
            raise fault(
                "The embedded store has no replicas that could confirm anything.",
                "Set LLMPO_REDIS_URL to a store with replicas, or remove this setting.",
            )
        return replicas

    @field_validator("redis_prefix")
    @classmethod
    def _check_redis_prefix(cls, prefix: str) -> str:
        try:
            return Names(prefix).prefix
        except PrefixError as error:
            raise fault("The prefix is too long, or has a character it may not have.", str(error)) from None

    @field_validator("token_secret", "previous_token_secret")
    @classmethod
    def _check_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret) < _SHORTEST_SECRET:
            raise fault("The secret is too short.", f"Use at least {_SHORTEST_SECRET} random characters.")
        return secret

    @field_validator("client_keys", "admin_keys", mode="before")
    @classmethod
    def _hash_keys(cls, value: Any) -> Any:
        # From here on there are only hashes, no keys in the clear.
        return tuple(map(_key_hash, _listed(value))) if isinstance(value, str) else value

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _list_hosts(cls, value: Any) -> Any:
        return _listed(value) if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _ignore_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value


def read_settings(environ: Environment | None = None) -> Settings:
    """The settings of this process, from its environment and from the files that stand for variables in it.

    Raises:
        ConfigError: With one issue for every bad value, every misspelt name and every file without a value.
    """
    environ = environ or Environment(os.environ)
    in_files, issues = _read_files(environ)
    issues += _misspelt(environ)
    try:
        settings = Settings(**in_files)
    except ValidationError as error:
        for details in error.errors(include_input=False):
            name, stated = PREFIX + str(details["loc"][0]).upper(), details.get("ctx", {})
            is_ours = details["type"] == "config"
            problem = stated["problem"] if is_ours else "The value is not allowed."
            issues.append(ConfigIssue(name, problem, stated["remedy"] if is_ours else f"{details['msg']}."))
    if issues:
        raise ConfigError(issues)
    return settings


def _read_files(environ: Environment) -> tuple[dict[str, Any], list[ConfigIssue]]:
    """The settings whose values are in files, and an issue for each file without one."""
    values: dict[str, Any] = {}
    issues: list[ConfigIssue] = []
    for field in Settings.model_fields:
        name = PREFIX + field.upper()
        if (file := environ.file_of(name)) is None:
            continue
        if value := environ.get(name):
            values[field] = value
        else:
            problem = f"The file {file} cannot be read or is empty."
            remedy = "Put the value there, readable by the gateway."
            issues.append(ConfigIssue(name + FILE_SUFFIX, problem, remedy))
    return values, issues


def _misspelt(environ: Mapping[str, str]) -> list[ConfigIssue]:
    # Other LLMPO_ variables are ignored: Kubernetes sets some for a service of this name.
    names = {name.upper() for name in Settings.model_fields}
    known = names | {name + FILE_SUFFIX for name in names}
    unknown = sorted(
        name for name in environ if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in known
    )
    return [
        ConfigIssue(name, "There is no such setting.", f"Did you mean {PREFIX}{near[0]}?")
        for name in unknown
        if (near := difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1, cutoff=_MISSPELT))
    ]
