"""The part of a configuration file about callers, as frozen models: API keys and the limits of each."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import (
    Field,
    model_validator,
)

from gateway.config.api_keys import KeyRole
from gateway.config.section import Section
from gateway.config.values import (
    KeyHash,
    Name,
    fault,
)

_Limit = Annotated[int, Field(ge=1, le=10**12)] | None


class LimitsSpec(Section):
    """Limits of an API key, over all replicas. A limit that is absent does not apply."""

    concurrent_requests: _Limit = Field(default=None, description="Requests in progress at once.")
    requests_per_minute: _Limit = Field(default=None, description="Requests within any minute.")
    tokens_per_minute: _Limit = Field(
        default=None, description="Tokens of prompts and answers within any minute."
    )


class KeySpec(Section):
    """One API key with a name."""

    hash: KeyHash = Field(description="Hash of the key.")
    role: KeyRole = Field(
        default="client",
        description="What the key may do: the same as a key of `client_keys` or of `admin_keys`.",
    )
    limits: LimitsSpec = Field(
        default_factory=LimitsSpec,
        description="The key's own limits; for limits not given here, a client key has those of "
        "`auth.limits`.",
    )


class AuthSpec(Section):
    """Who may call. Keys are listed by hash; without any key, the gateway listens on loopback only."""

    client_keys: list[KeyHash] = Field(
        default_factory=list, description="Keys that may call models and report feedback."
    )
    admin_keys: list[KeyHash] = Field(
        default_factory=list, description="Keys that may also see experiments and which policy answered."
    )
    keys: dict[Name, KeySpec] = Field(
        default_factory=dict, description="Keys with names, for limits, logs and metrics."
    )
    limits: LimitsSpec = Field(
        default_factory=LimitsSpec, description="Limits of each client key that has none of its own."
    )

    @property
    def has_keys(self) -> bool:
        """Whether the file names any key at all."""
        return bool(self.client_keys or self.admin_keys or self.keys)

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        named = [key.hash for key in self.keys.values()]
        if len({*named, *self.client_keys, *self.admin_keys}) < len(named) + len(
            {*self.client_keys, *self.admin_keys}
        ):
            raise fault(
                "A key with a name is listed twice.", "List each key once: under `keys`, or without a name."
            )
        return self
