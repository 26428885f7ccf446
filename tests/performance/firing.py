"""`python -m tests.performance.firing DUE ROUNDS`: so many schedules that are due at once, beside a batch of as many tasks.

Prints the seconds of both, round by round, as JSON. A process of its own, with the settings of what is measured.
"""

import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.db.session import SessionLocal
from app.maintenance.passes.schedules import fire_due
from app.models.schedule import Schedule
from app.schemas.task import TaskCreate
from app.services.schedules.scheduled_tasks import now_of
from app.services.task_service import task_service
from tests.support.schedules import TASK, new_schedule
from tests.support.tasks import new_user


def main(words: Sequence[str]) -> int:
    due, rounds = map(int, words)
    fired, batches = [], []
    with SessionLocal() as db:
        users = new_user(db), new_user(db)
        for number in range(due):
            new_schedule(db, users[0], commit=number == due - 1, overlap="allow")
        for number in range(rounds + 1):
            _rewind(db)
            fired.append(_seconds(db, lambda: _fire(db, due)))
            batches.append(_seconds(db, lambda: _create(db, users[1], due)))
            if number == 0:  # as a worker that leads, and the API, do with all that they have imported
                gc.collect()
                gc.freeze()
    sys.stdout.write(f"{json.dumps({'fired': fired[1:], 'batch': batches[1:]})}\n")  # the first ones warm it up
    return 0


def _create(db: Session, user_id: UUID, number: int) -> None:
    """As of a request: each task is read from its fields."""
    task_service.create_tasks(db, [TaskCreate.model_validate(TASK) for _ in range(number)], user_id)


def _rewind(db: Session) -> None:
    """Have all be due, at a time that none of them has had: an hour of theirs moves on with each round.

    The round before lies behind `done_until`, as it does where nothing is rewound: else each would be a schedule whose
    backfill has come to its times first.
    """
    start = now_of(db) - timedelta(seconds=1)
    values = {"start_at": start, "done_until": start - timedelta(microseconds=1), "due_at": start}
    db.execute(update(Schedule).values(**values))
    db.commit()


def _fire(db: Session, due: int) -> None:
    fired = number = fire_due(db)
    while number:  # a pass ends after some time
        number = fire_due(db)
        fired += number
    assert fired == due, f"{fired} of {due}"


def _seconds(db: Session, work: Callable[[], object]) -> float:
    db.expunge_all()
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
