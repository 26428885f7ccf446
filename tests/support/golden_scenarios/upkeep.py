"""Maintenance, beat, and the places that tasks with limits and of users with a quota take."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from app.beat import periods
from app.core.config import get_settings
from app.core.ids import new_id
from app.db.postgresql import turns
from app.db.session import SessionLocal, transaction
from app.maintenance import lease, limits, passes, running_quota
from app.models.task import TaskStatus
from app.services.accounts.auth_service import auth_service
from app.services.execution import rescue
from app.services.operations import error_adding, stats_adding
from app.services.task_service import task_service
from app.services.tasks import task_counts
from tests.support.golden_scenarios.stage import Stage, serve, settle
from tests.support.limited import body_ends, maintain
from tests.support.settings import sql
from tests.support.tasks import LONG_RUNNING, claim_next, new_task, new_user, task_in

SILENT = timedelta(seconds=30)
UNKNOWN = "app.tasks.model_tasks.train_classifier"


def beat(_stage: Stage) -> None:
    """An entry that is new, known, taken and given back."""
    with SessionLocal() as db:
        for _ in range(2):
            fired_at, _now = periods.last_fired(db, "an entry")
        taken_at = periods.take(db, "an entry", fired_at)
        assert taken_at is not None
        assert periods.give_back(db, "an entry", taken_at, fired_at)


def passes_over_tasks(_stage: Stage) -> None:
    """One whole pass, and each of its parts where it has something to do."""
    with SessionLocal() as db:
        serve(db)
        user = new_user(db)
        maintain(db)
        first, second = new_id(), new_id()
        assert lease.acquire(db, first, get_settings())
        assert lease.acquire(db, second, get_settings()) is None
        lease.release(db, first)
        _lost_tasks(db, user)
        new_task(db, user, delay_seconds=3600)
        new_task(db, user, expires_at=datetime.now(UTC) + timedelta(hours=1))
        sql("UPDATE tasks SET due_at = now(), run_at = NULL, expires_at = now()")
        passes.revoke_expired(db)
        new_task(db, user, delay_seconds=3600)
        sql("UPDATE tasks SET due_at = now(), run_at = NULL WHERE turn IS NULL AND status = 'pending'")
        with transaction(db):
            turns.users_to_place(db)
        with transaction(db):
            turns.place_due(db, user)
        passes.place_due(db)
        running = task_in(db, TaskStatus.RUNNING, user)
        task_service.delete(db, running.id, force=True)
        task_service.update_task_status(db, running.id, "revoked")
        passes.delete_requested(db)
        passes.forget_workers(db)
        passes.forget_claimed_turns(db)
        assert passes.ready_queues(db) is not None


def _lost_tasks(db: Session, user: UUID) -> None:
    """Attempts of workers that have stopped or are silent."""
    for silent_for in (None, SILENT):
        task_in(db, TaskStatus.RUNNING, user)
        sql("UPDATE worker_processes SET stopped_at = now()")
        assert passes.rescue_lost(db, silent_for=silent_for) == 1


def folding(_stage: Stage) -> None:
    """Counts, numbers by time and groups of failures: added to, taken from, and forgotten."""
    with SessionLocal() as db:
        user = new_user(db)
        failed = task_in(db, TaskStatus.FAILED, user)
        task_in(db, TaskStatus.SUCCEEDED, user)
        _fold(db)
        task_service.retry_task(db, failed.id)  # one failed task less, and no new failure
        _fold(db)
        with pytest.MonkeyPatch.context() as patched:  # more kinds than are kept
            patched.setattr(stats_adding, "KINDS", 0)
            task_in(db, TaskStatus.SUCCEEDED, user, task_type="one more")
            _fold(db)
        task_counts.forget_zeros(db)
        stats_adding.forget(db)
        error_adding.forget(db)


def _fold(db: Session) -> None:
    task_counts.fold(db)
    stats_adding.add_submissions(db)


def retention(_stage: Stage) -> None:
    """What users keep beyond RETENTION_BYTES, and what is deleted by its age."""
    with SessionLocal() as db:
        user = new_user(db)
        task_in(db, TaskStatus.SUCCEEDED, user)
        sql("ALTER TABLE tasks DISABLE TRIGGER tasks_guard")
        sql("UPDATE tasks SET finished_at = finished_at - interval '1 day'")
        sql("ALTER TABLE tasks ENABLE TRIGGER tasks_guard")
        task_counts.fold(db)
        passes.trim_stored(db, 1)
        maintain(db)
        task_service.purge_finished(db, 1)
        auth_service.purge_expired_logins(db)


def places_of_limits(_stage: Stage) -> None:
    """Limits of each kind are set, admit, lose places, are repaired and deleted."""
    with SessionLocal() as db:
        serve(db)
        _limited_tasks(db)
        limits.settle(db, 0, silent_for=SILENT)
        limits.admit_all(db)
        claimed = claim_next(db, short=[LONG_RUNNING])
        rescue.handed_back(db, "because")
        db.commit()
        for each in claimed:
            body_ends(db, each.id, each.attempt)
        settle()
        limits.hold_unknown(db)
        serve(db, [LONG_RUNNING, UNKNOWN])
        limits.hold_unknown(db)
        limits.settle(db, 0, silent_for=None)
        task_service.list_limits(db)
        task_service.get_limit(db, "keys")
        sql("UPDATE tasks SET held = NULL WHERE held = 'limit'")
        limits.settle(db, 0, silent_for=None)
        sql("DELETE FROM tasks")
        sql("DELETE FROM limit_places WHERE limit_name = 'plain'")
        task_service.delete_limit(db, "plain")


def _limited_tasks(db: Session) -> None:
    """More than there are places, then better ones, and one that no worker knows."""
    user, rate = new_user(db), {"count": 1, "period_seconds": 60}
    task_service.put_limit(db, "plain", concurrency=1)
    task_service.put_limit(db, "plain", concurrency=2)
    task_service.put_limit(db, "keys", concurrency=2, concurrency_per_key=1)
    task_service.put_limit(db, "rates", rate=rate, rate_per_key=rate)
    settle()
    low = [(name, {"priority": "low", "limit_key": key}) for name in ("plain", "keys", "rates") for key in "aabb"]
    high = [("plain", {"priority": "high"}), ("keys", {"priority": "high", "limit_key": "a"})]
    for name, options in (*low, *high, ("plain", {"celery_task_name": UNKNOWN, "args": ["iris"]})):
        new_task(db, user, limit=name, **options)
        settle()


def places_of_users(_stage: Stage) -> None:
    """QUOTA_RUNNING_TASKS: tasks from before, tasks that wait, places that go to better tasks, and no quota any more."""
    with SessionLocal() as db:
        serve(db)
        user = new_user(db)
        task_service.put_limit(db, "one", concurrency=1)
        for options in ({}, {"limit": "one"}, {"delay_seconds": 3600}):
            new_task(db, user, **options)
            settle()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(get_settings(), "quota_running_tasks", 1)
            running_quota.hold(db, 1)
            limits.settle(db, 1, silent_for=SILENT)
            for options in ({"priority": "high", "limit": "one"}, {"celery_task_name": UNKNOWN, "args": ["iris"]}):
                new_task(db, user, **options)
                settle()
            limits.settle(db, 1, silent_for=SILENT)
            for each in claim_next(db):
                body_ends(db, each.id, each.attempt)
            cancelled = new_task(db, user).id
            task_service.cancel(db, cancelled)
            task_service.retry_task(db, cancelled)
            settle()
        limits.settle(db, 0, silent_for=None)
