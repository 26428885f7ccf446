"""The text of the statements that are sent for each task or each page, on PostgreSQL: a change of one is seen in a diff.

What is sent more rarely is not written down: the tests of its behaviour see it on every engine.
`python -m tests.support.golden_sql --write` writes the files anew.
"""

from uuid import UUID

import pytest
from starlette.testclient import TestClient

from app.core.config import get_settings
from app.core.ids import new_id
from app.core.served_tasks import ServedTasks
from app.db.postgresql.prepared import prepared_connection
from app.db.session import SessionLocal
from app.db.sql import task_output
from app.maintenance.passes import due_tasks, wake_ups
from app.messaging import publisher
from app.services.execution import claims, ends
from app.services.execution.attempts import NextTry
from app.services.execution.claims import Claims, ReadyClaim
from app.services.execution.ends import Success
from app.services.execution.kept_logs import KeptLogs, LogLine
from app.services.task_service import task_service
from app.worker.child.attempt_run import AttemptRun
from app.worker.child.process import ChildProcess
from tests.support.accounts import API, bearer
from tests.support.golden_sql import FOLDER, Recording, compare
from tests.support.settings import sql
from tests.support.task_client import BODY, TaskClient, module_client
from tests.support.tasks import LONG_RUNNING, WORKER, lines_of, names, new_login, new_task, next_run

pytestmark = pytest.mark.postgresql("its SQL")

client = module_client()


@pytest.fixture(scope="module")
def recording(client: TestClient) -> Recording:
    found = Recording()
    mine, boss = user(client), user(client, "admin")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ServedTasks, "is_due", lambda _: True)  # else by the clock
        submit(found, mine)
        read(found, mine, boss)
        show_pages(found, mine, boss)
        claim(found)
        end(found)
        log(found)
        emit(found)
        place(found)
        return found


def test_the_sql_is_what_the_files_say(recording: Recording) -> None:
    compare(FOLDER, recording.files())


# -- what clients ask for ----------------------------------------------------------------------------------------------


def user(client: TestClient, role: str = "user") -> TaskClient:
    with SessionLocal() as db:
        token = new_login(db, role)
    return TaskClient(client, client.get(f"{API}/users/me", headers=bearer(token)).json(), token)


def submit(found: Recording, mine: TaskClient) -> None:
    """One and several, by a login and by a key."""
    body = {"name": "k", "scopes": ["tasks:write"]}
    key = mine.http.post(f"{API}/auth/api-keys", headers=mine.headers, json=body).json()["key"]
    by_key = TaskClient(mine.http, mine.user, key)
    with found.step("submit"):
        for each in (mine, by_key):
            each.create()
            each.post("batch", {"tasks": [BODY] * 10}).raise_for_status()
        assert publisher.flush(10)


def read(found: Recording, mine: TaskClient, boss: TaskClient) -> None:
    """By its owner and by an administrator, changed and not."""
    task = mine.create()
    with found.step("read"):
        for each in (mine, boss):
            assert each.get(task["id"]).status_code == 200
            assert each.request("GET", task["id"], headers={"If-None-Match": '"1"'}).status_code == 304


def show_pages(found: Recording, mine: TaskClient, boss: TaskClient) -> None:
    """Of a user with and without a state, of all users; the next page, and the numbers by state."""
    with found.step("pages"):
        for each, whose in ((mine, {}), (boss, {"user_id": "all"})):
            page = each.get(limit=2, **whose)
            each.http.get(page.links["next"]["url"], headers=each.headers).raise_for_status()
            assert each.get("count", **whose).status_code == 200
        assert mine.get(status="running").status_code == 200


# -- what workers do ---------------------------------------------------------------------------------------------------


def claim(found: Recording) -> None:
    """One row and ten, the rows of a claim whose reply was lost, and those that were not begun."""
    looks, claim_id, claimed = Claims(lines_of()), new_id(), list[ReadyClaim]()
    with prepared_connection() as connection:
        with found.step("claim"):
            claimed += looks.next(connection, names(LONG_RUNNING), claim_id, WORKER)
            assert looks.find(connection, claim_id, WORKER)
            claimed += looks.next(connection, names(LONG_RUNNING), new_id(), WORKER)
            assert len(claimed) > 2
        cancel(claimed[0].id)
        with found.step("give_back"):
            claims.give_back(connection, claimed)


def end(found: Recording) -> None:
    """Progress, each end that a child writes, and the successes that a parent writes together."""
    run, cancelled = claimed_run(), claimed_run()
    cancel(cancelled.task_id)
    with found.step("ends"):
        run.report(None)
        run.report(50, {"step": 1})
        run.succeed({"sum": 1})
        claimed_run().fail(ValueError("no"))
        claimed_run().retry_later(ValueError("not yet"), NextTry(60))
        claimed_run().hand_back()
        claimed_run().revoke("ignored")
        cancelled.fail(ValueError("no"))
        with prepared_connection() as connection:
            ended = [Success(run.task_id, run.claim.attempt, "1") for run in (claimed_run(), claimed_run())]
            assert len(ends.end_successes(connection, ended)) == 2


def claimed_run() -> AttemptRun:
    """Of one of the tasks that `submit` left behind."""
    run = next_run(ChildProcess(WORKER.id, get_settings(), pid=WORKER.pid))
    assert run is not None
    return run


def cancel(task_id: UUID) -> None:
    with SessionLocal() as db:
        task_service.cancel(db, task_id)


def log(found: Recording) -> None:
    """Lines of a first attempt that fit, and of a second one for which others go."""
    run = claimed_run()
    line = LogLine("2026-01-01T00:00:00Z", 20, "a.logger", "a message", "{}")
    with prepared_connection() as connection, found.step("logs"):
        for attempt in (1, 2):
            kept = KeptLogs(run.task_id, attempt, 2 * line.bytes)
            for _ in range(2):
                assert kept.write(connection, kept.numbered([line]))


def emit(found: Recording) -> None:
    """What the task has already, and a chunk."""
    run = claimed_run()
    chunk = task_output.Chunk((1 << 32) + 1, "output", "2026-01-01T00:00:00Z", '"a text"', 142)
    with prepared_connection() as connection, found.step("output"):
        assert task_output.stored_bytes(connection, run.task_id) == 0
        assert task_output.write(connection, run.task_id, run.claim.attempt, [chunk], has_ended=False)


def place(found: Recording) -> None:
    """Tasks that have become due get their turns; the queues in which one could start."""
    with SessionLocal() as db:
        new_task(db, delay_seconds=3600)
        sql("UPDATE tasks SET due_at = now(), run_at = NULL WHERE turn IS NULL AND status = 'pending'")
        with found.step("turns"):
            due_tasks.give_turns(db)
            assert wake_ups.ready_queues(db)
