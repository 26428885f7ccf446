"""The metrics of `/metrics`: HTTP traffic, counted here, and task states, read from the database at each scrape.

With PROMETHEUS_MULTIPROC_DIR set (prometheus_client reads it itself) several API processes add up their counts in files
of that directory. Without it a scrape shows the process that answers.
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
    Summary,
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
    "Responses by route template and status.",
    ["method", "route", "status"],
    registry=_registry,
)
_latency = Histogram(
    "http_request_duration_seconds",
    "Time from the request's head to the last byte of the response.",
    ["method", "route"],
    buckets=BUCKETS,
    registry=_registry,
)
_dropped = Counter(
    "broker_items_dropped_total",
    "Broker items that were dropped, by reason. Workers count them: see PROMETHEUS_MULTIPROC_DIR.",
    ["reason"],
    registry=_registry,
)


def count_dropped_item(reason: str) -> None:
    _dropped.labels(reason).inc()


_passes = Summary(
    "maintenance_pass_duration_seconds",
    "Runs of each pass of maintenance. The process that leads counts them: see PROMETHEUS_MULTIPROC_DIR.",
    ["name"],
    registry=_registry,
)
_failed_passes = Counter(
    "maintenance_pass_failures_total",
    "Runs of each pass of maintenance that failed.",
    ["name"],
    registry=_registry,
)


def count_pass(name: str, seconds: float) -> None:
    """Count a run of a pass of maintenance and its duration in seconds."""
    _passes.labels(name).observe(seconds)


def count_failed_pass(name: str) -> None:
    _failed_passes.labels(name).inc()


_unrecorded = Counter(
    "audit_denials_unrecorded_total",
    "Responses 403 without an audit record: without a login or key, or the database was unavailable.",
    ["why"],
    registry=_registry,
)


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count a response and its duration in seconds."""
    requests, latency = _counted(method, route, status)
    requests.inc()
    latency.observe(seconds)


@functools.lru_cache(maxsize=1024)
def _counted(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Return both metrics of these labels. Cached, because finding the labels takes longer than counting."""
    return _requests.labels(method, route, str(status)), _latency.labels(method, route)


def count_unrecorded_denial(reason: str) -> None:
    """Count a denied request that was not recorded in the audit."""
    _unrecorded.labels(reason).inc()


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The number of unfinished tasks of one queue, and the age of its oldest due task in seconds."""

    queue: str
    pending: int
    running: int
    oldest_pending_seconds: float


@dataclass(frozen=True, slots=True)
class OutboxLag:
    """The rows of the outbox that one consumer has before it, and the age of the oldest of them in seconds.

    Those that are set aside are counted by themselves.
    """

    consumer: str
    waiting: int
    oldest_seconds: float
    set_aside: int


ReadDepths = Callable[[], Sequence[QueueDepth]]
ReadLags = Callable[[], Sequence[OutboxLag]]


def exposition(read_depths: ReadDepths, read_lags: ReadLags) -> bytes:
    """Return the text of one scrape.

    If the database is unavailable, the task metrics are missing and `task_metrics_up` is 0.
    """
    scrape = CollectorRegistry()
    scrape.register(_TaskCollector(read_depths, read_lags))
    if _multiprocess():
        MultiProcessCollector(scrape)  # type: ignore[no-untyped-call]
        return generate_latest(scrape)
    return generate_latest(_registry) + generate_latest(scrape)


def forget_process() -> None:
    """Remove this process's gauges when it ends. Its counters remain."""
    if _multiprocess():
        mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


def _multiprocess() -> bool:
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ


class _TaskCollector(Collector):
    """Collects pending and running tasks.

    Partial indexes count them in constant time, however many finished rows there are.
    """

    def __init__(self, read_depths: ReadDepths, read_lags: ReadLags) -> None:
        self._read_depths, self._read_lags = read_depths, read_lags

    def collect(self) -> Iterable[Metric]:
        try:
            depths = self._read_depths()
        except Exception as error:  # noqa: BLE001 (the rest of the scrape must still be answered)
            logger.warning("cannot count the tasks for /metrics: %s", str(error).partition("\n")[0])
            yield GaugeMetricFamily("task_metrics_up", "Whether the tasks could be counted.", 0)
            return
        yield GaugeMetricFamily("task_metrics_up", "Whether the tasks could be counted.", 1)
        tasks = GaugeMetricFamily("tasks", "Unfinished tasks.", labels=["queue", "status"])
        oldest = GaugeMetricFamily(
            "task_queue_oldest_seconds", "Age in seconds of the oldest pending task that is due.", labels=["queue"]
        )
        for depth in depths:
            tasks.add_metric([depth.queue, "pending"], depth.pending)
            tasks.add_metric([depth.queue, "running"], depth.running)
            oldest.add_metric([depth.queue], depth.oldest_pending_seconds)
        yield tasks
        yield oldest
        try:
            lags = self._read_lags()
        except Exception as error:  # noqa: BLE001 (the rest of the scrape must still be answered)
            logger.warning("cannot read the outbox for /metrics: %s", str(error).partition("\n")[0])
        else:
            yield from _of_outbox(lags)


def _of_outbox(lags: Iterable[OutboxLag]) -> Iterable[Metric]:
    waiting = GaugeMetricFamily(
        "task_outbox_waiting", "Events of tasks that a consumer has before it.", labels=["consumer"]
    )
    oldest = GaugeMetricFamily(
        "task_outbox_oldest_seconds", "Age in seconds of the oldest event that a consumer has before it.",
        labels=["consumer"],
    )  # fmt: skip
    set_aside = GaugeMetricFamily(
        "task_outbox_set_aside", "Events that a consumer has failed on five times.", labels=["consumer"]
    )
    for lag in lags:
        waiting.add_metric([lag.consumer], lag.waiting)
        oldest.add_metric([lag.consumer], lag.oldest_seconds)
        set_aside.add_metric([lag.consumer], lag.set_aside)
    return waiting, oldest, set_aside


if not _multiprocess():
    ProcessCollector(registry=_registry)
    PlatformCollector(registry=_registry)
