"""What operators ask for: queues, workers, limits, numbers, failures; the start of the API, and commands."""

from typing import Any

from starlette.testclient import TestClient

from app.core.config import get_settings
from app.db.postgresql import roles
from app.db.session import SessionLocal, engine
from app.main import create_app
from app.models.task import TaskStatus
from app.services.accounts import second_factor_queries
from app.services.accounts.second_factor import encrypt_secret
from app.services.accounts.totp_service import totp_service
from app.services.task_service import task_service
from app.services.tasks import task_counts
from tests.support.accounts import PASSWORD
from tests.support.golden_scenarios.stage import Stage, serve
from tests.support.task_client import TaskClient
from tests.support.tasks import WORKER, new_user, task_in

FIRST_ADMIN = {"FIRST_ADMIN_USERNAME": "first", "FIRST_ADMIN_PASSWORD": PASSWORD}
KEYS = {"SECRET_KEY_PREVIOUS": "a previous key of this service, long enough for each check of it"}


def start(_stage: Stage) -> None:
    """The API starts, and answers its probes."""
    with SessionLocal() as db:
        user = new_user(db)
        secret = encrypt_secret(get_settings().accepted_keys[1:], user, "A" * 32)
        second_factor_queries.set_pending(db, user, secret)
        db.commit()
    with TestClient(create_app()) as client:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert client.get(path).status_code == 200
    with SessionLocal() as db:
        assert totp_service.renew_encryption(db) == 0


def grants(_stage: Stage) -> None:
    """What the command `grant` sends."""
    with engine().connect() as connection, connection.begin() as transaction:
        connection.exec_driver_sql("CREATE ROLE golden")
        roles.grant_to_service(connection, "golden")
        transaction.rollback()


def queues_and_workers(stage: Stage) -> None:
    """Pause, resume and list queues; list and drain workers."""
    mine, boss = stage.user(), stage.user("admin")
    with SessionLocal() as db:
        serve(db)
        for status in TaskStatus:
            task_in(db, status, mine.user["id"])
    for reason in ("a reason", "another"):
        stage.call(boss, "POST", "/queues/default/pause", json={"reason": reason})
    for who in (mine, boss):
        stage.call(who, "GET", "/queues/")
    for _ in range(2):
        stage.call(boss, "POST", "/queues/default/resume")
    stage.call(boss, "POST", "/queues/nowhere/resume", 404)
    stage.call(boss, "GET", "/workers/")
    stage.call(boss, "GET", f"/workers/{WORKER.name}")
    stage.call(boss, "GET", "/workers/none", 404)
    for _ in range(2):
        stage.call(boss, "POST", f"/workers/{WORKER.name}/drain")


def limits(stage: Stage) -> None:
    """Through the API."""
    mine, boss = stage.user(), stage.user("admin")
    for body in ({"concurrency": 1}, {"rate": {"count": 1, "period_seconds": 60}, "on_excess": "reject"}):
        stage.call(boss, "PUT", "/limits/one", json=body)
    stage.call(mine, "GET", "/limits/")
    stage.call(boss, "GET", "/limits/one")
    held = mine.create(limit="one")["id"]
    stage.call(boss, "DELETE", "/limits/one", 409)
    stage.call(mine, "DELETE", f"/tasks/{held}?force=true", 204)
    stage.call(boss, "DELETE", "/limits/one", 204)
    stage.call(boss, "DELETE", "/limits/one", 404)


def stats(stage: Stage) -> None:
    """Of a user and of all, by each window and key."""
    mine, boss = _with_ended_tasks(stage)
    for window in ("1h", "24h", "7d"):
        for by in ("type", "queue", "priority"):
            stage.call(mine, "GET", "/stats", params={"window": window, "by": by})
    stage.call(boss, "GET", "/stats")


def errors(stage: Stage) -> None:
    """Groups of failures: lists, one group, and what a user says of it."""
    mine, boss = _with_ended_tasks(stage)
    queries: list[dict[str, Any]] = [{}, *({"state": state} for state in ("open", "resolved", "ignored"))]
    for query in (*queries, {"celery_task_name": "x"}):
        for who in (mine, boss):
            stage.call(who, "GET", "/errors/", params=query)
    page = stage.call(mine, "GET", "/errors/?limit=1")
    stage.client.get(page.links["next"]["url"], headers=mine.headers).raise_for_status()
    path = f"/errors/{page.json()[0]['fingerprint']}"
    for who in (mine, boss):
        stage.call(who, "GET", path)
    stage.call(mine, "POST", f"{path}/resolve")
    stage.call(mine, "POST", f"{path}/ignore", json={"until": "2999-01-01T00:00:00Z"})
    stage.call(mine, "POST", f"{path}/reopen")
    stage.call(mine, "GET", f"/errors/{'0' * 32}", 404)


def _with_ended_tasks(stage: Stage) -> tuple[TaskClient, TaskClient]:
    mine, boss = stage.user(), stage.user("admin")
    with SessionLocal() as db:
        for status in TaskStatus:
            task_in(db, status, mine.user["id"])
        running = task_in(db, TaskStatus.RUNNING, mine.user["id"])
        task_service.update_task_status(db, running.id, "failed", error="another reason")
        task_counts.fold(db)
    return mine, boss
