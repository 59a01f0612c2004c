"""API keys as values: what the configuration says about each, and the limits that result for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Final, Literal

from gateway.config.access import AuthSpec, LimitsSpec
from gateway.config.api_keys import HASH_PREFIX, KeyRole

_SHOWN_DIGITS: Final = 12

KeySource = Literal["configuration", "store"]


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """The limits of a key; None is no limit.

    Attributes:
        concurrent_requests: Requests in progress at once.
        requests_per_minute: Requests within any minute.
        tokens_per_minute: Tokens of prompts and answers within any minute.
    """

    concurrent_requests: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def with_own(self, own: Mapping[str, int | None]) -> KeyLimits:
        """The limits of a key: its own, and these for those that it does not have."""
        given = {name: value for name, value in own.items() if value is not None}
        return KeyLimits(**{**self.given(), **given})

    def given(self) -> dict[str, int]:
        """The limits that are set, by name."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def __bool__(self) -> bool:
        return bool(self.given())


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key, known by its hash.

    Attributes:
        hash: SHA-256 of the key, 64 hexadecimal digits.
        name: Its name in logs and metrics; the start of its hash if the operator gave it no name.
        role: Admins may also see experiments, keys and which policy answered.
        limits: Its limits.
        source: Where it was made; the configuration includes the environment.
    """

    hash: str
    name: str
    role: KeyRole
    limits: KeyLimits = field(default_factory=KeyLimits)
    source: KeySource = "configuration"


def unnamed_key(key_hash: str, role: KeyRole, limits: KeyLimits | None = None) -> ApiKey:
    """The key behind `sha256:` and 64 hexadecimal digits."""
    digits = key_hash.removeprefix(HASH_PREFIX)
    return ApiKey(digits, digits[:_SHOWN_DIGITS], role, limits or KeyLimits())


def configured_keys(
    auth: AuthSpec, client_hashes: Iterable[str] = (), admin_hashes: Iterable[str] = ()
) -> tuple[ApiKey, ...]:
    """The keys of the file and of the environment; a key listed as both is an admin's."""
    defaults = default_limits(auth)
    keys = [unnamed_key(each, "client", defaults) for each in (*auth.client_keys, *client_hashes)]
    keys += [
        ApiKey(key.hash.removeprefix(HASH_PREFIX), name, key.role, limits_of(key.role, key.limits, defaults))
        for name, key in auth.keys.items()
    ]
    keys += [unnamed_key(each, "admin") for each in (*auth.admin_keys, *admin_hashes)]
    # An entry with a name wins over one without, and the later role over the earlier one.
    by_hash: dict[str, ApiKey] = {}
    for key in keys:
        known = by_hash.get(key.hash)
        by_hash[key.hash] = key if known is None or key.role == "admin" != known.role else known
    return tuple(by_hash.values())


def default_limits(auth: AuthSpec) -> KeyLimits:
    """Limits of client keys that have none of their own."""
    return KeyLimits(**auth.limits.model_dump())


def limits_of(role: KeyRole, own: LimitsSpec, defaults: KeyLimits) -> KeyLimits:
    """The limits of a key: its own, and for a client key the defaults where it has none."""
    return (defaults if role == "client" else KeyLimits()).with_own(own.model_dump())
