"""Addresses of stores: errors name the fault and repeat no part of the address."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from redis.asyncio.connection import parse_url

from policy_store.address import Address, StoreAddressError, read_address
from policy_store.connect import connect

WORD = "s3cr3t"
WRONG = {
    f"redis://:{WORD}/x@host:6379": "without encoding",
    f"redis://:{WORD}#x@host:6379": "without encoding",
    f"redis://:{WORD}?x@host:6379": "without encoding",
    f"redis://u:a/{WORD}?b#c@host": "without encoding",
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
    f"rediss://:{WORD}@host?ssl_ca_certs=/nowhere/{WORD}.pem": "file that ssl_ca_certs",
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
    f"sentinel://:{WORD}@host/main": "not the address",
    f"redis-cluster://:{WORD}@host": "not the address",
    f"redis+sentinel://:{WORD}@host": "no service",
    f"redis+sentinel://:{WORD}@host/": "no service",
    f"redis+sentinel://:{WORD}@host/main/x": "database",
    f"redis+sentinel://:{WORD}@host/main/0/1": "database",
    f"redis+sentinel://:{WORD}@a,,b/main": "no host",
    f"redis+sentinel://:{WORD}@/main": "no host",
    f"redis+sentinel://:{WORD}@a:26379,b:x/main": "port",
    f"redis+sentinel://a:{WORD}/main": "port",
    f"redis+sentinel://:{WORD}@host/main?ssl_ca_certs=/ca.pem": "for TLS",
    f"redis+cluster://:{WORD}@host/1": "no database but 0",
    f"redis+cluster://:{WORD}@host?db=1": "no database but 0",
    f"redis+cluster://:{WORD}@host/main": "database",
    f"redis+cluster://:{WORD}@": "no host",
    f"redis+cluster://:{WORD}@host?sentinel_password={WORD}": "for Sentinel",
    f"redis://:{WORD}@host?sentinel_username=a": "for Sentinel",
    f"redis+cluster://:{WORD}@a,b:99999": "port",
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

SEVERAL = {
    "redis+sentinel://a,b:1,[::1]:2/main": Address(
        "sentinel", hosts=(("a", 26379), ("b", 1), ("::1", 2)), service="main"
    ),
    "redis+sentinel://u:p%2F@a/my%20main/3?sentinel_username=s&sentinel_password=q%2F": Address(
        "sentinel",
        hosts=(("a", 26379),),
        service="my main",
        options={"username": "u", "password": "p/", "db": 3},
        sentinel_options={"username": "s", "password": "q/"},
    ),
    "rediss+sentinel://a/main?ssl_check_hostname=false": Address(
        "sentinel",
        is_secure=True,
        hosts=(("a", 26379),),
        service="main",
        options={"ssl_check_hostname": False},
    ),
    "redis+cluster://a:7001,b": Address("cluster", hosts=(("a", 7001), ("b", 6379))),
    "redis+cluster://u:p@a/0?db=0": Address(
        "cluster", hosts=(("a", 6379),), options={"username": "u", "password": "p"}
    ),
    "rediss+cluster://a": Address("cluster", is_secure=True, hosts=(("a", 6379),)),
}


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_address_is_named_and_not_repeated(url: str) -> None:
    """No part of it is in the message or the traceback."""
    with pytest.raises(StoreAddressError, match=WRONG[url]) as raised:
        connect(url)
    assert WORD not in str(raised.value)
    assert WORD not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("url", RIGHT)
def test_a_right_address_is_read_as_it_is_meant(url: str) -> None:
    """The driver reads a valid address correctly."""
    assert read_address(url) == Address("single")
    read = {name: value for name, value in parse_url(url).items() if name != "connection_class"}
    assert read == RIGHT[url]


@pytest.mark.parametrize("url", SEVERAL)
def test_addresses_of_sentinels_and_clusters_are_read(url: str) -> None:
    """The result has the hosts and the arguments for connections to servers and Sentinels."""
    assert read_address(url) == SEVERAL[url]


def test_secrets_of_an_address_are_not_shown() -> None:
    """Formatting the address shows no secret, not even by accident."""
    shown = repr(read_address(f"redis+sentinel://u:{WORD}@a/main?sentinel_password={WORD}"))
    assert WORD not in shown


def test_files_of_tls_are_looked_for(tmp_path: Path) -> None:
    """A missing file is an error before the first connection."""
    (tmp_path / "ca.pem").write_text("")
    read_address(f"rediss://host?ssl_ca_certs={tmp_path}/ca.pem")
