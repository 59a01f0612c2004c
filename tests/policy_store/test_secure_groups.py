"""Sentinel and a cluster over TLS, with a user who may do only what the documentation says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from policy_store.connect import connect
from policy_store.errors import StoreUnavailableError
from policy_store.report_records import Receipt
from policy_store.store import PolicyStore
from policy_store.vitals import StoreVitals
from tests.pace import PATIENCE_SECONDS
from tests.policy_store.authority import Authority
from tests.policy_store.building import NAME, planned, prefer
from tests.servers import ClusterServer, Process, SentinelServer

Group = ClusterServer | SentinelServer
MAY: Final = ("reset", "on", ">word", "~llmpo:*", "+@read", "+@write", "+@scripting", "+@connection", "+time")
MAY_ON_A_CLUSTER: Final = ("+cluster|slots", "+command")
MAY_ASK: Final = ("reset", "on", ">watchword", "+sentinel|masters", "+ping")
SECONDS: Final = 10.0


@pytest.mark.parametrize("kind", [ClusterServer, SentinelServer])
async def test_a_failover_over_tls_with_a_user_of_few_rights(
    kind: Callable[..., Group], tmp_path: Path
) -> None:
    """Discovery, scripts and the connections after a failover all use the certificates and the password."""
    authority = Authority(tmp_path / "tls", "ours")
    certificate, key = authority.vouch("server")
    group = kind(
        tmp_path / "servers",
        tls_port="any",
        tls_cert_file=str(certificate),
        tls_key_file=str(key),
        tls_ca_cert_file=str(authority.file),
        tls_replication="yes",
        **({"tls_cluster": "yes", "cluster_node_timeout": 4000} if kind is ClusterServer else {}),
    )
    redis = connect(_address(group, authority), timeout_seconds=SECONDS)
    store, vitals = PolicyStore(redis, timeout_seconds=SECONDS), StoreVitals(redis, timeout_seconds=SECONDS)
    try:
        group.start()
        _allow(group)
        await planned(store)
        assert (await prefer(store, "before")).receipt is Receipt.COUNTED
        assert (await vitals.pulse(may_begin=True)).epoch == 1

        (await _primary(group, store)).end()

        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await _is_counted(store):
                await asyncio.sleep(0.1)
        assert (await store.counts(NAME, 1)).comparisons == 2
    finally:
        await store.aclose()
        group.stop()


def _allow(group: Group) -> None:
    """Make the gateway's user on every server, and the one that asks Sentinels."""
    nodes, more = (group.nodes, MAY_ON_A_CLUSTER) if isinstance(group, ClusterServer) else (group.servers, ())
    for node in nodes:
        node.ask("acl", "setuser", "gateway", *MAY, *more)
    for sentinel in getattr(group, "sentinels", ()):
        sentinel.ask("acl", "setuser", "asker", *MAY_ASK)


def _address(group: Group, authority: Authority) -> str:
    certificate, key = authority.vouch("client")
    files = f"ssl_ca_certs={authority.file}&ssl_certfile={certificate}&ssl_keyfile={key}"
    if isinstance(group, ClusterServer):
        return f"rediss+cluster://gateway:word@{group.nodes[0].place},{group.nodes[1].place}?{files}"
    places = ",".join(sentinel.place for sentinel in group.sentinels)
    asking = "sentinel_username=asker&sentinel_password=watchword"
    return f"rediss+sentinel://gateway:word@{places}/main/0?{files}&{asking}"


async def _primary(group: Group, store: PolicyStore) -> Process:
    if isinstance(group, SentinelServer):
        return group.servers[0]
    slot = store._redis.keyslot(store._names.experiment(NAME).control)
    port = store._redis.nodes_manager.get_node_from_slot(slot).port
    return next(node for node in group.nodes if node.known_port == port)


async def _is_counted(store: PolicyStore) -> bool:
    try:
        return (await prefer(store, "after")).receipt in {Receipt.COUNTED, Receipt.DUPLICATE}
    except StoreUnavailableError:
        return False
