"""How far the signals that the gateway finds agree with what users say, when metrics are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily

from gateway.learning.progress import ExperimentProgress


def signal_figures(readings: Sequence[ExperimentProgress]) -> Iterator[GaugeMetricFamily]:
    """Two gauges, with values for experiments that list such signals."""
    rated = GaugeMetricFamily(
        "llmpo_experiment_signal_ratings",
        "Answers with a found signal that users rated.",
        labels=["experiment", "signal"],
    )
    agreement = GaugeMetricFamily(
        "llmpo_experiment_signal_agreement",
        "Share of these whose rating says what the signal says, by bound, and by chance.",
        labels=["experiment", "signal", "bound"],
    )
    for reading in readings:
        name = reading.view.experiment.name
        for each in reading.signals:
            rated.add_metric([name, each.signal.value], each.rated)
            if each.rated and each.chance is not None:
                shares = ("low", each.low), ("estimate", each.agreed / each.rated), ("high", each.high)
                for bound, share in (*shares, ("chance", each.chance)):
                    agreement.add_metric([name, each.signal.value, bound], share)
    yield from (rated, agreement)
