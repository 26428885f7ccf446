"""A deadlock undoes the transaction of one of those who wait for each other: a service's own is repeated."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.db.session import SessionLocal, engine
from app.models import Limit, Task
from app.models.audit import AuditRecord
from app.models.task import TaskStatus
from app.services import audit
from app.services.schedules.service import schedule_service
from app.services.task_service import task_service
from app.services.tasks import task_changes
from tests.support.database_errors import said
from tests.support.lock_waits import await_lock_waits, needs_row_locks
from tests.support.schedules import new_schedule
from tests.support.services import Services
from tests.support.settings import on_new_database
from tests.support.tasks import flush_admitter, task_in

DEADLOCK = "40P01"


@pytest.fixture(autouse=True)
def database(services: Services) -> Iterator[None]:
    with on_new_database(services):
        yield


@pytest.fixture
def ended() -> UUID:
    """A revoked task with a limit."""
    with SessionLocal() as db:
        task_service.put_limit(db, "x", concurrency=1)
        task_id = task_in(db, TaskStatus.REVOKED, limit="x").id
    flush_admitter()  # it would wait for the limit beside what a test lets wait
    return task_id


@pytest.fixture
def overtaken(monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """A retry meets a deadlock at its first try, once it has changed the row; the tasks of all tries."""
    restart, seen = task_changes.restart, list[UUID]()

    def restart_late(db: Any, task_id: UUID) -> bool:
        restarted = restart(db, task_id)
        seen.append(task_id)
        if len(seen) == 1:
            raise said(psycopg2.OperationalError, DEADLOCK)
        return restarted

    monkeypatch.setattr(task_changes, "restart", restart_late)
    return seen


@needs_row_locks
def test_a_call_that_is_undone_by_the_database_is_made_again(ended: UUID) -> None:
    def retry() -> int:
        with SessionLocal() as db:
            return task_service.retry_task(db, ended).generation

    with ThreadPoolExecutor(1) as pool, SessionLocal() as other:
        for _ in range(20):  # InnoDB undoes the transaction that has changed less
            other.add(Limit(name=new_id().hex, concurrency=1))
        other.flush()
        other.execute(update(Task).where(Task.id == ended).values(name="locked"))
        retried = pool.submit(retry)
        await_lock_waits(1, "the retry to wait for the task")
        other.execute(select(Limit).where(Limit.name == "x").with_for_update()).one()
        other.commit()
        assert retried.result(30) == 2
    with SessionLocal() as db:
        assert task_service.get_task(db, ended).name == "locked"


def test_nothing_of_the_first_try_stays(ended: UUID, overtaken: list[UUID]) -> None:
    with SessionLocal() as db:
        before = task_service.get_task(db, ended).version
    with SessionLocal() as db:
        task = task_service.retry_task(db, ended)
        assert (task.generation, task.version, overtaken) == (2, before + 1, [ended, ended])
        records = select(func.count()).where(AuditRecord.object_id == str(ended), AuditRecord.event == "task.retried")
        assert db.execute(records).scalar_one() == 1


def test_what_the_caller_has_begun_is_his_to_repeat(ended: UUID, overtaken: list[UUID]) -> None:
    with SessionLocal() as db:
        db.add(Limit(name="y", concurrency=1))
        db.flush()
        with pytest.raises(OperationalError, match="said the server"):
            task_service.retry_task(db, ended, commit=False)
    assert overtaken == [ended]


def test_so_is_what_he_has_begun_on_his_connection(ended: UUID, overtaken: list[UUID]) -> None:
    with engine().connect() as connection:
        connection.execute(insert(Limit).values(name="y", concurrency=1))
        with Session(bind=connection) as db, pytest.raises(OperationalError, match="said the server"):
            task_service.retry_task(db, ended, commit=False)
    assert overtaken == [ended]


@pytest.mark.parametrize("deed", ["pause", "resume", "delete_schedule"])
def test_a_deed_with_a_schedule_is_made_again(monkeypatch: pytest.MonkeyPatch, deed: str) -> None:
    with SessionLocal() as db:
        schedule = new_schedule(db, paused=deed == "resume")
    record, tried = audit.record, list[str]()

    def record_late(*args: Any, **named: Any) -> None:
        record(*args, **named)
        tried.append(deed)
        if len(tried) == 1:
            raise said(psycopg2.OperationalError, DEADLOCK)

    monkeypatch.setattr(audit, "record", record_late)
    with SessionLocal() as db:
        getattr(schedule_service, deed)(db, schedule.id)
    assert tried == [deed] * 2


def test_so_is_what_his_session_has_read_before(ended: UUID, overtaken: list[UUID]) -> None:
    """The rollback expires the objects that he has of it: a call that ends well must not."""
    with SessionLocal() as db:
        task = task_service.get_task(db, ended)
        db.commit()
        with pytest.raises(OperationalError, match="said the server"):
            task_service.retry_task(db, ended)
        assert task.id == ended
    assert overtaken == [ended]
