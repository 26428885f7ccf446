"""The counters of `/metrics`: what has become of tasks since the table was made, by task and queue.

Maintenance adds to them in the transaction that takes what it adds, so nothing is counted twice or lost.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.duration_buckets import start_of
from app.core.metrics import Durations, TaskSums
from app.db.sql import stats as statements
from app.models.task import TaskStatus
from app.models.task_count import Ended
from app.models.task_stats import MEASURES
from app.models.task_sum import LONGER, MOST_PAIRS, OTHER, PAIR, SUM_BUCKETS, SUM_NUMBERS, task_sum_durations, task_sums


class Pair(NamedTuple):
    """A task and a queue."""

    celery_task_name: str
    queue: str


REST = Pair(OTHER, OTHER)
_WAIT, _RUN = MEASURES
_BOUNDS = (*SUM_BUCKETS, LONGER)
_LABELS = (*(str(start_of(bucket)) for bucket in SUM_BUCKETS), "+Inf")
_ALL_PAIRS = select(*(task_sums.c[name] for name in PAIR))


def add_sent(db: Session, sent: Mapping[Pair, int]) -> None:
    """Add tasks that were created. The caller commits."""
    places = _places(db, sent)
    numbers = Counter[tuple[Pair, str]]()
    for pair, number in sent.items():
        numbers[places[pair], "sent"] += number
    _add_numbers(db, numbers)


def add_ended(db: Session, changes: Iterable[Ended]) -> None:
    """Add the tasks that have ended, their durations, and the attempts that are tried again. The caller commits."""
    told = [(Pair(each.celery_task_name, each.queue), each) for each in changes if each.at or _is_retry(each)]
    places = _places(db, {pair for pair, _ in told})
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
                sums = durations[pair, measure, _BOUNDS[bisect_right(SUM_BUCKETS, bucket)]]
                sums[0] += change.ends
                # The clock may have been set back. A sum never falls.
                sums[1] += max(0.0, seconds)
    _add_numbers(db, numbers)
    _add_durations(db, durations)


def read(db: Session) -> list[TaskSums]:
    """All of them: two statements, whose rows are bounded by MOST_PAIRS."""
    measured: dict[tuple[str, str, str], list[tuple[int, int, float]]] = defaultdict(list)
    for name, queue, measure, *sums in db.execute(select(task_sum_durations)):
        measured[name, queue, measure].append((sums[0], sums[1], sums[2]))
    return [
        TaskSums(
            row.celery_task_name,
            row.queue,
            {name: getattr(row, name) for name in SUM_NUMBERS},
            run=_cumulative(measured.get((row.celery_task_name, row.queue, _RUN), ())),
            wait=_cumulative(measured.get((row.celery_task_name, row.queue, _WAIT), ())),
        )
        for row in db.execute(select(task_sums).order_by(*(task_sums.c[name] for name in PAIR)))
    ]


def _is_retry(change: Ended) -> bool:
    return change.status == TaskStatus.PENDING


def _places(db: Session, pairs: Collection[Pair]) -> dict[Pair, Pair]:
    """Under which pair each of these counts: REST for those beyond MOST_PAIRS, the first ones being kept."""
    if not pairs:
        return {}
    known = {Pair(*row) for row in db.execute(_ALL_PAIRS)}
    room = MOST_PAIRS - len(known - {REST})
    new = sorted(set(pairs) - known)
    return {**{pair: pair for pair in pairs}, **dict.fromkeys(new[max(0, room) :], REST)}


def _add_numbers(db: Session, numbers: Mapping[tuple[Pair, str], int]) -> None:
    by_pair: dict[Pair, dict[str, int]] = defaultdict(lambda: dict.fromkeys(SUM_NUMBERS, 0))
    for (pair, name), number in numbers.items():
        by_pair[pair][name] += number
    # Sorted, as below, so that two folds at once do not deadlock.
    rows = [{**pair._asdict(), **sums} for pair, sums in sorted(by_pair.items())]
    statements.add_sums(db, rows)


def _add_durations(db: Session, durations: Mapping[tuple[Pair, str, int], list[float]]) -> None:
    rows = [
        {**pair._asdict(), "measure": measure, "bucket": bucket, "number": number, "seconds": seconds}
        for (pair, measure, bucket), (number, seconds) in sorted(durations.items())
    ]
    statements.add_sum_durations(db, rows)


def _cumulative(sums: Iterable[tuple[int, int, float]]) -> Durations:
    """Of rows (bucket, number, seconds). Buckets of another release count in the next longer one of this."""
    numbers, total = [0] * len(_BOUNDS), 0.0
    for bucket, number, seconds in sums:
        numbers[bisect_left(_BOUNDS, bucket)] += number
        total += seconds
    return Durations(list(zip(_LABELS, accumulate(numbers), strict=True)), total)
