"""The metrics of tasks and workers in `/metrics`, all of which are read from the database at each scrape.

So every API process answers alike, and a restart loses nothing. Metrics that celery-exporter has too have its names,
which begin with `celery_`, and its labels.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

logger = logging.getLogger(__name__)

_PAIR = ("name", "queue_name")


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The unfinished tasks of one queue: `ready` of the pending ones are due, the oldest of these since so long."""

    queue: str
    pending: int
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

COUNTERS = {
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
        yield from _of_queues(found.depths)
        yield from _of_tasks(found.sums)
        yield from _of_workers(found.workers, [depth.queue for depth in found.depths])
        age = "Time in seconds since a round of maintenance began."
        yield GaugeMetricFamily("task_maintenance_age_seconds", age, found.maintenance_seconds)
        try:
            lags = self._read_lags()
        except Exception as error:
            line = str(error).partition("\n")[0]
            logger.warning("cannot read the outbox for /metrics: %s", line, exc_info=_is_mistake(error))
        else:
            yield from _of_outbox(lags)


def _is_mistake(error: Exception) -> bool:
    """Return whether the code is wrong, which its traceback shows, and not the database away, which is one line."""
    return not isinstance(error, SQLAlchemyError)


def _of_queues(depths: Iterable[QueueDepth]) -> Iterable[Metric]:
    tasks = GaugeMetricFamily("tasks", "Unfinished tasks.", labels=["queue", "status"])
    oldest = GaugeMetricFamily(
        "task_queue_oldest_seconds", "Age in seconds of the oldest pending task that is due.", labels=["queue"]
    )
    length = GaugeMetricFamily("celery_queue_length", "Pending tasks that are due.", labels=["queue_name"])
    for depth in depths:
        tasks.add_metric([depth.queue, "pending"], depth.pending)
        tasks.add_metric([depth.queue, "running"], depth.running)
        oldest.add_metric([depth.queue], depth.oldest_pending_seconds)
        length.add_metric([depth.queue], depth.ready)
    return tasks, oldest, length


def _of_tasks(sums: Sequence[TaskSums]) -> Iterator[Metric]:
    for key, (name, says) in COUNTERS.items():
        counter = CounterMetricFamily(name, says, labels=_PAIR)
        for each in sums:
            counter.add_metric([each.name, each.queue], each.numbers[key])
        yield counter
    run = HistogramMetricFamily(
        "celery_task_runtime", "Time in seconds from start to end of tasks that have succeeded.", labels=_PAIR
    )
    wait = HistogramMetricFamily(
        "task_wait_seconds", "Time in seconds from due to start of tasks that have ended.", labels=_PAIR
    )
    for each in sums:
        for histogram, durations in ((run, each.run), (wait, each.wait)):
            histogram.add_metric([each.name, each.queue], durations.buckets, durations.seconds)
    yield run
    yield wait


def _of_workers(workers: Iterable[WorkerLoad], queues: Iterable[str]) -> Iterable[Metric]:
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
