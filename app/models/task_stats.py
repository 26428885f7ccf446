"""What happened when: numbers of tasks by step of time, and how long they waited and ran, in buckets.

The submit and the trigger on `tasks` leave rows that nobody waits for; maintenance adds them up here, for their user
and for all users (ALL_USERS), in each step of time. Rows go when they are older than any window that shows them.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, Index, Integer, SmallInteger, Table

from app.ddl import own_columns
from app.ddl.base import Base
from app.ddl.columns import Id, ShortText, UTCDateTime, Word
from app.ddl.indexes import OFTEN_UPDATED_ROWS, SHORT_LIVED_ROWS

ALL_USERS = UUID(int=0)
# What further task types count under, once a user has KINDS within one step.
OTHER = "other"
KINDS = 100
# Of these one user may fill so many in the numbers of all users: others have room as well.
KINDS_OF_ONE = 50
# Each step, in seconds, and for how long its rows are kept.
KEPT = {60: timedelta(hours=2), 900: timedelta(hours=26), 3600: timedelta(days=8)}
# Python adds up the longer ones.
SHORTEST_STEP = min(KEPT)
STAT_KIND = ("task_type", "queue", "priority")
_KINDS: dict[str, Any] = {"priority": Word}
# What a submit tells of its tasks, beside the user.
SUBMITTED = (*STAT_KIND, "celery_task_name")
STAT_NUMBERS = ("submitted", "succeeded", "failed", "revoked")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def begin_of_step(moment: datetime, seconds: int) -> datetime:
    """The begin of the step that a time is in. All steps are counted from midnight in UTC."""
    return moment - (moment - _EPOCH) % timedelta(seconds=seconds)


# One row for each kind of task that a statement has created. Like `task_count_changes` it has no key.
task_submissions = Table(
    "task_submissions",
    Base.metadata,
    Column("user_id", Id, nullable=False),
    Column("at", UTCDateTime, nullable=False),
    *(Column(name, _KINDS.get(name, ShortText), nullable=False) for name in STAT_KIND),
    Column("number", Integer, nullable=False),
    # NULL in the rows of processes that do not know the column yet.
    Column("celery_task_name", ShortText),
    **SHORT_LIVED_ROWS,
)
own_columns.add_to(task_submissions)


def _step_columns() -> list[Column[object]]:
    kinds: dict[str, Any] = {"user_id": Id, "step_seconds": Integer(), "at": UTCDateTime}
    return [Column(name, kind, primary_key=True, autoincrement=False) for name, kind in kinds.items()]


task_stats = Table(
    "task_stats",
    Base.metadata,
    *_step_columns(),
    *(Column(name, _KINDS.get(name, ShortText), primary_key=True) for name in STAT_KIND),
    *(Column(name, BigInteger, nullable=False) for name in STAT_NUMBERS),
    Index("ix_task_stats_at", "step_seconds", "at"),
    **OFTEN_UPDATED_ROWS,
)
# `bucket` is one of `app/core/duration_buckets.py`, `measure` is MEASURES.
MEASURES = ("wait", "run")
task_durations = Table(
    "task_durations",
    Base.metadata,
    *_step_columns(),
    Column("measure", Word, primary_key=True),
    Column("bucket", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Index("ix_task_durations_at", "step_seconds", "at"),
    **OFTEN_UPDATED_ROWS,
)
