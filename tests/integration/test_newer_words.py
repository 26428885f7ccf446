"""Words that only the next release knows, in a database that it has migrated: this code shows them and leaves them alone."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.db.session import SessionLocal
from app.db.statements import user_places
from app.models.task import Task, TaskAttempt, TaskStatus
from app.services.execution import ends
from app.services.execution.attempts import NextTry
from app.services.execution.claims import Claims
from app.services.operations import queue_service
from app.services.task_service import task_service
from tests.support.accounts import MakeUser, bearer
from tests.support.next_release import HELD, OUTCOME, REASON, NextRelease
from tests.support.page_reader import signed_in
from tests.support.services import Services
from tests.support.settings import make_app, on_new_database
from tests.support.tasks import ERROR, claim_next, finish, lines_of, new_task

NOW = datetime.now(UTC)
LATER = timedelta(hours=1)

Shown = Callable[[str], str]


@pytest.fixture(scope="module", autouse=True)
def database(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    release = NextRelease(tmp_path_factory.mktemp("next"))
    with on_new_database(services, WEB_UI="true") as name:
        release.migrate({"DATABASE_URL": services.database_url(name)})
        yield


@pytest.fixture
def db() -> Iterator[Session]:
    with SessionLocal() as session:
        yield session


@pytest.fixture(scope="module")
def client(database: None) -> Iterator[TestClient]:
    with TestClient(make_app()) as made:
        yield made


@pytest.fixture
def account(make_user: MakeUser) -> tuple[dict[str, Any], str]:
    return make_user("admin")


@pytest.fixture
def shown(client: TestClient, account: tuple[dict[str, Any], str]) -> Shown:
    """What the account is shown: an answer of the API, or a page."""
    user, token = account
    reader = signed_in(client, user)

    def show(path: str) -> str:
        answer = client.get(path, headers=bearer(token)) if path.startswith("/api/") else reader.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    return show


def held(db: Session, user_id: UUID | None = None, **values: Any) -> UUID:
    """A due task that the next release holds."""
    task = new_task(db, user_id)
    db.execute(update(Task).where(Task.id == task.id).values(held=HELD, **values))
    db.commit()
    return task.id


def hold_of(db: Session, task_id: UUID) -> str | None:
    return db.scalars(select(Task.held).where(Task.id == task_id)).one()


def test_what_holds_a_task_is_shown(shown: Shown, account: tuple[dict[str, Any], str], db: Session) -> None:
    task_id = held(db, UUID(account[0]["id"]))
    waiting_for = json.loads(shown(f"/api/v1/tasks/{task_id}"))["waiting_for"]
    assert waiting_for == {"reason": HELD, "until": None, "key": None, "blocked_by": None}
    (listed,) = json.loads(shown("/api/v1/tasks/?limit=1"))
    assert listed["waiting_for"] == waiting_for
    assert json.loads(shown("/api/v1/tasks/count?by=waiting_for"))["waiting_for"][HELD] >= 1
    for page in ("/tasks", f"/tasks/{task_id}", "/queues", "/queues/default"):
        assert HELD in shown(page) or "queues" in page
    later = held(db, run_at=NOW + LATER, due_at=NOW + LATER)
    assert json.loads(shown(f"/api/v1/tasks/{later}"))["waiting_for"]["reason"] == "schedule"


def test_no_worker_of_this_code_claims_the_task(db: Session) -> None:
    task_id = held(db)
    assert queue_service.get_queue(db, "default").blocked > 0
    taken = Claims(lines_of())
    while found := claim_next(db, claims=taken):
        assert task_id not in {each.id for each in found}
    user_places.hold_due(db, 100)
    db.commit()
    assert hold_of(db, task_id) == HELD


@pytest.mark.parametrize(
    ("field", "value"),
    [("priority", "high"), ("run_at", "later"), ("metadata", {"a": 1})],
    ids=["line", "time", "data"],
)
def test_a_change_leaves_the_hold(db: Session, field: str, value: Any) -> None:
    task_id = held(db)
    task_service.update_task(db, task_id, {field: NOW + LATER if value == "later" else value})
    assert hold_of(db, task_id) == HELD


def test_one_held_until_its_time_can_be_cancelled_and_made_due(db: Session) -> None:
    later = {"run_at": NOW + LATER, "due_at": NOW + LATER}
    task_id = held(db, **later)
    task = task_service.run_now(db, task_id)
    assert (task.held, task.waits) == (HELD, HELD)
    task_service.cancel(db, task_id)
    assert db.scalars(select(Task.status).where(Task.id == task_id)).one() is TaskStatus.REVOKED


def test_how_an_attempt_ended_and_why_a_task_was_revoked_are_shown(shown: Shown, db: Session) -> None:
    task = new_task(db, max_attempts=3)
    for _ in range(2):
        finish(db, task, ends.retried(ERROR, NextTry(0)))
    db.execute(update(TaskAttempt).where(TaskAttempt.task_id == task.id).values(outcome=OUTCOME))
    db.commit()
    assert {each["outcome"] for each in json.loads(shown(f"/api/v1/tasks/{task.id}/attempts"))} == {OUTCOME}
    assert OUTCOME in shown(f"/tasks/{task.id}")
    task_service.cancel(db, task.id)
    db.execute(update(Task).where(Task.id == task.id).values(status_reason=REASON))
    db.commit()
    assert json.loads(shown(f"/api/v1/tasks/{task.id}"))["status_reason"] == REASON
    assert REASON in shown(f"/tasks/{task.id}")


def test_the_process_stays_ready(client: TestClient) -> None:
    assert client.get("/readyz").json()["checks"]["migrations"] == "ok"
