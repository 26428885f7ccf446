"""Adds what was created and what has ended to the numbers behind `GET /stats`. Maintenance does so."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.sql import stats as statements
from app.db.statements.some_rows import delete_some
from app.ddl.clock import STATEMENT_TIME
from app.models.task_count import Ended
from app.models.task_stats import (
    ALL_USERS,
    KEPT,
    KINDS,
    KINDS_OF_ONE,
    MEASURES,
    OTHER,
    STAT_KIND,
    STAT_NUMBERS,
    begin_of_step,
    task_durations,
    task_stats,
)
from app.services.operations import task_sums
from app.services.operations.task_sums import REST, Pair

FOLD_BATCH = 1000
FORGET_BATCH = 5000
_QUEUE = STAT_KIND.index("queue")
_STEP_KEY = ("user_id", "step_seconds", "at")


class Step(NamedTuple):
    """Whose step of time."""

    user_id: UUID
    seconds: int
    at: datetime

    def of_all(self) -> "Step":
        """The same step of all users."""
        return self._replace(user_id=ALL_USERS)


Kind = tuple[str, ...]
_Numbers = dict[tuple[Step, Kind], Counter[str]]
_Durations = Counter[tuple[Step, str, int]]


def add_submissions(db: Session) -> int:
    """Add a batch of the tasks that were created. Returns its rows; fewer than FOLD_BATCH were all there were."""
    taken, numbers, sent = 0, _Numbers(), Counter[Pair]()
    with transaction(db):
        for now, rows, user_id, at, *kind, name, number in statements.take_submissions(db, FOLD_BATCH):
            taken += rows
            sent[REST if name is None else Pair(name, kind[_QUEUE])] += number
            for step in _steps(now, user_id, at):
                numbers.setdefault((step, tuple(kind)), Counter())["submitted"] += number
        _add(db, numbers)
        task_sums.add_sent(db, sent)
    return taken


def add_ended(db: Session, now: datetime, changes: Iterable[Ended]) -> None:
    """Add the tasks that have ended, and their durations. The caller commits."""
    numbers, durations = _Numbers(), _Durations()
    for change in changes:
        if change.at is None:
            continue
        kind = tuple(getattr(change, name) for name in STAT_KIND)
        for step in _steps(now, change.user_id, change.at):
            numbers.setdefault((step, kind), Counter())[change.status] += change.ends
            for measure, bucket in zip(MEASURES, (change.wait_bucket, change.run_bucket), strict=True):
                if bucket is not None:
                    for whose in (step, step.of_all()):
                        durations[whose, measure, bucket] += change.ends
    _add(db, numbers)
    rows = [
        {**dict(zip(_STEP_KEY, step, strict=True)), "measure": measure, "bucket": bucket, "number": number}
        for (step, measure, bucket), number in sorted(durations.items())
    ]
    statements.add_durations(db, rows)


def forget(db: Session) -> int:
    """Delete what no window shows any more: a batch of each table and step. Returns how many rows in all."""
    with transaction(db):
        return sum(
            delete_some(db, table, table.c.step_seconds == step, table.c.at < STATEMENT_TIME - kept, limit=FORGET_BATCH)
            for table in (task_stats, task_durations)
            for step, kept in KEPT.items()
        )


def _steps(now: datetime, user_id: UUID, at: datetime) -> Iterator[Step]:
    """The user's steps in which it counts. Rows that are put into the table by hand may be older than what is kept."""
    for seconds, kept in KEPT.items():
        begin = begin_of_step(at, seconds)
        if begin > now - kept:
            yield Step(user_id, seconds, begin)


def _add(db: Session, numbers: _Numbers) -> None:
    """Add these numbers of users, and those of all users with them."""
    steps = {step for step, _ in numbers}
    kept = dict(_kept_kinds(db, steps | {step.of_all() for step in steps}))
    shares = _bounded(db, numbers, kept, KINDS_OF_ONE, of_all=True)
    summed = _bounded(db, numbers, kept, KINDS) | _bounded(db, shares, kept, KINDS)
    rows = [
        {
            **dict(zip(_STEP_KEY, step, strict=True)),
            **dict(zip(STAT_KIND, kind, strict=True)),
            **{name: counted[name] for name in STAT_NUMBERS},
        }
        for (step, kind), counted in sorted(summed.items())
    ]
    statements.add_stats(db, rows)


def _bounded(db: Session, numbers: _Numbers, kept: Mapping[Step, int], most: int, *, of_all: bool = False) -> _Numbers:
    """The same with at most about `most` kinds in each step: further task types count under OTHER.

    A user may have as many task types as tasks. Nobody's numbers, and not those of all users, become dear by that.
    With `of_all`, the numbers for all users: each user may add so many kinds to those that are there.
    """
    wanted = Counter(step for step, _ in numbers)
    room = {step: most - kept.get(step, 0) for step in wanted}
    to = {step: step.of_all() if of_all else step for step in wanted}
    known = {step: _kinds_of(db, to[step]) for step, number in wanted.items() if number > room[step]}
    bounded: _Numbers = {}
    for (step, kind), counted in sorted(numbers.items()):
        if step in known and kind not in known[step]:
            room[step] -= 1
            if room[step] < 0:
                kind = (OTHER, *kind[1:])  # noqa: PLW2901 (the queue and the priority stay)
        bounded.setdefault((to[step], kind), Counter()).update(counted)
    return bounded


def _kept_kinds(db: Session, steps: Collection[Step]) -> Iterator[tuple[Step, int]]:
    """How many kinds are kept for each of these steps, and for others of the same users and times."""
    if not steps:
        return
    users, seconds, times = ({step[at] for step in steps} for at in range(len(_STEP_KEY)))
    columns = [task_stats.c[name] for name in _STEP_KEY]
    of_steps = (columns[0].in_(users), columns[1].in_(seconds), columns[2].in_(times))
    for *step, number in db.execute(select(*columns, func.count()).where(*of_steps).group_by(*columns)):
        yield Step(*step), number


def _kinds_of(db: Session, step: Step) -> set[Kind]:
    of_step = [task_stats.c[name] == value for name, value in zip(_STEP_KEY, step, strict=True)]
    return {tuple(row) for row in db.execute(select(*(task_stats.c[name] for name in STAT_KIND)).where(*of_step))}
