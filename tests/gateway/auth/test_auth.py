"""Who may call."""

from __future__ import annotations

import pytest

from gateway.api.auth import Authenticator
from gateway.config.keys import hash_key
from gateway.errors import AuthenticationError, PermissionDeniedError

KEYS = Authenticator([hash_key("client"), hash_key("both")], [hash_key("admin"), hash_key("both")])


def bearer(key: str) -> bytes:
    """An `Authorization` header."""
    return f"Bearer {key}".encode()


def test_keys_have_roles() -> None:
    """A key in both lists is an admin's."""
    assert not KEYS.authenticate(bearer("client")).is_admin
    assert KEYS.authenticate(bearer("admin")).is_admin
    assert KEYS.authenticate(bearer("both")).is_admin


def test_a_callers_id_is_no_key() -> None:
    """Logs may hold it: it is the start of the key's hash."""
    caller = KEYS.authenticate(bearer("client"))
    assert hash_key("client").startswith(f"sha256:{caller.id}")
    assert len(caller.id) == 12


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
    """No key, a malformed header, a key nobody issued."""
    with pytest.raises(AuthenticationError):
        KEYS.authenticate(header)


def test_a_keys_hash_is_not_a_key() -> None:
    """Reading the configuration must not be enough to call."""
    with pytest.raises(AuthenticationError):
        KEYS.authenticate(bearer(hash_key("client")))
    with pytest.raises(AuthenticationError):
        KEYS.authenticate(bearer(hash_key("client").removeprefix("sha256:")))


def test_the_scheme_is_case_insensitive() -> None:
    """As HTTP has it."""
    assert KEYS.authenticate(b"bearer client").role == "client"


def test_admin_matters_need_an_admin_key() -> None:
    """A client's key is known but not enough; an unknown one is unknown."""
    assert KEYS.require_admin(bearer("admin")).is_admin
    with pytest.raises(PermissionDeniedError):
        KEYS.require_admin(bearer("client"))
    with pytest.raises(AuthenticationError):
        KEYS.require_admin(None)


def test_without_any_key_everyone_may_do_everything() -> None:
    """The server then listens on loopback only."""
    nobody = Authenticator([], [])
    assert nobody.is_open
    assert nobody.authenticate(None).is_admin


def test_admin_keys_alone_lock_everyone_else_out() -> None:
    """One key anywhere ends the open house."""
    admins = Authenticator([], [hash_key("admin")])
    assert not admins.is_open
    with pytest.raises(AuthenticationError):
        admins.authenticate(None)
