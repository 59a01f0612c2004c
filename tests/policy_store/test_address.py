"""Addresses of stores: what is wrong is named, and nothing of the address is repeated."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from redis.asyncio.connection import parse_url

from policy_store.address import StoreAddressError, check_address
from policy_store.connect import connect

WORD = "s3cr3t"
WRONG = {
    f"redis://:{WORD}/x@host:6379": "one of / # ?",
    f"redis://:{WORD}#x@host:6379": "one of / # ?",
    f"redis://:{WORD}?x@host:6379": "one of / # ?",
    f"redis://u:a/{WORD}?b#c@host": "one of / # ?",
    f"redis://:{WORD}[x@host": r"\[ or \]",
    f"redis://:{WORD} x@host": "space",
    f"redis://:{WORD}\n@host": "line break",
    f"redis://:{WORD}@host/abc": "database",
    f"redis://:{WORD}@host/0/1": "database",
    f"redis://:{WORD}@host/-1": "database",
    f"redis://:{WORD}@host?foo=bar": "parameter",
    f"redis://:{WORD}@host?{WORD}": "NAME=VALUE",
    f"redis://:{WORD}@host?db=x": "db",
    f"redis://:{WORD}@host?ssl_ca_certs=/ca.pem": "TLS",
    f"rediss://:{WORD}@host?ssl_ca_certs=/nowhere/{WORD}.pem": "file of ssl_ca_certs",
    f"rediss://:{WORD}@host?ssl_check_hostname=maybe": "true nor false",
    f"redis://:{WORD}@a:1,b:2": "several hosts",
    f"redis://:{WORD}@a,b/0": "several hosts",
    f"redis://:{WORD}@": "no host",
    f"redis://:{WORD}@:6379": "no host",
    f"redis://:{WORD}@host:": "port",
    f"redis://:{WORD}@host:0": "port",
    f"redis://:{WORD}@host:65536": "port",
    f"redis://:{WORD}@host:port": "port",
    f"redis://user:{WORD}": "port",
    f"redis://:{WORD}@host#part": "after a #",
    "redis://": "no host",
    "redis:///0": "no host",
    f"http://:{WORD}@host": "not the address",
    f"redis:{WORD}": "not the address",
    f"host:6379/{WORD}": "not the address",
    WORD: "not the address",
    "": "not the address",
    "unix://": "no socket",
    "unix:///": "no socket",
    f"unix://{WORD}/a.sock": "no socket",
}
RIGHT = {
    "redis://host": {"host": "host"},
    "redis://host:6380/3": {"host": "host", "port": 6380, "db": 3},
    "redis://host/": {"host": "host"},
    "redis://[::1]:6380": {"host": "::1", "port": 6380},
    "redis://[::1]": {"host": "::1"},
    "redis://u:p%2F%23%3F%40w@host": {"username": "u", "password": "p/#?@w", "host": "host"},
    "redis://:p@w@host": {"password": "p@w", "host": "host"},
    "redis://host?db=2": {"host": "host", "db": 2},
    "rediss://host?ssl_check_hostname=false": {"host": "host", "ssl_check_hostname": False},
    "unix:///run/a.sock?db=1": {"path": "/run/a.sock", "db": 1},
    "unix://u:p@/run/a.sock": {"path": "/run/a.sock", "username": "u", "password": "p"},
}


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_address_is_named_and_not_repeated(url: str) -> None:
    """Neither in the message nor in the traceback, whatever part of it was taken for what."""
    with pytest.raises(StoreAddressError, match=WRONG[url]) as raised:
        connect(url)
    assert WORD not in str(raised.value)
    assert WORD not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("url", RIGHT)
def test_a_right_address_is_read_as_it_is_meant(url: str) -> None:
    """By the driver."""
    read = {
        name: value for name, value in parse_url(check_address(url)).items() if name != "connection_class"
    }
    assert read == RIGHT[url]


def test_files_of_tls_are_looked_for(tmp_path: Path) -> None:
    """Before the first connection fails for want of them."""
    (tmp_path / "ca.pem").write_text("")
    check_address(f"rediss://host?ssl_ca_certs={tmp_path}/ca.pem")
