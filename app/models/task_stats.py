"""What happened to tasks: their numbers and durations by step of time, and since the tables were made.

The submit and the trigger on `tasks` leave rows that nobody waits for; maintenance adds them up here. By step of time:
for their user and for all users (ALL_USERS), until the rows are older than any window that shows them.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, Index, Integer, SmallInteger, Table

from app.core.duration_buckets import LAST
from app.core.moments import EPOCH
from app.ddl import indexes
from app.ddl.columns import Base, Double, Id, ShortText, UTCDateTime, Word
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


def begin_of_step(moment: datetime, seconds: int) -> datetime:
    """Return the begin of the step that a time is in. All steps are counted from midnight in UTC."""
    return moment - (moment - EPOCH) % timedelta(seconds=seconds)


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
indexes.add_mysql_columns(task_submissions)


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


# -- What has become of tasks since the table was made, by task and queue: the counters of `/metrics` ------------------
# Maintenance adds to them in the transaction that takes the changes of `app/models/task_count.py`. Nothing is ever
# taken away: retention, a deleted user and a retry through the API change what there is, and not what has happened.

# So many pairs of task and queue have rows of their own; all others count under OTHER_NAME, task and queue.
MOST_PAIRS = 200
OTHER_NAME = "other"
PAIR = ("celery_task_name", "queue")
SUM_NUMBERS = ("sent", "succeeded", "failed", "revoked", "retried")

# One of few rows for each pair: the first bucket of `app/core/duration_buckets.py` that is longer, so that each begins
# at a power of two of a millisecond. What is longer than all of them has LONGER.
SUM_BUCKETS = (9, 17, 25, 33, 37, 41, 45, 49, 53, 57, 65, 73, 81, 89)
LONGER = LAST + 1


def _pair() -> list[Column[str]]:
    return [Column(name, ShortText, primary_key=True) for name in PAIR]


task_sums = Table(
    "task_sums",
    Base.metadata,
    *_pair(),
    *(Column(name, BigInteger, nullable=False, server_default="0") for name in SUM_NUMBERS),
    **OFTEN_UPDATED_ROWS,
)
# `measure`: one of MEASURES; `run` is that of successes. `seconds` adds the durations up.
task_sum_durations = Table(
    "task_sum_durations",
    Base.metadata,
    *_pair(),
    Column("measure", Word, primary_key=True),
    Column("bucket", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("seconds", Double, nullable=False),
    **OFTEN_UPDATED_ROWS,
)
