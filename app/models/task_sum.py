"""What has become of tasks since the table was made, by task and queue: the counters of `/metrics`.

Maintenance adds to them in the transaction that takes the changes of `app/models/task_count.py`. Nothing is ever taken
away: retention, a deleted user and a retry through the API change what there is, and not what has happened.
"""

from sqlalchemy import BigInteger, Column, SmallInteger, Table

from app.core.duration_buckets import LAST
from app.ddl.base import Base
from app.ddl.columns import Double, ShortText, Word
from app.ddl.indexes import OFTEN_UPDATED_ROWS

# So many pairs of task and queue have rows of their own; all others count under OTHER, task and queue.
MOST_PAIRS = 200
OTHER = "other"
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
# `measure`: MEASURES of `app/models/task_stats.py`; `run` is that of successes. `seconds` adds the durations up.
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
