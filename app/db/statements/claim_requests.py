"""What turns and claims are asked for: the lines, and the tasks that a process knows. And what a claim answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select

from app.db.statements.executing import Executes
from app.db.statements.tables import TASKS
from app.models.task import TaskStatus

# What an attempt needs of its task, and what the child needs beside it.
CLAIMED = (
    TASKS.c.id,
    TASKS.c.attempt,
    TASKS.c.args,
    TASKS.c.kwargs,
    TASKS.c.failures,
    TASKS.c.max_attempts,
    TASKS.c.max_attempts_named,
    TASKS.c.retry_backoff_seconds,
)
ROUTED = (
    TASKS.c.celery_task_name,
    TASKS.c.celery_id,
    TASKS.c.queue,
    TASKS.c.priority,
    TASKS.c.timeout_seconds,
    TASKS.c.limit,
    TASKS.c.user_limited,
    TASKS.c.followers,
)
# In one claim, where nothing but this is known of its tasks: they are short. More would keep rows from other slots.
MOST_ROWS = 10
# So many tasks get their turns by one statement.
PLACE_BATCH = 500
# Whose last turn is known: of a user, in a line.
LINE = ("user_id", "queue", "priority")


@dataclass(frozen=True)
class LinesToServe:
    """Lines in the order of service. `floors`: no ready row stands below, as far as this process knows: turn and id.

    Many users may have the same turn: the ids tell which of those rows are gone.
    """

    queues: list[str]
    priorities: list[str]
    floors: Sequence[tuple[float, UUID]]


@dataclass(frozen=True)
class Names:
    """The tasks that a process knows, and those that take milliseconds: `most` rows of these at once at most."""

    known: list[str]
    short: list[str]
    most: int = MOST_ROWS


_FIND = (
    select(*CLAIMED, *ROUTED)
    .where(
        TASKS.c.claim_id == bindparam("p_claim_id", type_=TASKS.c.claim_id.type),
        TASKS.c.worker_id == bindparam("p_worker_id", type_=TASKS.c.worker_id.type),
        TASKS.c.status == TaskStatus.RUNNING.value,
    )
    .order_by(TASKS.c.id)
)


def find_claim(db: Executes, claim_id: UUID, worker_id: UUID) -> Sequence[Any]:
    """The values of CLAIMED and ROUTED of the running tasks that this worker claimed under this id."""
    rows: Sequence[Any] = db.execute(_FIND, {"p_claim_id": claim_id, "p_worker_id": worker_id}).all()
    return rows
