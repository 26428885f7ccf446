"""Random UPDATEs: whatever CHECKs and trigger let through is a legal move.

Each starts from what makes a move to some state complete, and then changes columns at random, so that many get far.
"""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings as profile, strategies as st
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.models.task import Task, TaskStatus
from app.services.execution import attempts, ends
from app.services.execution.attempts import NextTry
from app.services.task_service import task_service
from tests.support.databases import ENGINE
from tests.support.lawful import MOVES, unlawful
from tests.support.spelling import spelled
from tests.support.tasks import ERROR, claim, new_task, new_user, task_in

STATUSES = [str(status) for status in TaskStatus]
ENDED = ("succeeded", "failed", "revoked")
MANY = 8_000 if ENGINE == "postgresql" else 2_000
# What columns may be set to, as SQL.
VALUES = {
    "attempt": ["attempt + 1", "attempt - 1", "0", "attempt + 2"],
    "generation": ["generation + 1", "generation - 1", "generation + 2"],
    "failures": ["failures + 1", "failures - 1", "0", "max_attempts", "max_attempts + 1"],
    "crashes": ["crashes + 1", "crashes - 1", "0", "3", "4"],
    "max_attempts": ["max_attempts + 1", "0", "1"],
    "claim_id": ["NULL", "gen_random_uuid()"],
    "celery_id": ["gen_random_uuid()"],
    "finished_at": ["NULL", "now()", "finished_at + interval '1 second'"],
    "active_key": ["NULL", "unique_key", "'another'"],
    "unique_key": ["NULL", "'another'"],
    "due_at": ["NULL", "now()"],
    "turn": ["NULL", "1", "turn + 1"],
    "run_at": ["NULL", "now() + interval '1 hour'"],
    "cancel_requested_at": ["NULL", "now()"],
    "delete_requested_at": ["NULL", "now()"],
    "version": ["version + 1", "version + 2", "version - 1", "1"],
    "progress": ["0", "100", "101", "progress + 1"],
    "progress_detail": ["NULL", "'1'"],
    "result": ["NULL", "'1'"],
    "error_type": ["NULL", "'Other'"],
    "error_message": ["NULL", "'other'"],
    "error_fingerprint": ["NULL", "'other'"],
    "args": ["'[2]'"],
    "kwargs": ["'{\"steps\": 2}'"],
    "celery_task_name": ["'other'"],
    "id": ["gen_random_uuid()"],
    "name": ["'another'"],
}
CHANGE = st.sampled_from(sorted(VALUES)).flatmap(
    lambda column: st.tuples(st.just(column), st.sampled_from(VALUES[column]))
)


def completing(source: str, to: str) -> dict[str, str]:
    """What the CHECKs, and most of the trigger, want of this move."""
    columns = {
        "status": f"'{to}'",
        "claim_id": "coalesce(claim_id, gen_random_uuid())" if to == "running" else "NULL",
        "due_at": "coalesce(due_at, now())" if to == "pending" else "NULL",
        "turn": "turn" if to == "pending" else "NULL",
        "finished_at": "coalesce(finished_at, now())" if to in ENDED else "NULL",
        "active_key": "NULL" if to in ENDED else "unique_key",
        "error_fingerprint": "coalesce(error_fingerprint, 'x')" if to == "failed" else "NULL",
    }
    if (source, to) == ("pending", "running"):
        columns["attempt"] = "attempt + 1"
    if source in ENDED and to == "pending":
        columns |= {"generation": "generation + 1", "celery_id": "gen_random_uuid()", "failures": "0", "crashes": "0"}
    return columns


def prepared(db: Session) -> list[UUID]:
    """A task in every state, and some with a past."""
    user = new_user(db)
    ids = [task_in(db, status, user, max_attempts=3).id for status in TaskStatus]
    ids += [task_in(db, status, user, max_attempts=3, unique_key=status).id for status in TaskStatus]
    cancelled = task_in(db, TaskStatus.RUNNING, user)
    task_service.cancel(db, cancelled.id)
    tried, lost = new_task(db, user, max_attempts=3), new_task(db, user, max_attempts=3)
    ends.end_attempt(db, tried.id, claim(db, tried).attempt, ends.retried(ERROR, NextTry(0)))
    for again in range(3):
        claim(db, lost)
        if again < 2:
            ends.end_tasks(db, ends.lost("a test"), Task.id == lost.id)
    for task_id in (cancelled.id, lost.id):
        attempts.report_progress(db, task_id, 3 if task_id == lost.id else 1, 40, {"step": 1})
    worn = new_task(db, user, max_attempts=1)
    for _ in range(3):
        claim(db, worn)
        ends.end_tasks(db, ends.lost("a test"), Task.id == worn.id)
    db.commit()
    return [*ids, cancelled.id, tried.id, lost.id, worn.id]


def row_of(db: Session, task_id: UUID) -> dict[str, Any] | None:
    found = db.execute(spelled("SELECT * FROM tasks WHERE id = :id", {"id": task_id})).mappings().one_or_none()
    return None if found is None else dict(found)


def attempted(db: Session, task_id: UUID, assignments: dict[str, str]) -> dict[str, Any] | None:
    """The row after this UPDATE, which is then undone; None where the database refused it."""
    statement = (
        f"UPDATE tasks SET {', '.join(f'{name} = {value}' for name, value in assignments.items())} WHERE id = :id"
    )
    undone = db.begin_nested()
    try:
        db.execute(spelled(statement, {"id": task_id}))
        row = row_of(db, task_id)
        assert row is not None, "another identity"
        return row
    except IntegrityError:
        return None
    finally:
        undone.rollback()


class TestAnyUpdate:
    @pytest.mark.timeout(600)
    @pytest.mark.parametrize(
        "examples", [pytest.param(150, id="some"), pytest.param(MANY, marks=pytest.mark.full, id="many")]
    )
    def test_that_gets_past_checks_and_trigger_is_a_legal_move(self, db: Session, examples: int) -> None:
        tasks = prepared(db)
        rows = {task_id: row for task_id in tasks if (row := row_of(db, task_id)) is not None}
        passed: set[tuple[str, str]] = set()

        @profile(
            max_examples=examples,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(
            task=st.sampled_from(range(len(tasks))),
            to=st.sampled_from([None, *STATUSES]),
            changes=st.lists(CHANGE, max_size=3),
        )
        def any_update(task: int, to: str | None, changes: list[tuple[str, str]]) -> None:
            old = rows[tasks[task]]
            wanted = {"version": "version + 1"} | (completing(old["status"], to) if to else {}) | dict(changes)
            new = attempted(db, tasks[task], wanted)
            if new is not None:
                assert unlawful(old, new) == [], wanted
                passed.add((old["status"], new["status"]))

        any_update()
        # Enough of them got through for the rest to mean something: each legal move, and each state unmoved.
        assert passed >= MOVES | {(status, status) for status in STATUSES}
