"""Rows that no claim may take: they cost a claim nothing, and tasks that no live worker knows stand in nobody's way."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.db.postgresql import claims as statements
from app.db.postgresql.prepared import Prepared
from app.db.session import SessionLocal
from app.db.sql import prepared as prepared_sql
from app.db.statements import pending_rows
from app.models import Task, WorkerProcess
from app.services.execution.claims import Claims
from app.services.task_service import task_service
from tests.support.limited import maintain
from tests.support.tasks import LONG_RUNNING, WORKER, new_task, new_user

OTHER = "app.tasks.model_tasks.train_classifier"
LINES = [("default", "normal")]
# A copy of the task so often: held, each with an id and a turn of its own.
COPIES = """
INSERT INTO tasks (id, user_id, name, task_type, celery_task_name, args, kwargs, priority, queue, celery_id, due_at,
    turn, "limit", held, created_at)
SELECT uuidv7(), user_id, name, task_type, celery_task_name, args, kwargs, priority, queue, celery_id, due_at,
    number::float / :number, :limit, :held, created_at
FROM tasks, generate_series(1, :number) AS number WHERE id = :id
"""


pytestmark = pytest.mark.usefixtures("fresh_picture")


@pytest.fixture
def real(fresh_database: None) -> Iterator[Session]:
    del fresh_database
    with SessionLocal() as db:
        serve(db, LONG_RUNNING)
        yield db


def serve(db: Session, *names: str) -> None:
    """A live worker that knows these tasks."""
    row = {"name": "w", "pid": 1, "queues": ["default"], "concurrency": 1, "task_names": list(names)}
    db.add(WorkerProcess(id=new_id(), **row))
    db.commit()


def claim_one(*names: str) -> list[Any]:
    with prepared_sql.prepared_connection() as connection:
        return [
            row.id for row in Claims(LINES).next(connection, pending_rows.TaskNames(list(names), []), new_id(), WORKER)
        ]


def pages_of_a_claim(db: Session) -> int:
    """How many pages one claim reads to find its rows; nothing is claimed.

    Not those of the UPDATE: all indexes of a larger table are higher, whatever its rows are.
    """
    prepared = Prepared(statements.claim_statement(10))
    queues, priorities = zip(*LINES, strict=True)
    values = {
        "p_queues": list(queues), "p_priorities": list(priorities), "p_floors": [float("-inf")], "p_floor_ids": [UUID(int=0)],
        "p_names": [LONG_RUNNING], "p_short": [], "p_claim_id": new_id(), "p_worker": WORKER.name,
        "p_worker_id": WORKER.id, "p_worker_pid": WORKER.pid,
    }  # fmt: skip
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {prepared.inline}"
    plan = db.connection().exec_driver_sql(explain, prepared.named(prepared.values(values))).scalar_one()
    db.rollback()
    (found,) = [node for node in plan[0]["Plan"]["Plans"] if node.get("Subplan Name") == "CTE found"]
    return int(found["Shared Hit Blocks"] + found["Shared Read Blocks"])


@pytest.mark.postgresql("counts the pages that its plan reads")
class TestHeldRows:
    @pytest.mark.parametrize("number", [50_000, pytest.param(1_000_000, marks=pytest.mark.full)])
    def test_beside_a_ready_one_cost_a_claim_nothing(self, real: Session, number: int) -> None:
        task_service.put_limit(real, "x", concurrency=1)
        task = new_task(real)
        real.execute(text("ANALYZE tasks"))
        pages_of_a_claim(real)
        before = pages_of_a_claim(real)
        for held, limit in (("limit", "x"), ("limit_key", "x"), ("name", None), ("user", None)):
            values = {"number": number // 4, "limit": limit, "held": held, "id": task.id}
            real.execute(text(COPIES), values)
        real.commit()
        real.execute(text("ANALYZE tasks"))
        real.commit()
        pages_of_a_claim(real)
        assert pages_of_a_claim(real) <= before + 1  # of 4, and the same for a million
        assert claim_one(LONG_RUNNING) == [task.id]


class TestATaskThatNoLiveWorkerKnows:
    def test_goes_out_of_the_way_and_comes_back_with_a_worker_that_knows_it(self, real: Session) -> None:
        user = new_user(real)
        unknown = new_task(real, user, celery_task_name=OTHER, args=[])
        row = dict(real.execute(select(Task.__table__).where(Task.id == unknown.id)).mappings().one())
        real.execute(insert(Task), [row | {"id": new_id(), "turn": number / 1200} for number in range(1200)])
        real.commit()
        known = new_task(real, user)
        maintain(real)
        kinds = (Task.celery_task_name, Task.held)
        held = {tuple(row) for row in real.execute(select(*kinds, func.count()).group_by(*kinds))}
        assert held == {(LONG_RUNNING, None, 1), (OTHER, "name", 1201)}
        assert claim_one(LONG_RUNNING) == [known.id]
        maintain(real)
        assert claim_one(LONG_RUNNING, OTHER) == []
        serve(real, OTHER)
        maintain(real)
        assert len(claim_one(LONG_RUNNING, OTHER)) == 1
        assert real.execute(text("SELECT count(*) FROM tasks WHERE held IS NOT NULL")).scalar_one() == 0

    def test_stays_in_a_queue_without_workers_and_with_those_that_do_not_say(self, real: Session) -> None:
        user = new_user(real)
        new_task(real, user, priority="high")  # which nobody serves
        new_task(real, user, celery_task_name=OTHER, args=[])
        row = {"name": "old", "pid": 1, "queues": ["default"], "concurrency": 1, "task_names": None}
        real.add(WorkerProcess(id=new_id(), **row))
        real.commit()
        maintain(real)
        assert real.execute(text("SELECT count(*) FROM tasks WHERE held IS NOT NULL")).scalar_one() == 0

    def test_with_a_limit_takes_no_place(self, real: Session) -> None:
        task_service.put_limit(real, "x", concurrency=1)
        user = new_user(real)
        unknown = new_task(real, user, celery_task_name=OTHER, args=[], limit="x")
        known = new_task(real, user, limit="x")
        maintain(real)
        assert task_service.get_task(real, unknown.id).held == "name"
        assert claim_one(LONG_RUNNING, OTHER) == [known.id]
        serve(real, OTHER)
        maintain(real)
        assert task_service.get_task(real, unknown.id).held == "limit"
