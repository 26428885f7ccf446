"""Bulk deeds, and what live events ask for."""

from datetime import timedelta
from uuid import UUID

import pytest

from app.db.session import SessionLocal
from app.errors import BulkDeedOver
from app.live import queries
from app.models.bulk_deed import Deed
from app.models.task import TaskStatus, WaitingReason
from app.models.task_filter import TaskFilter
from app.services.bulk import steps
from app.services.task_service import task_service
from app.services.tasks.task_logs import LogFilter
from tests.support.bulk import run
from tests.support.golden_scenarios.stage import Stage, serve, settle
from tests.support.settings import sql
from tests.support.tasks import new_task, new_user, task_in

STATES = (TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.REVOKED)


def bulk(_stage: Stage) -> None:
    """Each deed by ids and by a filter: previewed, started, done, aborted, forgotten."""
    with SessionLocal() as db:
        user = new_user(db)
        for deed in Deed:
            ids = [task_in(db, status, user).id for status in STATES]
            task_service.start_bulk(db, deed, user_id=user, ids=ids, within_quota=True)
            _do()
        for deed, wanted in (
            (Deed.RETRY, {"status": [TaskStatus.FAILED]}),
            (Deed.CANCEL, {"waiting_for": WaitingReason.TURN}),
        ):
            for status in STATES:
                task_in(db, status, user, tags=["a"])
            filtered = TaskFilter(user_id=user, **wanted)
            preview = task_service.preview_bulk(db, deed, user_id=user, wanted=filtered)
            for _ in range(2):  # the same token names the same deed
                started = task_service.start_bulk(db, deed, user_id=user, token=preview.token, within_quota=True)
            _do()
        task_service.preview_bulk(db, Deed.DELETE, user_id=user, ids=[task_in(db, STATES[0], user).id])
        task_service.preview_bulk(db, Deed.DELETE, user_id=user, wanted=TaskFilter(), as_admin=True)
        task_service.get_bulk(db, started.id, owner=user)
        with pytest.raises(BulkDeedOver):
            task_service.abort_bulk(db, started.id)
        _with_unique_keys_and_limits(user)
        for as_admin in (True, False):
            started = task_service.start_bulk(
                db, Deed.CANCEL, user_id=user, wanted=TaskFilter(user_id=user), as_admin=as_admin
            )
        task_service.abort_bulk(db, started.id, owner=user)
        sql("UPDATE users SET is_active = false")
        _do()
        sql("UPDATE bulk_deeds SET finished_at = finished_at - interval '30 days'")
        steps.forget_finished(db)


def _do() -> None:
    """What maintenance does, until no deed moves any more."""
    settle()
    run()
    settle()


def _with_unique_keys_and_limits(user: UUID) -> None:
    """A retry of tasks that have to take their keys and places again, one of which another transaction has locked."""
    with SessionLocal() as db, SessionLocal() as other:
        task_service.put_limit(db, "one", concurrency=1)
        ids = [new_task(db, user, limit="one", unique_key=key).id for key in ("a", "b")]
        for task_id in ids:
            task_service.cancel(db, task_id)
        deed = task_service.start_bulk(db, Deed.RETRY, user_id=user, ids=ids)
        task_service.update_task(other, ids[0], {"name": "locked"}, commit=False)
        assert steps.step(db, deed.id)
        other.rollback()
    _do()


def live(_stage: Stage) -> None:
    """Rows, versions, lines and changes of what streams watch, and whether they may stay open."""
    with SessionLocal() as db:
        serve(db)
        user = new_user(db)
        tasks = [task_in(db, status, user) for status in STATES]
    ids = [task.id for task in tasks]
    since = queries.now() - timedelta(hours=1)
    for owner in (None, user):
        queries.read(ids[0], owner)
        queries.seen_by(owner, ids)
        queries.read_logs(ids[0], owner, LogFilter(), 0)
    queries.read_rows(ids, ids[:1], [user], lambda *_: True)
    queries.versions(ids)
    assert queries.recent([user], since)
    assert queries.changed_since(user, since, 10)
    queries.standing([user], [user])
