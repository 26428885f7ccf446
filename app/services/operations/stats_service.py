"""What happened when, as `GET /stats` shows it: numbers by step of time and key, percentiles of durations."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.duration_buckets import percentiles
from app.db.statements import reads
from app.ddl.clock import STATEMENT_TIME
from app.models.task_stats import ALL_USERS, MEASURES, OTHER, STAT_NUMBERS, begin_of_step, task_durations, task_stats


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
    """How many durations of each step are in each bucket."""
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
