"""Threads and connections: lists and counts that read many rows, asked for on many connections."""

from uuid import UUID

import pytest
from sqlalchemy import text

from app.db.session import SessionLocal
from tests.load.duel import BOUND, Duel
from tests.load.greedy import Behaviour, Side
from tests.performance.wire import Request
from tests.support.accounts import API
from tests.support.settings import settings
from tests.support.tasks import new_task

CONNECTIONS = 16
TASKS = 200_000
COPY = """
INSERT INTO tasks (id, celery_id, user_id, name, task_type, celery_task_name, args, kwargs, priority, queue, status,
    started_at, finished_at, attempt, progress)
SELECT uuidv7(- n * interval '1 second'), uuidv7(), user_id, name, task_type, celery_task_name, args, kwargs, priority, queue,
    'succeeded', now(), now(), 1, 100
FROM tasks, generate_series(1, :number) n WHERE id = :task
"""


async def lists(side: Side) -> None:
    await side.repeat(Request("GET", f"{API}/tasks/?name=nothing&skip=1", token=side.token), CONNECTIONS)


async def counts(side: Side) -> None:
    await side.repeat(Request("GET", f"{API}/tasks/count?name=nothing", token=side.token), CONNECTIONS)


@pytest.fixture(scope="module")
def filled(duel: Duel) -> Duel:
    user = duel.greedy.get(f"{API}/users/me").json()["id"]
    with settings(duel.stack.settings), SessionLocal() as db:
        task = new_task(db, UUID(user))
        db.execute(text(COPY), {"number": TASKS, "task": task.id})
        db.commit()
    return duel


@pytest.mark.parametrize(
    "behave", [lists, pytest.param(counts, marks=pytest.mark.full)], ids=lambda behave: str(behave.__name__)
)
@pytest.mark.parametrize("path", ["list", pytest.param("task", marks=pytest.mark.full)])
def test_reads_of_many_rows_leave_others_their_threads(filled: Duel, behave: Behaviour, path: str) -> None:
    request = filled.modest_request("GET", f"{API}/tasks/") if path == "list" else filled.modest_get()
    seen = filled.compare(behave, request)
    assert seen.ratio <= BOUND, str(seen)
