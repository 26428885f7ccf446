"""What `/metrics` shows: HTTP traffic counted here, and the state of the tasks read from the database at each scrape.

With PROMETHEUS_MULTIPROC_DIR set (prometheus_client reads it by itself) several API processes add up their counts in
files of that directory; without it a scrape shows the process that answers.
"""

import functools
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Metric,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_registry = CollectorRegistry()
_requests = Counter(
    "http_requests_total",
    "Answers by route template and status.",
    ["method", "route", "status"],
    registry=_registry,
)
_latency = Histogram(
    "http_request_duration_seconds",
    "From the request's head to the last byte of the answer.",
    ["method", "route"],
    buckets=BUCKETS,
    registry=_registry,
)
_dropped = Counter(
    "broker_items_dropped_total",
    "What was found in the broker and left out, by reason. Workers count it: see PROMETHEUS_MULTIPROC_DIR.",
    ["reason"],
    registry=_registry,
)


def count_dropped_item(reason: str) -> None:
    _dropped.labels(reason).inc()


_unrecorded = Counter(
    "audit_denials_unrecorded_total",
    "Answers 403 without a record: too many of one caller or at once (flood), or the database was away.",
    ["why"],
    registry=_registry,
)


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    requests, latency = _counted(method, route, status)
    requests.inc()
    latency.observe(seconds)


@functools.lru_cache(maxsize=1024)
def _counted(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Both with their labels, which take longer to find than to count on. Routes, methods and statuses are few."""
    return _requests.labels(method, route, str(status)), _latency.labels(method, route)


def count_unrecorded_denial(why: str) -> None:
    _unrecorded.labels(why).inc()


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The unfinished tasks of one queue."""

    queue: str
    pending: int
    running: int
    oldest_pending_seconds: float


ReadDepths = Callable[[], Sequence[QueueDepth]]


def exposition(read_depths: ReadDepths) -> bytes:
    """The text of one scrape; without the tasks' part, and with `task_metrics_up 0`, when the database is away."""
    scrape = CollectorRegistry()
    scrape.register(_TaskCollector(read_depths))
    if _multiprocess():
        MultiProcessCollector(scrape)  # type: ignore[no-untyped-call]
        return generate_latest(scrape)
    return generate_latest(_registry) + generate_latest(scrape)


def forget_process() -> None:
    """At the end of a process: its gauges no longer count; what it has counted stays."""
    if _multiprocess():
        mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


def _multiprocess() -> bool:
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ


class _TaskCollector(Collector):
    """Pending and running tasks: what partial indexes answer at once, however many finished rows there are."""

    def __init__(self, read_depths: ReadDepths) -> None:
        self._read_depths = read_depths

    def collect(self) -> Iterable[Metric]:
        try:
            depths = self._read_depths()
        except Exception as error:  # noqa: BLE001 (whatever it is, the rest of the scrape must still come)
            logger.warning("the tasks cannot be counted for /metrics: %s", str(error).partition("\n")[0])
            yield GaugeMetricFamily("task_metrics_up", "Whether the tasks could be counted.", 0)
            return
        yield GaugeMetricFamily("task_metrics_up", "Whether the tasks could be counted.", 1)
        tasks = GaugeMetricFamily("tasks", "Unfinished tasks.", labels=["queue", "status"])
        oldest = GaugeMetricFamily(
            "task_queue_oldest_seconds", "How long the oldest pending task that is due waits.", labels=["queue"]
        )
        for depth in depths:
            tasks.add_metric([depth.queue, "pending"], depth.pending)
            tasks.add_metric([depth.queue, "running"], depth.running)
            oldest.add_metric([depth.queue], depth.oldest_pending_seconds)
        yield tasks
        yield oldest


if not _multiprocess():
    ProcessCollector(registry=_registry)
    PlatformCollector(registry=_registry)
