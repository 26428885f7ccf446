"""What one scrape of `/metrics` tells of tasks and workers, and the counters behind it."""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalogue import known_queues
from app.core.duration_buckets import start_of
from app.core.metrics import NEEDS, Durations, QueueDepth, TaskNumbers, TaskSums, WorkerLoad
from app.db.session import SessionLocal
from app.db.sql import counts as statements
from app.db.statements import claim_holds, reads, task_numbers, workers
from app.db.statements.expressions import seconds_between
from app.db.statements.task_numbers import RunningTasks
from app.ddl.clock import STATEMENT_TIME
from app.messaging.application import QUEUES
from app.models import task_stats
from app.models.queue import HoldKind
from app.models.task import TaskStatus
from app.models.task_count import Ended
from app.models.worker import MaintenanceLease
from app.services.operations.demand import Waiting, count_waiting
from app.services.operations.worker_service import worker_lease

STATEMENT_SECONDS = 2.0

_SINCE_MAINTENANCE = select(seconds_between(MaintenanceLease.renewed_at, STATEMENT_TIME))


def read_task_numbers() -> TaskNumbers:
    """Read them, on a connection of their own. Each statement takes at most STATEMENT_SECONDS.

    They take longer the more tasks are pending, and no longer the more have ended.
    """
    with SessionLocal() as db:
        reads.limit_read(db, STATEMENT_SECONDS)
        running = task_numbers.read_running_by_queue(db)
        loads = _worker_loads(db, running)
        depths = _depths(db, running)
        since = maintenance_seconds(db)
        sums = read_task_sums(db)
    return TaskNumbers(depths, sums, loads, since)


def maintenance_seconds(db: Session) -> float:
    """Return how many seconds ago a round of maintenance began; infinity before the first one."""
    since: Any = db.scalar(_SINCE_MAINTENANCE)
    return float("inf") if since is None else max(0.0, float(since))


def _depths(db: Session, running_tasks: Sequence[RunningTasks]) -> list[QueueDepth]:
    """Return the depth of every queue that is known, is served or has an unfinished task, idle ones included."""
    waiting = defaultdict[str, Waiting](Waiting)
    live = workers.live(db, worker_lease())
    count_waiting(db, live, {name for name, *_ in claim_holds.held(db, HoldKind.QUEUE)}, waiting.__getitem__)
    served = {queue for worker in live for queue in worker.queues}
    running = Counter[str]()
    for each in running_tasks:
        running[each.queue] += each.number
    depths = []
    for queue in dict.fromkeys((*QUEUES, *sorted(known_queues() | served), *waiting, *running)):
        its = waiting[queue]
        needs = {name: getattr(its, name) for name in NEEDS}
        depths.append(QueueDepth(queue, needs, its.ready, running[queue], its.oldest_ready_seconds or 0.0))
    return depths


def _worker_loads(db: Session, running_tasks: Sequence[RunningTasks]) -> list[WorkerLoad]:
    """Return the loads of the workers that `GET /workers/` shows."""
    running = Counter[UUID | None]()
    for each in running_tasks:
        running[each.worker_id] += each.number
    return [
        WorkerLoad(each.name, each.queues, each.concurrency, running[each.id], is_up=not lost)
        for each, lost in workers.not_stopped(db, worker_lease(), None)
    ]


# -- The counters of `/metrics`: what has become of tasks since the table was made, by task and queue ------------------
# Maintenance adds to them in the transaction that takes what it adds, so nothing is counted twice or lost.


class Pair(NamedTuple):
    """A task and a queue."""

    celery_task_name: str
    queue: str


OTHER_PAIR = Pair(task_stats.OTHER_NAME, task_stats.OTHER_NAME)
_WAIT, _RUN = task_stats.MEASURES
_BUCKET_BOUNDS = (*task_stats.SUM_BUCKETS, task_stats.LONGER)
_BUCKET_LABELS = (*(str(start_of(bucket)) for bucket in task_stats.SUM_BUCKETS), "+Inf")
_ALL_PAIRS = select(*(task_stats.task_sums.c[name] for name in task_stats.PAIR))


def add_sent(db: Session, sent: Mapping[Pair, int]) -> None:
    """Add tasks that were created. The caller commits."""
    places = _pairs_counted(db, sent)
    numbers = Counter[tuple[Pair, str]]()
    for pair, number in sent.items():
        numbers[places[pair], "sent"] += number
    _add_numbers(db, numbers)


def add_ended(db: Session, changes: Iterable[Ended]) -> None:
    """Add the tasks that have ended, their durations, and the attempts that are tried again. The caller commits."""
    told = [(Pair(each.celery_task_name, each.queue), each) for each in changes if each.at or _is_retry(each)]
    places = _pairs_counted(db, {pair for pair, _ in told})
    numbers = Counter[tuple[Pair, str]]()
    durations: dict[tuple[Pair, str, int], list[float]] = defaultdict(lambda: [0, 0.0])
    for named, change in told:
        pair = places[named]
        if _is_retry(change):
            numbers[pair, "retried"] += change.changes
            continue
        numbers[pair, change.status] += change.ends
        measured = [(_WAIT, change.wait_bucket, change.waited)]
        if change.status == TaskStatus.SUCCEEDED:
            measured.append((_RUN, change.run_bucket, change.ran))
        for measure, bucket, seconds in measured:
            if bucket is not None:
                sums = durations[pair, measure, _BUCKET_BOUNDS[bisect_right(task_stats.SUM_BUCKETS, bucket)]]
                sums[0] += change.ends
                # The clock may have been set back. A sum never falls.
                sums[1] += max(0.0, seconds)
    _add_numbers(db, numbers)
    _add_durations(db, durations)


def read_task_sums(db: Session) -> list[TaskSums]:
    """Return all of them: two statements, whose rows are bounded by MOST_PAIRS."""
    measured: dict[tuple[str, str, str], list[tuple[int, int, float]]] = defaultdict(list)
    for name, queue, measure, *sums in db.execute(select(task_stats.task_sum_durations)):
        measured[name, queue, measure].append((sums[0], sums[1], sums[2]))
    return [
        TaskSums(
            row.celery_task_name,
            row.queue,
            {name: getattr(row, name) for name in task_stats.SUM_NUMBERS},
            run=_cumulative(measured.get((row.celery_task_name, row.queue, _RUN), ())),
            wait=_cumulative(measured.get((row.celery_task_name, row.queue, _WAIT), ())),
        )
        for row in db.execute(
            select(task_stats.task_sums).order_by(*(task_stats.task_sums.c[name] for name in task_stats.PAIR))
        )
    ]


def _is_retry(change: Ended) -> bool:
    return change.status == TaskStatus.PENDING


def _pairs_counted(db: Session, pairs: Collection[Pair]) -> dict[Pair, Pair]:
    """Under which pair each of these counts: OTHER_PAIR for those beyond MOST_PAIRS, the first ones being kept."""
    if not pairs:
        return {}
    known = {Pair(*row) for row in db.execute(_ALL_PAIRS)}
    room = task_stats.MOST_PAIRS - len(known - {OTHER_PAIR})
    new = sorted(set(pairs) - known)
    return {**{pair: pair for pair in pairs}, **dict.fromkeys(new[max(0, room) :], OTHER_PAIR)}


def _add_numbers(db: Session, numbers: Mapping[tuple[Pair, str], int]) -> None:
    by_pair: dict[Pair, dict[str, int]] = defaultdict(lambda: dict.fromkeys(task_stats.SUM_NUMBERS, 0))
    for (pair, name), number in numbers.items():
        by_pair[pair][name] += number
    # Sorted, as below, so that two folds at once do not deadlock.
    rows = [{**pair._asdict(), **sums} for pair, sums in sorted(by_pair.items())]
    statements.add_numbers(db, task_stats.task_sums, rows)


def _add_durations(db: Session, durations: Mapping[tuple[Pair, str, int], list[float]]) -> None:
    rows = [
        {**pair._asdict(), "measure": measure, "bucket": bucket, "number": number, "seconds": seconds}
        for (pair, measure, bucket), (number, seconds) in sorted(durations.items())
    ]
    statements.add_numbers(db, task_stats.task_sum_durations, rows)


def _cumulative(sums: Iterable[tuple[int, int, float]]) -> Durations:
    """Of rows (bucket, number, seconds). Buckets of another release count in the next longer one of this."""
    numbers, total = [0] * len(_BUCKET_BOUNDS), 0.0
    for bucket, number, seconds in sums:
        numbers[bisect_left(_BUCKET_BOUNDS, bucket)] += number
        total += seconds
    return Durations(list(zip(_BUCKET_LABELS, accumulate(numbers), strict=True)), total)
