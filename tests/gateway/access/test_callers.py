"""Who may call."""

from __future__ import annotations

import pytest

from gateway.access.callers import Authenticator
from gateway.config.access import AuthSpec
from gateway.config.api_keys import hash_key
from gateway.config.configured_keys import KeyLimits, configured_keys, unnamed_key
from gateway.errors import AuthenticationError, PermissionDeniedError

KEYS = Authenticator(
    configured_keys(AuthSpec(), [hash_key("client"), hash_key("both")], [hash_key("admin"), hash_key("both")])
)


def bearer(key: str) -> bytes:
    """An `Authorization` header."""
    return f"Bearer {key}".encode()


def test_keys_have_roles() -> None:
    """A key in both lists is an admin's."""
    assert not KEYS.authenticate(bearer("client")).is_admin
    assert KEYS.authenticate(bearer("admin")).is_admin
    assert KEYS.authenticate(bearer("both")).is_admin


def test_a_callers_name_is_no_key() -> None:
    """Logs may hold it: for a key without a name, it is the start of its hash."""
    caller = KEYS.authenticate(bearer("client"))
    assert hash_key("client").startswith(f"sha256:{caller.name}")
    assert len(caller.name) == 12


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic client",
        b"client",
        b"Bearer wrong",
        b"Bearer client2",
        b"\xff",
    ],
)
def test_anything_else_is_refused(header: bytes | None) -> None:
    """A missing key, a malformed header and an unknown key are refused."""
    with pytest.raises(AuthenticationError):
        KEYS.authenticate(header)


def test_a_keys_hash_is_not_a_key() -> None:
    """Reading the configuration must not be enough to call."""
    with pytest.raises(AuthenticationError):
        KEYS.authenticate(bearer(hash_key("client")))
    with pytest.raises(AuthenticationError):
        KEYS.authenticate(bearer(hash_key("client").removeprefix("sha256:")))


def test_the_scheme_is_case_insensitive() -> None:
    """The scheme of the authorization header may have any case, as HTTP says."""
    assert KEYS.authenticate(b"bearer client").role == "client"


def test_admin_matters_need_an_admin_key() -> None:
    """A client's key is known but not enough."""
    KEYS.authenticate(bearer("admin")).require_admin()
    with pytest.raises(PermissionDeniedError):
        KEYS.authenticate(bearer("client")).require_admin()


def test_without_any_key_everyone_may_do_everything() -> None:
    """The server then listens on loopback only."""
    nobody = Authenticator([])
    assert nobody.is_open
    assert nobody.authenticate(None).is_admin


def test_admin_keys_alone_lock_everyone_else_out() -> None:
    """One key anywhere ends the open house."""
    admins = Authenticator([unnamed_key(hash_key("admin"), "admin")])
    assert not admins.is_open
    with pytest.raises(AuthenticationError):
        admins.authenticate(None)


def test_the_keys_can_be_exchanged_while_serving() -> None:
    """A key that is gone is refused from then on, even if none is left: the house does not open."""
    keys = Authenticator([unnamed_key(hash_key("old"), "client")])
    keys.use([unnamed_key(hash_key("new"), "admin")])
    assert keys.authenticate(bearer("new")).is_admin
    with pytest.raises(AuthenticationError):
        keys.authenticate(bearer("old"))
    keys.use([])
    for header in (None, bearer("old"), bearer("new")):
        with pytest.raises(AuthenticationError):
            keys.authenticate(header)


def test_a_key_has_its_own_limits_and_a_clients_others_from_the_defaults() -> None:
    """An admin is not limited by default."""
    auth = AuthSpec.model_validate(
        {
            "client_keys": [hash_key("plain")],
            "admin_keys": [hash_key("ops")],
            "keys": {
                "app": {"hash": hash_key("app"), "limits": {"requests_per_minute": 5}},
                "boss": {"hash": hash_key("boss"), "role": "admin", "limits": {"concurrent_requests": 1}},
            },
            "limits": {"concurrent_requests": 3, "requests_per_minute": 50},
        }
    )
    keys = Authenticator(configured_keys(auth))
    found = {name: keys.authenticate(bearer(name)) for name in ("plain", "app", "ops", "boss")}
    assert {name: caller.limits for name, caller in found.items()} == {
        "plain": KeyLimits(concurrent_requests=3, requests_per_minute=50),
        "app": KeyLimits(concurrent_requests=3, requests_per_minute=5),
        "ops": KeyLimits(),
        "boss": KeyLimits(concurrent_requests=1),
    }
    assert [name for name, caller in found.items() if not caller.is_limited] == ["ops"]
    assert (found["app"].name, found["boss"].role) == ("app", "admin")
