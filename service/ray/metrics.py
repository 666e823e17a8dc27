"""One page of metrics for all replicas: each sample says which replica it is of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

LABEL = "replica"


class ReplicaMetrics(Collector):
    """The metrics of several replicas as one.

    Args:
        pages: pairs of a replica's name and its metrics.
    """

    def __init__(self, pages: Iterable[tuple[str, Sequence[Metric]]]) -> None:
        self._families: dict[str, Metric] = {}
        for replica, metrics in pages:
            for metric in metrics:
                family = self._families.setdefault(
                    metric.name, Metric(metric.name, metric.documentation, metric.type, metric.unit)
                )
                family.samples += [_labelled(sample, replica) for sample in metric.samples]

    def collect(self) -> Iterator[Metric]:
        """Yield each metric once, with the samples of all replicas."""
        yield from self._families.values()


def _labelled(sample: Sample, replica: str) -> Sample:
    return sample._replace(labels={**sample.labels, LABEL: replica})
