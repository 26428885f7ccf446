"""What happened when, as `GET /stats` shows it: numbers by step of time and key, percentiles of durations.

Maintenance adds what was created and what has ended to them.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.duration_buckets import percentiles
from app.db.session import transaction
from app.db.sql import counts as statements
from app.db.statements import reads
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
from app.services.operations import metrics
from app.services.operations.metrics import OTHER_PAIR, Pair


class StatsWindow(StrEnum):
    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"


class StatsKey(StrEnum):
    TYPE = "type"
    QUEUE = "queue"
    PRIORITY = "priority"


# Seconds of a step, and how many steps.
WINDOWS = {StatsWindow.HOUR: (60, 60), StatsWindow.DAY: (900, 96), StatsWindow.WEEK: (3600, 168)}
COLUMNS = {StatsKey.TYPE: "task_type", StatsKey.QUEUE: "queue", StatsKey.PRIORITY: "priority"}
LARGEST = 50
PERCENTS = (50, 95, 99)

Percentiles = dict[str, Any]


@dataclass
class Series:
    """The numbers of one key, one for each step, the oldest first."""

    key: str
    submitted: list[int]
    succeeded: list[int]
    failed: list[int]
    revoked: list[int]


@dataclass
class Stats:
    """What happened in a window. `over_time` has the percentiles of each step."""

    from_: datetime
    to: datetime
    step_seconds: int
    series: list[Series]
    wait_seconds: Percentiles
    run_seconds: Percentiles
    over_time: dict[str, Percentiles]


@dataclass
class KeyStats:
    """What happened in a window to the tasks of one key."""

    from_: datetime
    to: datetime
    step_seconds: int
    series: Series


@dataclass
class _Steps:
    """The steps of a window, which ends with the step that is not over yet."""

    user_id: UUID
    seconds: int
    number: int
    now: datetime
    end: datetime = field(init=False)
    begin: datetime = field(init=False)
    # The number of each step: thousands of rows are put into their places.
    places: dict[datetime, int] = field(init=False)

    def __post_init__(self) -> None:
        self.end = begin_of_step(self.now, self.seconds) + timedelta(seconds=self.seconds)
        self.begin = self.end - timedelta(seconds=self.seconds * self.number)
        self.places = {self.begin + timedelta(seconds=self.seconds * at): at for at in range(self.number)}

    def conditions(self, columns: Any) -> tuple[ColumnElement[bool], ...]:
        return (
            columns.user_id == self.user_id,
            columns.step_seconds == self.seconds,
            columns.at >= self.begin,
            columns.at < self.end,
        )


def get_stats(db: Session, user_id: UUID | None = None, *, window: str = "1h", by: str = "type") -> Stats:
    """Return what happened to the tasks of a user, or of all users, by step of time. Lags by one pass of maintenance.

    `window`: 1h, 24h or 7d. `by`: type, queue or priority. Has DATABASE_COSTLY_READ_SECONDS. Raises ValueError for
    another window or key.
    """
    (seconds, number), key = WINDOWS[StatsWindow(window)], COLUMNS[StatsKey(by)]
    reads.limit_read(db, get_settings().costly_read_seconds)
    steps = _steps(db, user_id, seconds, number)
    waited, ran = (_durations(db, steps, measure) for measure in MEASURES)
    return Stats(
        from_=steps.begin,
        to=steps.end,
        step_seconds=seconds,
        series=_series(db, steps, task_stats.c[key]),
        wait_seconds=_in_all(waited),
        run_seconds=_in_all(ran),
        over_time={"wait_seconds": _over_time(waited), "run_seconds": _over_time(ran)},
    )


def durations_a_day_before(db: Session, user_id: UUID | None = None, *, window: str = "1h") -> dict[str, Percentiles]:
    """Return the percentiles of waits and runs of the same time yesterday, by full hours, with one more at the begin.

    `wait_seconds` and `run_seconds`, as `get_stats` has them. Has DATABASE_COSTLY_READ_SECONDS. Raises
    ValueError for another window.
    """
    seconds, number = WINDOWS[StatsWindow(window)]
    reads.limit_read(db, get_settings().costly_read_seconds)
    steps = _steps(db, user_id, 3600, seconds * number // 3600 + 1, ago=timedelta(days=1))
    return {f"{measure}_seconds": _in_all(_durations(db, steps, measure)) for measure in MEASURES}


def get_stats_of(
    db: Session, key: str, user_id: UUID | None = None, *, window: str = "1h", by: str = "type"
) -> KeyStats:  # fmt: skip
    """Return the series of one key alone, also if it is not among the largest. As `get_stats` otherwise."""
    (seconds, number), column = WINDOWS[StatsWindow(window)], task_stats.c[COLUMNS[StatsKey(by)]]
    reads.limit_read(db, get_settings().costly_read_seconds)
    steps = _steps(db, user_id, seconds, number)
    sums = [func.sum(task_stats.c[name]) for name in STAT_NUMBERS]
    rows = select(task_stats.c.at, *sums).where(*steps.conditions(task_stats.c), column == key)
    lists = [[0] * number for _ in STAT_NUMBERS]
    for at, *counted in db.execute(rows.group_by(task_stats.c.at)).all():
        for each, count in zip(lists, counted, strict=True):
            each[steps.places[at]] = int(count)
    return KeyStats(steps.begin, steps.end, seconds, Series(key, *lists))


def _steps(db: Session, user_id: UUID | None, seconds: int, number: int, ago: timedelta = timedelta()) -> _Steps:
    """Return so many steps until now, or until so long ago."""
    return _Steps(user_id or ALL_USERS, seconds, number, db.execute(select(STATEMENT_TIME)).scalar_one() - ago)


def _series(db: Session, steps: _Steps, key: ColumnElement[str]) -> list[Series]:
    columns = task_stats.c
    numbers = [columns[name] for name in STAT_NUMBERS]
    within = steps.conditions(columns)
    size = func.sum(sum(numbers[1:], start=numbers[0]))
    named = select(key).where(*within, key != OTHER).group_by(key)
    largest = list(db.scalars(named.order_by(size.desc(), key).limit(LARGEST)))
    shown = case((key.in_(largest), key), else_=OTHER).label("key")
    rows = select(shown, columns.at, *numbers).where(*within).subquery()
    sums = [func.sum(rows.c[name]) for name in STAT_NUMBERS]
    found: dict[str, list[list[int]]] = {}
    for name, at, *counted in db.execute(select(rows.c.key, rows.c.at, *sums).group_by(rows.c.key, rows.c.at)).all():
        lists = found.get(name)
        if lists is None:
            lists = found[name] = [[0] * steps.number for _ in STAT_NUMBERS]
        place = steps.places[at]
        for each, number in zip(lists, counted, strict=True):
            each[place] = int(number)
    return [Series(name, *found[name]) for name in (*largest, OTHER) if name in found]


def _durations(db: Session, steps: _Steps, measure: str) -> list[Mapping[int, int]]:
    """Return how many durations of each step are in each bucket."""
    columns = task_durations.c
    found: list[dict[int, int]] = [{} for _ in range(steps.number)]
    rows = select(columns.at, columns.bucket, columns.number).where(
        *steps.conditions(columns), columns.measure == measure
    )
    for at, bucket, number in db.execute(rows).all():
        found[steps.places[at]][bucket] = number
    return list(found)


def _in_all(steps: Sequence[Mapping[int, int]]) -> Percentiles:
    total: dict[int, int] = defaultdict(int)
    for step in steps:
        for bucket, number in step.items():
            total[bucket] += number
    return _named(percentiles(total, PERCENTS))


def _over_time(steps: Sequence[Mapping[int, int]]) -> Percentiles:
    return _named([list(each) for each in zip(*(percentiles(step, PERCENTS) for step in steps), strict=True)])


def _named(values: Sequence[Any]) -> Percentiles:
    return {f"p{percent}": value for percent, value in zip(PERCENTS, values, strict=True)}


# -- What maintenance adds to the numbers behind `GET /stats`: what was created, and what has ended --------------------

SUBMISSIONS_BATCH = 1000
_QUEUE = STAT_KIND.index("queue")
_STEP_KEY = ("user_id", "step_seconds", "at")


class Step(NamedTuple):
    """Whose step of time."""

    user_id: UUID
    seconds: int
    at: datetime

    def of_all(self) -> "Step":
        """Return the same step of all users."""
        return self._replace(user_id=ALL_USERS)


Kind = tuple[str, ...]
_NumbersOfSteps = dict[tuple[Step, Kind], Counter[str]]
_DurationsOfSteps = Counter[tuple[Step, str, int]]


def add_submissions(db: Session) -> int:
    """Add a batch of the tasks that were created. Returns its rows; fewer than SUBMISSIONS_BATCH were all."""
    taken, numbers, sent = 0, _NumbersOfSteps(), Counter[Pair]()
    with transaction(db):
        for now, rows, user_id, at, *kind, name, number in statements.take_submissions(db, SUBMISSIONS_BATCH):
            taken += rows
            sent[OTHER_PAIR if name is None else Pair(name, kind[_QUEUE])] += number
            for step in _steps_that_count(now, user_id, at):
                numbers.setdefault((step, tuple(kind)), Counter())["submitted"] += number
        _add_numbers(db, numbers)
        metrics.add_sent(db, sent)
    return taken


def add_ended_tasks(db: Session, now: datetime, changes: Iterable[Ended]) -> None:
    """Add the tasks that have ended, and their durations. The caller commits."""
    numbers, durations = _NumbersOfSteps(), _DurationsOfSteps()
    for change in changes:
        if change.at is None:
            continue
        kind = tuple(getattr(change, name) for name in STAT_KIND)
        for step in _steps_that_count(now, change.user_id, change.at):
            numbers.setdefault((step, kind), Counter())[change.status] += change.ends
            for measure, bucket in zip(MEASURES, (change.wait_bucket, change.run_bucket), strict=True):
                if bucket is not None:
                    for whose in (step, step.of_all()):
                        durations[whose, measure, bucket] += change.ends
    _add_numbers(db, numbers)
    rows = [
        {**dict(zip(_STEP_KEY, step, strict=True)), "measure": measure, "bucket": bucket, "number": number}
        for (step, measure, bucket), number in sorted(durations.items())
    ]
    statements.add_numbers(db, task_durations, rows)


def _steps_that_count(now: datetime, user_id: UUID, at: datetime) -> Iterator[Step]:
    """The user's steps in which it counts. Rows that are put into the table by hand may be older than what is kept."""
    for seconds, kept in KEPT.items():
        begin = begin_of_step(at, seconds)
        if begin > now - kept:
            yield Step(user_id, seconds, begin)


def _add_numbers(db: Session, numbers: _NumbersOfSteps) -> None:
    """Add these numbers of users, and those of all users with them."""
    steps = {step for step, _ in numbers}
    kept = dict(_kept_kinds(db, steps | {step.of_all() for step in steps}))
    shares = _bounded_kinds(db, numbers, kept, KINDS_OF_ONE, of_all=True)
    summed = _bounded_kinds(db, numbers, kept, KINDS) | _bounded_kinds(db, shares, kept, KINDS)
    rows = [
        {
            **dict(zip(_STEP_KEY, step, strict=True)),
            **dict(zip(STAT_KIND, kind, strict=True)),
            **{name: counted[name] for name in STAT_NUMBERS},
        }
        for (step, kind), counted in sorted(summed.items())
    ]
    statements.add_numbers(db, task_stats, rows)


def _bounded_kinds(
    db: Session, numbers: _NumbersOfSteps, kept: Mapping[Step, int], most: int, *, of_all: bool = False
) -> _NumbersOfSteps:
    """The same with at most about `most` kinds in each step: further task types count under OTHER.

    A user may have as many task types as tasks. Nobody's numbers, and not those of all users, become dear by that.
    With `of_all`, the numbers for all users: each user may add so many kinds to those that are there.
    """
    wanted = Counter(step for step, _ in numbers)
    room = {step: most - kept.get(step, 0) for step in wanted}
    to = {step: step.of_all() if of_all else step for step in wanted}
    known = {step: _kinds_of(db, to[step]) for step, number in wanted.items() if number > room[step]}
    bounded: _NumbersOfSteps = {}
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
