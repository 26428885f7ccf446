"""The metrics of `/metrics`: those that a process counts itself, and those of tasks, read from the database.

Tasks and workers are read at each scrape, so every API process answers alike, and a restart loses nothing. Metrics that
celery-exporter has too have its names, which begin with `celery_`, and its labels. Those of tasks come first.

With PROMETHEUS_MULTIPROC_DIR set (prometheus_client reads it itself) several API processes add up their counts in files
of that directory. Without it a scrape shows the process that answers.
"""

import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

logger = logging.getLogger(__name__)


# -- The metrics of tasks, workers and the outbox, read from the database at each scrape -------------------------------

_TASK_LABELS = ("name", "queue_name")
# What a pending task needs before it starts: a slot; something else, a place of a limit, its time.
NEEDS = ("startable", "blocked", "limited", "scheduled")


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The unfinished tasks of one queue: `ready` of the pending ones are due, the oldest of these since so long.

    `pending` has a number for each of NEEDS.
    """

    queue: str
    pending: Mapping[str, int]
    ready: int
    running: int
    oldest_pending_seconds: float


@dataclass(frozen=True, slots=True)
class Durations:
    """Numbers of durations, each of those up to a bound of so many seconds; and the sum of all in seconds."""

    buckets: Sequence[tuple[str, int]]
    seconds: float


@dataclass(frozen=True, slots=True)
class TaskSums:
    """What has become of the tasks of one name and queue: `numbers` has a number for each of COUNTERS."""

    name: str
    queue: str
    numbers: Mapping[str, int]
    run: Durations
    wait: Durations


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """A worker that has not stopped. A lost one is not up."""

    name: str
    queues: Sequence[str]
    slots: int
    active: int
    is_up: bool


@dataclass(frozen=True, slots=True)
class OutboxLag:
    """The rows of the outbox that one consumer has before it, and the age of the oldest of them in seconds.

    Those that are set aside are counted by themselves.
    """

    consumer: str
    waiting: int
    oldest_seconds: float
    set_aside: int


@dataclass(frozen=True, slots=True)
class TaskNumbers:
    """All that one scrape tells of tasks and workers."""

    depths: Sequence[QueueDepth] = ()
    sums: Sequence[TaskSums] = ()
    workers: Sequence[WorkerLoad] = ()
    # Since the last round of maintenance began; infinite before the first one.
    maintenance_seconds: float = 0.0


ReadNumbers = Callable[[], TaskNumbers]
ReadLags = Callable[[], Sequence[OutboxLag]]

TASK_COUNTERS = {
    "sent": ("celery_task_sent_total", "Tasks that were created."),
    "succeeded": ("celery_task_succeeded_total", "Tasks that have succeeded."),
    "failed": ("celery_task_failed_total", "Tasks that have failed, without attempts that are tried again."),
    "revoked": ("celery_task_revoked_total", "Tasks that were cancelled, stopped, or have expired."),
    "retried": ("celery_task_retried_total", "Attempts that have failed or were lost, and are tried again."),
}


class TaskCollector(Collector):
    """Reads and tells them. Where the database does not answer, `task_metrics_up` is 0 and all others are missing."""

    def __init__(self, read_numbers: ReadNumbers, read_lags: ReadLags) -> None:
        self._read_numbers, self._read_lags = read_numbers, read_lags

    def collect(self) -> Iterable[Metric]:
        try:
            found = self._read_numbers()
        except Exception as error:
            line = str(error).partition("\n")[0]
            logger.warning("cannot count the tasks for /metrics: %s", line, exc_info=_is_mistake(error))
            yield GaugeMetricFamily("task_metrics_up", "Whether the tasks could be counted.", 0)
            return
        yield GaugeMetricFamily("task_metrics_up", "Whether the tasks could be counted.", 1)
        yield from _metrics_of_queues(found.depths)
        yield from _metrics_of_tasks(found.sums)
        yield from _metrics_of_workers(found.workers, [depth.queue for depth in found.depths])
        age = "Time in seconds since a round of maintenance began."
        yield GaugeMetricFamily("task_maintenance_age_seconds", age, found.maintenance_seconds)
        try:
            lags = self._read_lags()
        except Exception as error:
            line = str(error).partition("\n")[0]
            logger.warning("cannot read the outbox for /metrics: %s", line, exc_info=_is_mistake(error))
        else:
            yield from _metrics_of_outbox(lags)


def _is_mistake(error: Exception) -> bool:
    """Return whether the code is wrong, which its traceback shows, and not the database away, which is one line."""
    return not isinstance(error, SQLAlchemyError)


def _metrics_of_queues(depths: Iterable[QueueDepth]) -> Iterable[Metric]:
    tasks = GaugeMetricFamily("tasks", "Unfinished tasks.", labels=["queue", "status"])
    oldest = GaugeMetricFamily(
        "task_queue_oldest_seconds", "Age in seconds of the oldest pending task that is due.", labels=["queue"]
    )
    length = GaugeMetricFamily("celery_queue_length", "Pending tasks that are due.", labels=["queue_name"])
    needs = GaugeMetricFamily(
        "task_queue_pending",
        "Pending tasks, by whether they need nothing but a slot, are blocked, limited or scheduled.",
        labels=["queue", "need"],
    )
    for depth in depths:
        tasks.add_metric([depth.queue, "pending"], sum(depth.pending.values()))
        for name in NEEDS:
            needs.add_metric([depth.queue, name], depth.pending[name])
        tasks.add_metric([depth.queue, "running"], depth.running)
        oldest.add_metric([depth.queue], depth.oldest_pending_seconds)
        length.add_metric([depth.queue], depth.ready)
    return tasks, needs, oldest, length


def _metrics_of_tasks(sums: Sequence[TaskSums]) -> Iterator[Metric]:
    for key, (name, says) in TASK_COUNTERS.items():
        counter = CounterMetricFamily(name, says, labels=_TASK_LABELS)
        for each in sums:
            counter.add_metric([each.name, each.queue], each.numbers[key])
        yield counter
    run = HistogramMetricFamily(
        "celery_task_runtime", "Time in seconds from start to end of tasks that have succeeded.", labels=_TASK_LABELS
    )
    wait = HistogramMetricFamily(
        "task_wait_seconds", "Time in seconds from due to start of tasks that have ended.", labels=_TASK_LABELS
    )
    for each in sums:
        for histogram, durations in ((run, each.run), (wait, each.wait)):
            histogram.add_metric([each.name, each.queue], durations.buckets, durations.seconds)
    yield run
    yield wait


def _metrics_of_workers(workers: Iterable[WorkerLoad], queues: Iterable[str]) -> Iterable[Metric]:
    up = GaugeMetricFamily("celery_worker_up", "Whether the worker sends heartbeats.", labels=["hostname"])
    active = GaugeMetricFamily("celery_worker_tasks_active", "Tasks that the worker runs.", labels=["hostname"])
    slots = GaugeMetricFamily(
        "task_worker_slots", "Tasks that the worker can run at the same time.", labels=["hostname"]
    )  # fmt: skip
    by_queue = dict.fromkeys(queues, (0, 0))
    for worker in workers:
        up.add_metric([worker.name], worker.is_up)
        active.add_metric([worker.name], worker.active)
        slots.add_metric([worker.name], worker.slots if worker.is_up else 0)
        for queue in worker.queues if worker.is_up else ():
            number, processes = by_queue.get(queue, (0, 0))
            by_queue[queue] = number + 1, processes + worker.slots
    serving = GaugeMetricFamily(
        "celery_active_worker_count", "Workers that serve the queue and send heartbeats.", labels=["queue_name"]
    )
    processes_of = GaugeMetricFamily(
        "celery_active_process_count", "Tasks that these workers can run at the same time.", labels=["queue_name"]
    )
    for queue, (number, processes) in by_queue.items():
        serving.add_metric([queue], number)
        processes_of.add_metric([queue], processes)
    return up, active, slots, serving, processes_of


def _metrics_of_outbox(lags: Iterable[OutboxLag]) -> Iterable[Metric]:
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


# -- The metrics that a process counts itself, and the text of `/metrics` that tells all of them -----------------------

REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_registry = CollectorRegistry()
_requests = Counter(
    "http_requests_total", "Responses by route template and status.", ["method", "route", "status"], registry=_registry
)
_latency = Histogram(
    "http_request_duration_seconds",
    "Time from the request's head to the last byte of the response.",
    ["method", "route"],
    buckets=REQUEST_BUCKETS,
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
