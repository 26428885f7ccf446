"""How many tasks wait, run and have started in each queue, and who serves it."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import and_, case, exists, func, or_, select
from sqlalchemy.orm import Session

from app.db.statements.expressions import seconds_between
from app.db.statements.held_rows import PENDING, is_held
from app.db.statements.task_counting import OWNERS_OF_ENDED
from app.ddl.clock import STATEMENT_TIME
from app.models.task import IS_RUNNING, Held, Task, TaskPriority

Rows = Sequence[Sequence[Any]]

_MINUTE_AGO = STATEMENT_TIME - timedelta(minutes=1)
_RUNNING = select(Task.queue, Task.worker_id, func.count()).where(IS_RUNNING).group_by(Task.queue, Task.worker_id)
# A delayed or retried task waits from the time at which it is due.
_AGE = seconds_between(func.min(case((Task.due_at <= STATEMENT_TIME, Task.due_at))), STATEMENT_TIME)
_IS_READY = or_(Task.run_at.is_(None), Task.run_at <= STATEMENT_TIME)
_READY = select(Task.queue, func.count(), func.count(case((_IS_READY, 1))), _AGE).where(PENDING).group_by(Task.queue)
_STARTED = select(Task.queue, func.count()).where(Task.started_at > _MINUTE_AGO).group_by(Task.queue)
# How many users one statement names.
_USERS = 500


class RunningTasks(NamedTuple):
    """How many tasks of a queue run on a worker."""

    queue: str
    worker_id: UUID | None
    number: int


def read_running(db: Session) -> list[RunningTasks]:
    """Return the numbers of running tasks, of each queue and worker that has any."""
    return [RunningTasks(*row) for row in db.execute(_RUNNING)]


def read_waiting(db: Session) -> Rows:
    """Of each queue: its name, the number of pending tasks, of those that are due, the age of the oldest in seconds."""
    return db.execute(_READY).all()


def read_starts(db: Session) -> Rows:
    """Of each queue: its name, and how many tasks have a last attempt that began within a minute."""
    users = db.scalars(OWNERS_OF_ENDED).all()
    # By user, because the index of ended tasks begins with the user.
    batches = [Task.user_id.in_(users[at : at + _USERS]) for at in range(0, len(users), _USERS)]
    starts = Counter[str]()
    for which in (IS_RUNNING, *(batch & (Task.finished_at > _MINUTE_AGO) for batch in batches)):
        for queue, number in db.execute(_STARTED.where(which)):
            starts[queue] += number
    return list(starts.items())


def front_of_line(db: Session, queue: str, priority: str, most: int) -> Rows:
    """Of each user among the first `most` tasks of a line that need nothing but a slot: the id, and how many."""
    line = (PENDING, Task.turn.is_not(None), Task.held.is_(None), Task.queue == queue, Task.priority == priority)
    front = select(Task.user_id).where(*line).order_by(Task.turn, Task.id).limit(most).subquery()
    return db.execute(select(front.c.user_id, func.count()).group_by(front.c.user_id)).all()


def due_of_user(db: Session, user_id: UUID, most: int) -> Rows:
    """Of each queue: its name, and how many of the newest `most` pending tasks of the user are due."""
    newest = select(Task.queue, Task.turn).where(PENDING, Task.user_id == user_id).order_by(Task.id.desc()).limit(most)
    found = newest.subquery()
    return db.execute(
        select(found.c.queue, func.count()).where(found.c.turn.is_not(None)).group_by(found.c.queue)
    ).all()


def has_unfinished(db: Session, queue: str) -> bool:
    """Whether a task of this queue runs, or waits and was sent. Counts nothing."""
    sent = (PENDING, Task.turn.is_not(None), Task.priority.in_(list(TaskPriority)))
    # One by one, as indexes have them.
    held = (Task.held.is_(None), *(is_held(each) for each in Held if each is not Held.LIMIT_KEY))
    held = (*held, and_(is_held(Held.LIMIT_KEY), Task.limit_key.is_not(None)))
    states = ((IS_RUNNING,), *((*sent, each) for each in held))
    return any(db.scalar(select(exists().where(*state, Task.queue == queue))) for state in states)
