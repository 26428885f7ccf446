"""The metrics of `/metrics` that a process counts itself. Those of `app/core/task_metrics.py` are added.

With PROMETHEUS_MULTIPROC_DIR set (prometheus_client reads it itself) several API processes add up their counts in files
of that directory. Without it a scrape shows the process that answers.
"""

import functools
import os

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    Summary,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from app.core.task_metrics import ReadLags, ReadNumbers, TaskCollector

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_registry = CollectorRegistry()
_requests = Counter(
    "http_requests_total", "Responses by route template and status.", ["method", "route", "status"], registry=_registry
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
    "maintenance_pass_failures_total", "Runs of each pass of maintenance that failed.", ["name"], registry=_registry
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


def exposition(read_numbers: ReadNumbers, read_lags: ReadLags) -> bytes:
    """Return the text of one scrape.

    If the database is unavailable, the task metrics are missing and `task_metrics_up` is 0.
    """
    scrape = CollectorRegistry()
    scrape.register(TaskCollector(read_numbers, read_lags))
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


if not _multiprocess():
    ProcessCollector(registry=_registry)
    PlatformCollector(registry=_registry)
