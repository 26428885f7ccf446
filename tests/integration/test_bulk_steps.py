"""How bulk operations are done: batch by batch, whatever is killed; aborted, in turns, around what is locked."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import new_id
from app.db.session import SessionLocal
from app.db.transactions import DEADLOCK_TRIES
from app.maintenance.loop import Maintenance
from app.models import Limit
from app.models.audit import AuditRecord
from app.models.bulk import BATCH, BulkDeed
from app.models.task import Task
from app.services.bulk import steps
from app.services.task_service import task_service
from app.services.tasks import task_changes
from tests.support.bulk import counts, ended, preview, revoke_many, run, start, start_filter
from tests.support.database_errors import said
from tests.support.lock_waits import await_lock_waits, needs_row_locks
from tests.support.services import ROOT, process_environment
from tests.support.settings import sql
from tests.support.task_client import TaskClient, module_client
from tests.support.tasks import flush_admitter, new_login
from tests.support.waiting import wait_for

client = module_client()
# Dies in the transaction of its third batch.
RUNNER = """
import os
import signal
from threading import Event

from app.db.session import SessionLocal
from app.maintenance.passes.backlogs import take_bulk_steps
from app.services.bulk import steps

put_back, batches = steps.put_back, []

def die_in_the_third(*arguments):
    put_back(*arguments)
    batches.append(arguments)
    if len(batches) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

steps.put_back = die_in_the_third
with SessionLocal() as db:
    while True:
        take_bulk_steps(db, Event())
"""


def generations(tasks: TaskClient) -> dict[int, int]:
    rows = sql("SELECT generation, count(*) FROM tasks WHERE user_id = :id GROUP BY 1", id=tasks.user["id"])
    return {int(generation): int(number) for generation, number in rows}


class TestABatch:
    def test_that_is_undone_is_done_again_and_counted_once(
        self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        revoke_many(tasks, BATCH + 50)
        accepted = start_filter(tasks, "retry", status="revoked")
        with monkeypatch.context() as patched, SessionLocal() as db:
            patched.setattr(steps, "put_back", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                steps.step(db, UUID(accepted["id"]))
            run(rounds=2)  # logs it, and goes on
        assert counts(tasks, accepted, "running")["done"] == 0
        assert generations(tasks) == {1: BATCH + 50}
        run(rounds=1)
        assert counts(tasks, accepted, "running")["done"] == BATCH
        assert ended(tasks, accepted)["done"] == BATCH + 50
        assert generations(tasks) == {2: BATCH + 50}

    def test_that_is_undone_again_and_again_is_left_to_the_next_round_and_told_in_a_line(
        self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        revoke_many(tasks, 3)
        accepted = start_filter(tasks, "retry", status="revoked")
        tried: list[object] = []

        def undone(*_: object) -> None:
            tried.append(_)
            raise said(psycopg2.OperationalError, "40P01")

        with monkeypatch.context() as patched:
            patched.setattr(steps, "put_back", undone)
            run(rounds=1)
        assert len(tried) == DEADLOCK_TRIES
        (told,) = [record for record in caplog.records if accepted["id"] in record.getMessage()]
        assert (told.levelname, told.exc_info) == ("WARNING", None)
        assert "is tried again: said the server" in told.getMessage()
        assert generations(tasks) == {1: 3}
        assert ended(tasks, accepted)["done"] == 3

    @needs_row_locks
    def test_that_a_deadlock_undoes_is_done_again_with_the_deed_locked(
        self, tasks: TaskClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        """On InnoDB the deed's lock is gone with its transaction: what another has written of it must not be lost."""
        with SessionLocal() as db:
            task_service.put_limit(db, "x", concurrency=1)
        for _ in range(3):
            tasks.task_in("revoked", limit="x")
        flush_admitter()  # it would wait for the limit beside the step
        accepted = start_filter(tasks, "retry", status="revoked")

        def step() -> bool:
            with SessionLocal() as db:
                return steps.step(db, UUID(accepted["id"]))

        with ThreadPoolExecutor(1) as pool, SessionLocal() as other:
            for _ in range(20):  # InnoDB undoes the transaction that has changed less
                other.add(Limit(name=new_id().hex, concurrency=1))
            other.flush()
            other.execute(select(Limit).where(Limit.name == "x").with_for_update()).one()
            stepped = pool.submit(step)
            await_lock_waits(1, "the step to wait for the limit")
            other.execute(update(BulkDeed).where(BulkDeed.id == UUID(accepted["id"])).values(failed=7))
            other.commit()
            # Repeated before the other transaction has committed, it finds the deed locked; the next one does the batch.
            assert stepped.result(30) or step()
        assert counts(tasks, accepted, "running") == {"matched": 3, "done": 3, "failed": 7, "skipped": {}}
        assert generations(tasks) == {2: 3}
        assert "in parts" not in caplog.text

    def test_of_a_killed_process_is_lost_nowhere(self, tasks: TaskClient) -> None:
        revoke_many(tasks, 1500)
        accepted = start_filter(tasks, "retry", status="revoked")
        settings = get_settings()
        assert settings.database_url is not None
        environment = process_environment({"DATABASE_URL": settings.database_url.get_secret_value()})
        runner = [sys.executable, "-c", RUNNER]
        assert subprocess.run(runner, cwd=ROOT, env=environment, timeout=60, check=False).returncode == -signal.SIGKILL
        with SessionLocal() as db:  # waits until the server has undone the dead process's transaction
            db.execute(select(BulkDeed.id).where(BulkDeed.id == UUID(accepted["id"])).with_for_update()).one()
        assert counts(tasks, accepted, "running")["done"] == 2 * BATCH
        assert ended(tasks, accepted) == {"matched": 1500, "done": 1500, "failed": 0, "skipped": {}}
        assert generations(tasks) == {2: 1500}

    def test_with_a_task_that_fails_costs_no_other(self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        ids = [tasks.create()["id"] for _ in range(3)]
        revoke = task_changes.revoke_all_pending

        def failing(db: Session, wanted: Sequence[UUID]) -> None:
            revoke(db, wanted)
            if UUID(ids[1]) in wanted:
                db.execute(text("SELECT 1 FROM nowhere"))

        monkeypatch.setattr(task_changes, "revoke_all_pending", failing)
        accepted = start(tasks, "cancel", ids=ids)
        assert ended(tasks, accepted) == {"matched": 3, "done": 2, "failed": 1, "skipped": {}}
        assert [tasks.get(each).json()["status"] for each in ids] == ["revoked", "pending", "revoked"]

    @needs_row_locks
    def test_leaves_out_what_another_transaction_has_locked_and_comes_back(self, tasks: TaskClient) -> None:
        ids = [tasks.create()["id"] for _ in range(3)]
        accepted = start(tasks, "cancel", ids=ids)
        with SessionLocal() as other:
            other.execute(select(Task.id).where(Task.id == UUID(ids[0])).with_for_update())
            run()  # ends: nothing moves any more
            assert counts(tasks, accepted, "running")["done"] == 2
        assert ended(tasks, accepted)["done"] == 3

    def test_deletes_no_more_bytes_than_a_purge_at_once(
        self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = [tasks.task_in("succeeded") for _ in range(5)]
        sql("UPDATE tasks SET attached_bytes = attached_bytes + 10000 WHERE user_id = :id", id=tasks.user["id"])
        monkeypatch.setattr(task_changes, "PURGE_BYTES", 20_000)
        accepted = start(tasks, "delete", ids=ids)
        done = []
        for _ in range(3):
            run(rounds=1)
            done.append(counts(tasks, accepted, "running")["done"])
        assert done == [2, 4, 5]
        assert ended(tasks, accepted) == {"matched": 5, "done": 5, "failed": 0, "skipped": {}}


class TestTurns:
    def test_are_taken_by_users_and_not_by_deeds(self, tasks: TaskClient, admin: TaskClient) -> None:
        revoke_many(tasks, BATCH + 50)
        revoke_many(admin, 50)
        first, second = (start_filter(tasks, "delete", status="revoked") for _ in range(2))
        short = start_filter(admin, "delete", status="revoked")
        run(rounds=1)
        running = {"failed": 0, "skipped": {}}
        assert counts(tasks, first, "running") == running | {"matched": BATCH + 50, "done": BATCH}
        assert counts(tasks, second, "running") == running | {"matched": BATCH + 50, "done": 0}
        assert counts(admin, short, "running") == running | {"matched": 50, "done": 50}
        assert ended(admin, short)["done"] == 50
        assert counts(tasks, second)["skipped"] == {"task_not_found": BATCH + 50}


class TestAnAbort:
    def test_keeps_what_is_done_and_does_nothing_more(self, tasks: TaskClient, admin: TaskClient) -> None:
        revoke_many(tasks, BATCH + 50)
        accepted = start_filter(tasks, "delete", status="revoked")
        run(rounds=1)
        path = f"bulk/{accepted['id']}"
        with SessionLocal() as db:
            stranger = TaskClient(tasks.http, {}, new_login(db))
        for answer in (stranger.get(path), stranger.post(f"{path}/abort"), tasks.get(f"bulk/{UUID(int=1)}")):
            assert (answer.status_code, answer.json()["code"]) == (404, "bulk_deed_not_found")
        assert admin.get(path).json()["state"] == "running"
        for _ in range(2):
            aborted = tasks.post(f"{path}/abort")
            assert (aborted.status_code, aborted.json()["state"], aborted.json()["done"]) == (200, "aborted", BATCH)
        run()
        assert counts(tasks, accepted, "aborted")["done"] == BATCH
        assert tasks.get("count").json()["total"] == 50
        assert sql("SELECT count(*) FROM bulk_batches WHERE deed_id = :id", id=accepted["id"])[0][0] == 0
        done = start(tasks, "delete", ids=[str(UUID(int=1))])
        run()
        assert tasks.post(f"bulk/{done['id']}/abort").json()["code"] == "bulk_deed_over"


def test_the_audit_tells_of_the_deed_and_not_of_each_task(tasks: TaskClient) -> None:
    ids = [tasks.create(tags=["é" * 100])["id"] for _ in range(2)]
    accepted = start(
        tasks, "cancel", token=preview(tasks, "cancel", tag=[f"{n}" + "é" * 90 for n in range(20)])["token"]
    )
    run()
    by_ids = start(tasks, "cancel", ids=ids)
    run()
    with SessionLocal() as db:
        told = list(db.scalars(select(AuditRecord).order_by(AuditRecord.id)))
    mine = [each for each in told if str(each.actor_id) == tasks.user["id"]]
    assert [(each.event, each.object_id) for each in mine] == [
        (event, deed["id"]) for deed in (accepted, by_ids) for event in ("bulk.started", "bulk.ended")
    ]
    assert mine[0].detail["filter"][-1] == "…"
    assert mine[2].detail == {"deed": "cancel", "matched": 2, "ids": 2}
    ended_detail: dict[str, Any] = {"deed": "cancel", "matched": 2, "done": 2, "failed": 0, "skipped": []}
    assert mine[3].detail == ended_detail | {"state": "finished"}
    assert mine[3].actor_name == tasks.user["username"]


def test_the_process_that_leads_maintenance_does_them_and_forgets_old_ones(tasks: TaskClient) -> None:
    old = start(tasks, "cancel", ids=[str(UUID(int=1))])
    run()
    sql("UPDATE bulk_deeds SET finished_at = finished_at - interval '8 days' WHERE id = :id", id=old["id"])
    accepted = start(tasks, "cancel", ids=[tasks.create()["id"]])
    leader = Maintenance(get_settings())
    leader.start()
    try:
        wait_for(lambda: tasks.get(f"bulk/{accepted['id']}").json()["state"] == "finished", 30, "the end")
        wait_for(lambda: tasks.get(f"bulk/{old['id']}").status_code == 404, 30, "to be forgotten")
    finally:
        leader.stop()
    assert counts(tasks, accepted)["done"] == 1
