"""The state of the store, of replicas and of deliveries as Prometheus series, read at scrape time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.experiments.snapshot import SnapshotHolder
from gateway.experiments.store_history import Loss
from gateway.learning.store_watch import StoreWatch
from gateway.reloading.upkeep import Upkeep
from gateway.running.store_health import StoreHealth
from policy_store.deliveries import DeliveryState


class StoreCollector(Collector):
    """Shows the state of the store, as far as this replica knows.

    Args:
        health: Knows whether the store answers and accepts writes.
        watch: Knows whether the store lost something, and the server's settings.
    """

    def __init__(self, health: StoreHealth, watch: StoreWatch) -> None:
        self._health = health
        self._watch = watch

    def collect(self) -> Iterable[Metric]:
        """Every series; those of the server's settings and replicas only if the server tells them."""
        up, writable = bool(self._health.is_up), bool(self._health.is_writable)
        yield GaugeMetricFamily("llmpo_store_up", "1 while the shared store answers.", value=float(up))
        yield GaugeMetricFamily(
            "llmpo_store_writable", "1 while the shared store accepts writes.", value=float(up and writable)
        )
        held = GaugeMetricFamily(
            "llmpo_store_held",
            "1 while decisions and feedback wait, because the store lost something.",
            labels=["loss"],
        )
        for loss in Loss:
            held.add_metric([loss.value], float(self._watch.history.held is loss))
        yield held
        replicas = GaugeMetricFamily(
            "llmpo_store_replicas",
            "Replicas connected to the store's server that has the fewest, while they confirm writes.",
            labels=[],
        )
        if self._watch.replicas is not None:
            replicas.add_metric([], self._watch.replicas)
        yield replicas
        for name, text, value in (
            ("evicts", "1 if the server drops keys when memory is short.", self._watch.server.evicts),
            ("persists", "1 if the server keeps its data on disk.", self._watch.server.persists),
        ):
            if value is not None:
                yield GaugeMetricFamily(f"llmpo_store_{name}", text, value=float(value))


class ReplicaCollector(Collector):
    """Shows which configuration this replica runs, and for which experiments the store runs another one.

    Args:
        snapshots: What requests read.
        upkeep: Which configuration is in force, whether the file has faults, and what other replicas run.
    """

    def __init__(self, snapshots: SnapshotHolder, upkeep: Upkeep) -> None:
        self._snapshots = snapshots
        self._upkeep = upkeep

    def collect(self) -> Iterable[Metric]:
        """One series for the configuration, and one for each experiment that the store knows."""
        config = GaugeMetricFamily(
            "llmpo_config_info", "Always 1; the hash identifies the configuration in force.", labels=["hash"]
        )
        config.add_metric([self._upkeep.config_hash], 1.0)
        yield config
        replicas = GaugeMetricFamily(
            "llmpo_config_replicas",
            "Live replicas on the store, by the configuration they run.",
            labels=["hash"],
        )
        for digits, names in self._upkeep.agreement.by_hash.items():
            replicas.add_metric([digits], len(names))
        yield replicas
        yield GaugeMetricFamily(
            "llmpo_config_last_reload_successful",
            "0 while the configuration that was read last has faults and the one before it is in force.",
            value=float(not self._upkeep.has_faults),
        )
        matches = GaugeMetricFamily(
            "llmpo_experiment_matches_store",
            "1 while the replica's file agrees with the store.",
            labels=["experiment"],
        )
        for live in self._snapshots.current.experiments.values():
            if live.generation:
                matches.add_metric([live.name], float(live.matches_store))
        yield matches


class WebhookCollector(Collector):
    """Shows how deliveries to each webhook were going when this replica looked last.

    Args:
        standings: That, by webhook.
    """

    def __init__(self, standings: Callable[[], Mapping[str, DeliveryState]]) -> None:
        self._standings = standings

    def collect(self) -> Iterable[Metric]:
        """Every series."""
        oldest, dead = (
            GaugeMetricFamily(f"llmpo_webhook_{name}", text, labels=["webhook"])
            for name, text in (
                ("oldest_undelivered_seconds", "How long the oldest event not delivered yet has waited."),
                ("dead_letters", "Events that were given up, and are kept."),
            )
        )
        for name, standing in self._standings().items():
            oldest.add_metric([name], standing.oldest_seconds or 0.0)
            dead.add_metric([name], standing.dead_letters)
        yield from (oldest, dead)
