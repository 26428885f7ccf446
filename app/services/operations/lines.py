"""What the admissions of limits and of users share: the lines, the names that workers know, and how slots are woken."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from app.catalogue import known_queues
from app.core.served_tasks import served_tasks
from app.db.after_commit import after_commit
from app.db.statements import claim_holds, held_rows
from app.messaging import wakeups
from app.messaging.application import QUEUES
from app.models.task import TaskPriority

# Statements that lock rows, in one admission. What is left comes with the next one.
MOST_ROUNDS = 8


def lines_of(db: Session) -> held_rows.Lines:
    """The lines in the order in which limits serve them: those that a live worker serves first. No paused queue."""
    served = served_tasks()
    paused = claim_holds.paused_queues(db)
    rank = {queue: number for number, queue in enumerate(QUEUES)}
    queues = sorted(
        known_queues() - paused, key=lambda queue: (not served.is_served(queue), rank.get(queue, len(rank)), queue)
    )
    lines = [(queue, priority.value) for queue in queues for priority in reversed(TaskPriority)]
    return held_rows.Lines([queue for queue, _ in lines], [priority for _, priority in lines])


def is_known(queue: str, celery_task_name: str) -> bool:
    """Whether a live worker of the queue knows the task. A queue without workers says nothing of a name."""
    served = served_tasks()
    return not served.is_served(queue) or served.can_run(queue, celery_task_name)


def behind(
    lines: held_rows.Lines, admitted: Iterable[held_rows.AdmittedRow], best: Mapping[str, int], otherwise: int
) -> list[UUID]:
    """The tasks that have a place although a better line waits: for their key by `best`, else by `otherwise`."""
    places = {line: place for place, line in enumerate(zip(lines.queues, lines.priorities, strict=True), 1)}
    last = len(places) + 1  # a line that is not served
    return [
        row.id for row in admitted if places.get((row.queue, row.priority), last) > best.get(row.key or "", otherwise)
    ]


def wake_for(db: Session, queues: Sequence[str], ahead: int) -> None:
    """After the commit, have slots look at the queues of the tasks that were admitted.

    Behind `ahead` tasks that wait for a claim already, one slot a queue: whoever takes those goes on, and wakes others.
    """
    if queues:
        woken = sorted(set(queues)) if ahead else queues
        after_commit(db, lambda: wakeups.publish(woken))
