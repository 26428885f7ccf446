"""What lists, counts, the maintenance pass, claim and finish take while the table of tasks grows."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.db.listing import Page
from app.db.session import SessionLocal, engine
from app.db.statements.pending_rows import TaskNames
from app.maintenance.passes import deletions, task_states
from app.messaging import wakeups
from app.models.task import Task, TaskPriority, TaskStatus
from app.models.task_filter import TaskFilter
from app.services.execution import ends
from app.services.execution.attempts import Claim
from app.services.execution.claims import Claims
from app.services.task_service import task_service
from app.services.tasks import task_counts
from tests.support.services import environment
from tests.support.settings import settings
from tests.support.tasks import LONG_RUNNING, WORKER, claim, new_task, new_user

REPEATS = 15
# Ended tasks, a second apart. One user owns a fifth of them; of these every thousandth is of a rare type, every
# hundredth has a tag.
_ROWS = text("""
INSERT INTO tasks (
    id, celery_id, user_id, name, task_type, celery_task_name, args, kwargs, priority, queue, tags,
    status, error_fingerprint, created_at, started_at, finished_at, attempt, due_at, progress
)
SELECT
    uuidv7(at - clock_timestamp()), uuidv7(), CASE WHEN n % 5 = 0 THEN CAST(:owner AS uuid) ELSE :other END,
    'a task ' || n, CASE WHEN n % 5000 = 0 THEN 'rare' ELSE 'common' END, 'app.tasks.common_tasks.long_running_task',
    '[1]', '{}', 'normal', 'default', CAST(CASE WHEN n % 500 = 0 THEN '{tagged}' ELSE '{}' END AS text[]),
    CASE n % 7 WHEN 0 THEN 'failed' WHEN 1 THEN 'revoked' ELSE 'succeeded' END,
    CASE n % 7 WHEN 0 THEN md5('x') END, at, at, at, 1, NULL, 100
FROM generate_series(CAST(:first AS int), :last) AS n,
    LATERAL (SELECT now() - (10000000 - n) * interval '1 second' AS at) AS moment
""")
# And what waits, of one user.
_WAITING = text("""
INSERT INTO tasks (
    id, celery_id, user_id, name, task_type, celery_task_name, args, kwargs, priority, queue, due_at, turn
)
SELECT uuidv7(), uuidv7(), :user, 'a task', 'common', 'app.tasks.common_tasks.long_running_task', '[1]', '{}', 'normal',
    'default', now(), n
FROM generate_series(1, :number) AS n
""")
EXPIRED = 20
_EXPIRE = text("UPDATE tasks SET expires_at = clock_timestamp() WHERE user_id = :user AND status = 'pending'")
# The trigger would write a change for each row.
_SUMS = text("""
INSERT INTO task_count_changes
SELECT user_id, status, task_type, celery_task_name, priority, queue, count(*), 1024 * count(*)
FROM tasks GROUP BY 1, 2, 3, 4, 5, 6
""")


@dataclass
class Step:
    """`act` is measured; it is given what `prepare` returns."""

    act: Callable[[Session, Any], object]
    prepare: Callable[[Session], Any] = lambda _: None


def measure(database_url: str, sizes: Sequence[int], backlog: int) -> list[dict[str, Any]]:
    """A line for each size and step, the median of some repetitions: `rows`, `what`, `milliseconds`."""
    lines: list[dict[str, Any]] = []
    variables = environment(database_url, "memory://", DATABASE_STATEMENT_TIMEOUT_SECONDS="600")
    with settings(variables), SessionLocal() as db:
        owner, other = new_user(db), new_user(db)
        present = 0
        for size in sorted(sizes):
            _fill(db, owner, other, present, size)
            present = size
            for what, step in chain(_steps(db, owner), _steps_of_a_backlog(db, backlog)):
                took = statistics.median(_milliseconds(db, step) for _ in range(REPEATS))
                lines.append({"rows": size, "what": what, "milliseconds": took})
    return lines


def _fill(db: Session, owner: UUID, other: UUID, present: int, size: int) -> None:
    db.execute(text("TRUNCATE task_totals, task_counts, task_count_changes, stored_bytes"))
    db.execute(text("ALTER TABLE tasks DISABLE TRIGGER USER"))
    db.execute(_ROWS, {"owner": owner, "other": other, "first": present + 1, "last": size})
    db.execute(_SUMS)
    db.execute(text("ALTER TABLE tasks ENABLE TRIGGER USER"))
    db.commit()
    task_counts.fold(db)
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def _steps(db: Session, owner: UUID) -> Iterator[tuple[str, Step]]:
    (middle, *_), cursor = _middle(db, owner)
    yield "list, first page", _page(TaskFilter(user_id=owner))
    yield "list, page in the middle", _page(TaskFilter(user_id=owner), cursor=cursor)
    yield "list, first page of everybody", _page(TaskFilter())
    yield "list, filter by status", _page(TaskFilter(user_id=owner, status=[TaskStatus.FAILED]))
    yield "list, filter by a rare type", _page(TaskFilter(user_id=owner, task_type="rare"))
    yield "list, filter by an absent type", _page(TaskFilter(user_id=owner, task_type="absent"))
    yield "list, filter by an absent substring of the name", _page(TaskFilter(user_id=owner, name="absent"))
    yield "list, filter by tag", _page(TaskFilter(user_id=owner, tag=["tagged"]))
    yield "list, filter by an absent tag", _page(TaskFilter(user_id=owner, tag=["absent"]))
    yield "list, created_before", _page(TaskFilter(user_id=owner, created_before=middle.created_at))
    yield "list, skip 1,000", _page(TaskFilter(user_id=owner), skip=1000)
    yield "list, skip 1,000, filter by type", _page(TaskFilter(user_id=owner, task_type="common"), skip=1000)
    yield "count", _count(TaskFilter(user_id=owner))
    yield "count, everybody's", _count(TaskFilter())
    yield "count by type", _count(TaskFilter(user_id=owner, task_type="rare"))
    yield "count, filter by tag", _count(TaskFilter(user_id=owner, tag=["tagged"]))
    yield "count, filter by an absent substring of the name", _count(TaskFilter(user_id=owner, name="absent"))
    yield "count, created_before", _count(TaskFilter(user_id=owner, created_before=middle.created_at))
    yield "count, created_after", _count(TaskFilter(user_id=owner, created_after=middle.created_at))
    yield (
        "count, created_after and a type",
        _count(TaskFilter(user_id=owner, created_after=middle.created_at, task_type="common")),
    )
    yield "maintenance pass", _maintenance(owner)
    yield f"maintenance pass with {EXPIRED} expired", _maintenance(owner, EXPIRED)
    yield "claim", _claim(owner)
    yield "finish", _finish(owner)


def _steps_of_a_backlog(db: Session, number: int) -> Iterator[tuple[str, Step]]:
    user = new_user(db)
    db.execute(_WAITING, {"user": user, "number": number})
    db.commit()
    what = f"of {number:,} that wait"
    yield f"list {what}", _page(TaskFilter(user_id=user))
    yield f"list by status {what}", _page(TaskFilter(user_id=user, status=[TaskStatus.PENDING]))
    yield f"count {what}", _count(TaskFilter(user_id=user))
    db.execute(text("DELETE FROM tasks WHERE user_id = :user"), {"user": user})
    db.commit()


def _middle(db: Session, owner: UUID) -> Page[Task]:
    """Return the task in the middle, and the cursor of the page behind it."""
    between = text("SELECT min(created_at) + (max(created_at) - min(created_at)) / 2 FROM tasks")
    moment: datetime = db.execute(between).scalar_one()
    return task_service.list_page(db, TaskFilter(user_id=owner, created_before=moment), 1)


def _page(wanted: TaskFilter, cursor: str | None = None, skip: int = 0) -> Step:
    return Step(lambda db, _: task_service.list_page(db, wanted, 50, cursor=cursor, skip=skip))


def _count(wanted: TaskFilter) -> Step:
    return Step(lambda db, _: task_service.count(db, wanted))


def _maintenance(owner: UUID, expired: int = 0) -> Step:
    """The passes that look at tasks, with so many to revoke."""

    def prepare(db: Session) -> None:
        for _ in range(expired):
            new_task(db, owner)
        db.execute(_EXPIRE, {"user": owner})

    def act(db: Session, _: Any) -> None:
        task_states.end_lost_attempts(db, silent_for=timedelta(seconds=30))
        task_states.revoke_expired(db)
        deletions.delete_requested(db)
        task_states.give_turns(db)
        task_states.ready_queues(db)
        if expired:
            task_counts.fold(db)

    return Step(act, prepare if expired else lambda _: None)


def _claim(owner: UUID) -> Step:
    claims = Claims([("default", priority.value) for priority in reversed(TaskPriority)])
    names = TaskNames([LONG_RUNNING], [LONG_RUNNING])

    def act(db: Session, _: Any) -> None:
        assert claims.next(db, names, new_id(), WORKER), "nothing was ready"

    return Step(act, lambda db: new_task(db, owner))


def _finish(owner: UUID) -> Step:
    def prepare(db: Session) -> Claim:
        return claim(db, new_task(db, owner))

    return Step(lambda db, mine: ends.end_attempt(db, mine.id, mine.attempt, ends.succeeded(None)), prepare)


def _milliseconds(db: Session, step: Step) -> float:
    """Of the step alone, its commit included; what it needs is made ready before."""
    prepared = step.prepare(db)
    db.commit()
    wakeups.flush()  # what it was given: its thread would share the interpreter
    begun = time.perf_counter()
    step.act(db, prepared)
    db.commit()
    return (time.perf_counter() - begun) * 1000
