"""What triggers refuse to any statement beyond the states, and what they count of cascades.

Of PostgreSQL's, the one that looks for holds; for the others see test_limits.py, test_task_counts.py, test_audit_roles.py.
"""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.db.statements import audit as audit_statements
from app.ddl.clock import NOW
from app.models import AuditRecord, ClaimHold, LimitPlace, Task, User
from app.models.audit import AuditEvent, AuditOrigin
from app.models.task import TaskStatus
from app.models.task_count import task_count_changes
from tests.support.databases import DIALECT, ENGINE
from tests.support.services import TEMPLATE, Services
from tests.support.tasks import WORKER, new_task, new_user, task_in

not_of_postgresql = pytest.mark.skipif(
    ENGINE == "postgresql", reason="PostgreSQL's triggers: test_limits.py, test_task_counts.py, test_audit_roles.py"
)
TASKS, PLACES = Task.__table__, LimitPlace.__table__


def claimed(db: Session, task_id: UUID) -> bool:
    """Whether a statement claims it that looks for nothing itself; undone."""
    undone = db.begin_nested()
    values: dict[str, Any] = {
        "status": "running", "due_at": None, "turn": None, "held": None, "attempt": TASKS.c.attempt + 1,
        "claim_id": new_id(), "worker_id": WORKER.id, "worker_pid": WORKER.pid, "started_at": NOW,
    }  # fmt: skip
    try:
        found: Any = db.execute(update(TASKS).where(TASKS.c.id == task_id).values(values))
        return found.rowcount == 1
    finally:
        undone.rollback()


@pytest.mark.postgresql("on the other engines a claim locks the row that a hold locks, and looks (test_claims.py)")
class TestHolds:
    @pytest.mark.parametrize(
        ("kind", "name"), [("queue", "default"), ("worker", str(WORKER.id))], ids=["queue", "worker"]
    )
    def test_a_claim_is_refused(self, db: Session, kind: str, name: str) -> None:
        task = new_task(db)
        assert claimed(db, task.id)
        db.add(ClaimHold(kind=kind, name=name))
        db.commit()
        assert not claimed(db, task.id)

    def test_those_of_others_stop_nothing(self, db: Session) -> None:
        task = new_task(db)
        db.add_all([ClaimHold(kind="queue", name="other"), ClaimHold(kind="worker", name=str(new_id()))])
        db.commit()
        assert claimed(db, task.id)


@not_of_postgresql
class TestPlaces:
    @pytest.mark.parametrize(
        ("needs", "names"),
        [
            ({"limit": "mail"}, ["mail"]),
            ({"user_limited": True}, ["@user"]),
            ({"limit": "mail", "user_limited": True}, ["mail", "@user"]),
        ],
    )
    def test_a_claim_needs_each_of_them_taken_by_its_worker(
        self, db: Session, needs: dict[str, Any], names: list[str]
    ) -> None:
        task = new_task(db)
        db.execute(update(TASKS).values(needs))
        db.commit()
        place = {"task_id": task.id, "attempt": 1}
        taken = {"started_at": NOW, "worker_id": WORKER.id, "worker_pid": WORKER.pid}
        for name in names:
            with pytest.raises(IntegrityError, match=r"tasks_(limited|guard): "):
                claimed(db, task.id)
            db.execute(insert(PLACES).values(place | {"limit_name": name}))
            for wrong in ({"worker_id": None, "started_at": None}, {"worker_id": new_id()}, {"ended_at": NOW}):
                db.execute(update(PLACES).where(PLACES.c.limit_name == name).values(taken | wrong))
                with pytest.raises(IntegrityError, match=r"tasks_(limited|guard): "):
                    claimed(db, task.id)
            db.execute(update(PLACES).where(PLACES.c.limit_name == name).values({"ended_at": None, **taken}))
        claimed(db, task.id)

    def test_of_another_attempt_do_not_help(self, db: Session) -> None:
        task = new_task(db)
        db.execute(update(TASKS).values(limit="mail"))
        place = {"task_id": task.id, "attempt": 2, "limit_name": "mail", "started_at": NOW, "worker_id": WORKER.id}
        db.execute(insert(PLACES).values(place))
        with pytest.raises(IntegrityError, match=r"tasks_(limited|guard): "):
            claimed(db, task.id)


@not_of_postgresql
class TestCounts:
    @pytest.mark.parametrize("gone", [delete(User), delete(TASKS)], ids=["with their user", "by themselves"])
    def test_deleted_tasks_count_nothing_any_more(self, db: Session, gone: Any) -> None:
        user = new_user(db)
        for status in TaskStatus:
            task_in(db, status, user)
        changes = task_count_changes.c
        sums = select(func.sum(changes.number), func.sum(changes.bytes))
        assert db.execute(sums).one()[0] == 3
        db.execute(gone)
        assert tuple(db.execute(sums).one()) == (0, 0)


def record(db: Session) -> AuditRecord:
    origin = AuditOrigin.PYTHON.value
    added = AuditRecord(
        event=AuditEvent.LOGOUT.value, origin=origin, object_kind="user", object_id="1",
        at=datetime.now(UTC) - timedelta(days=500),
    )  # fmt: skip
    db.add(added)
    db.commit()
    return added


OVERWRITE = {
    "sqlite": (
        "INSERT INTO audit_events SELECT * FROM audit_events WHERE true ON CONFLICT (id) DO UPDATE SET event = 'x'",
        "INSERT OR REPLACE INTO audit_events SELECT * FROM audit_events",
        "UPDATE OR IGNORE audit_events SET event = 'x'",
        "UPDATE OR REPLACE audit_events SET event = 'x'",
    ),
    "mysql": (
        "INSERT INTO audit_events SELECT * FROM audit_events ON DUPLICATE KEY UPDATE event = 'x'",
        "REPLACE INTO audit_events SELECT * FROM audit_events",
        "UPDATE IGNORE audit_events SET event = 'x'",
        "DELETE IGNORE FROM audit_events",
    ),
}


@not_of_postgresql
class TestAudit:
    @pytest.mark.parametrize(
        "statement", ["UPDATE audit_events SET event = 'x'", "DELETE FROM audit_events", *OVERWRITE.get(DIALECT, ())]
    )
    def test_a_change_is_refused(self, db: Session, statement: str) -> None:
        record(db)
        with pytest.raises(IntegrityError, match="audit_events is append-only"):
            db.execute(text(statement))
        assert db.scalars(select(AuditRecord.event)).all() == ["logout"]

    def test_pruning_deletes_and_leaves_the_guard(self, db: Session) -> None:
        for _ in range(3):
            record(db)
        before = datetime.now(UTC) - timedelta(days=400)
        assert audit_statements.delete_before(db, before, 2) == 2
        db.commit()
        with pytest.raises(IntegrityError, match="audit_events is append-only"):
            db.execute(text("DELETE FROM audit_events"))
        db.rollback()
        assert audit_statements.delete_before(db, before, 2) == 1
        assert audit_statements.delete_before(db, before, 2) == 0

    def test_pruning_that_fails_leaves_the_guard(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        record(db)
        monkeypatch.setattr(audit_statements, "changed_rows", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            audit_statements.delete_before(db, datetime.now(UTC), 2)
        record(db)
        with pytest.raises(IntegrityError, match="audit_events is append-only"):
            db.execute(text("DELETE FROM audit_events"))


@pytest.mark.skipif(ENGINE != "sqlite", reason="of the shell of SQLite")
def test_any_program_that_opens_the_file_meets_them(services: Services) -> None:
    """They need nothing that the service's connections define."""
    name = services.new_database(TEMPLATE)
    some_id = "lower(hex(randomblob(16)))"
    user = f"""
        INSERT INTO users (id, username, username_normalized, email, email_normalized, password_hash)
        VALUES ({some_id}, 'anna', 'anna', 'anna', 'anna', '!')
    """
    task = f"""
        INSERT INTO tasks (
            id, celery_id, user_id, name, task_type, celery_task_name, args, kwargs, priority, queue, due_at
        ) SELECT {some_id}, {some_id}, id, 'n', 't', 'c', '[]', '{{}}', 'low', 'q', 1 FROM users
    """
    url = services.database_url(name).removeprefix("sqlite:///")
    with closing(sqlite3.connect(url)) as connection:
        connection.execute(user)
        connection.execute(task)
        with pytest.raises(sqlite3.IntegrityError, match="tasks_guard"):
            connection.execute("UPDATE tasks SET attempt = 7")
        connection.execute(
            "UPDATE tasks SET status = 'revoked', due_at = NULL, finished_at = 5, version = version + 1, held = NULL"
        )
        with pytest.raises(sqlite3.IntegrityError, match="tasks_guard: task cannot go from revoked to running"):
            connection.execute("UPDATE tasks SET status = 'running', version = version + 1")
        assert connection.execute("SELECT number, bytes FROM task_count_changes").fetchall() == [(1, 1024 + 4)]
        connection.execute("DELETE FROM tasks")
        assert connection.execute("SELECT sum(number), sum(bytes) FROM task_count_changes").fetchall() == [(0, 0)]
    services.drop_database(name)
