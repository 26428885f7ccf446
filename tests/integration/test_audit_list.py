"""GET /api/v1/audit: who may, which records, in what order, by which plan."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import insert, text

from app.db.session import SessionLocal, engine
from app.models.audit import AuditEvent, AuditRecord
from app.services.audit import RECORDS, AuditFilter, audit_service
from tests.support.accounts import pages
from tests.support.databases import DIALECT
from tests.support.plans import plan_of
from tests.support.statements import before_each_statement
from tests.support.task_client import TaskClient, module_client

client = module_client()
AUDIT = "/api/v1/audit"
# SQLite does without.
ANALYZE = {"postgresql": "VACUUM ANALYZE audit_events", "mysql": "ANALYZE TABLE audit_events", "sqlite": "SELECT 1"}


@pytest.fixture
def make_user(register_user: Any) -> Any:
    return register_user


def audit(who: TaskClient, **params: Any) -> list[dict[str, Any]]:
    answer = who.http.get(AUDIT, params=params, headers=who.headers)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


def cancelled(tasks: TaskClient, number: int) -> list[str]:
    found = [tasks.create()["id"] for _ in range(number)]
    for task_id in found:
        tasks.post(f"{task_id}/cancel")
    return found


class TestAccess:
    def test_both_forms_answer_and_are_not_stored(self, client: httpx.Client, admin: TaskClient) -> None:
        for path in (AUDIT, f"{AUDIT}/"):
            answer = client.get(path, headers=admin.headers, follow_redirects=False)
            assert (path, answer.status_code, answer.headers["cache-control"]) == (path, 200, "no-store")

    def test_nothing_but_reading_is_offered(self, client: httpx.Client, admin: TaskClient) -> None:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = client.request(method, AUDIT, headers=admin.headers)
            assert (method, answer.status_code, answer.headers["allow"]) == (method, 405, "GET")

    def test_shows_the_record(self, admin: TaskClient, tasks: TaskClient) -> None:
        (task_id,) = cancelled(tasks, 1)
        (record,) = audit(admin, object_id=task_id)
        at = datetime.fromisoformat(record.pop("at"))
        assert abs((datetime.now(UTC) - at).total_seconds()) < 60
        assert UUID(record.pop("id")).version == 7
        assert len(record.pop("request_id")) == 32
        assert record == {
            "event": "task.cancelled",
            "origin": "http",
            "actor_id": tasks.user["id"],
            "actor_name": tasks.user["username"],
            "object_kind": "task",
            "object_id": task_id,
            "address": "testclient",
            "detail": {
                "owner": tasks.user["id"],
                "celery_task_name": "app.tasks.common_tasks.long_running_task",
                "was": "pending",
            },
        }


class TestPages:
    def test_walk_all_of_it_newest_first_and_each_once(self, admin: TaskClient, tasks: TaskClient) -> None:
        made = cancelled(tasks, 7)
        params: dict[str, Any] = {"actor_id": tasks.user["id"], "event": "task.cancelled", "limit": 3}
        seen = []
        for page in pages(admin.http, AUDIT, admin.token, **params):
            seen += [record["object_id"] for record in page.json()]
            cancelled(tasks, 1)  # what comes meanwhile stands before the first page
        assert seen == made[::-1]

    def test_equal_times_are_told_apart_by_their_ids(self, admin: TaskClient) -> None:
        actor = uuid4()
        at = datetime(2026, 1, 1, tzinfo=UTC)
        row = {"at": at, "event": "logout", "origin": "http", "actor_id": actor, "object_kind": "user"}
        with SessionLocal.begin() as db:
            db.execute(insert(AuditRecord.__table__), [{**row, "object_id": str(n)} for n in range(7)])
        walked = pages(admin.http, AUDIT, admin.token, actor_id=str(actor), limit=2)
        seen = [record["id"] for page in walked for record in page.json()]
        assert len(seen) == 7
        assert seen == sorted(seen, reverse=True)

    def test_a_malformed_cursor_is_422(self, admin: TaskClient) -> None:
        cursors = [
            "x", "", "0" * 47, "0" * 49, "f" * 48, "-" + "0" * 47, "0x" + "0" * 46, "٠" * 48, "F" * 48, "\u00a0" * 48, f"{'9' * 19}.{'0' * 32}", f"-1.{'0' * 32}"
        ]  # fmt: skip
        for cursor in cursors:
            answer = admin.http.get(AUDIT, params={"cursor": cursor}, headers=admin.headers)
            assert (cursor, answer.status_code, answer.json()["code"]) == (cursor, 422, "invalid_cursor")
            assert answer.json()["errors"][0]["loc"] == ["query", "cursor"], cursor


class TestFilters:
    def test_by_event_actor_object_and_time(self, admin: TaskClient, tasks: TaskClient) -> None:
        first, second = cancelled(tasks, 2)
        mine = {"actor_id": tasks.user["id"]}
        assert {record["event"] for record in audit(admin, **mine)} == {
            "user.registered",
            "login.succeeded",
            "task.cancelled",
        }
        wanted = audit(admin, **mine, event=["login.succeeded", "user.registered"])
        assert [record["event"] for record in wanted] == ["login.succeeded", "user.registered"]
        assert [record["object_id"] for record in audit(admin, object_id=first)] == [first]
        between = audit(admin, object_id=second)[0]["at"]
        assert [
            record["object_id"] for record in audit(admin, **mine, created_before=between, event="task.cancelled")
        ] == [first]
        assert audit(admin, **mine, created_after=between) == []
        assert audit(admin, actor_id=str(uuid4())) == []

    def test_what_is_none_is_422(self, admin: TaskClient) -> None:
        refused: list[tuple[dict[str, Any], list[Any]]] = [
            ({"event": "no.such"}, ["query", "event", 0]),
            ({"actor_id": "x"}, ["query", "actor_id"]),
            ({"object_id": "x" * 129}, ["query", "object_id"]),
            ({"created_after": "yesterday"}, ["query", "created_after"]),
            ({"created_after": "2026-11-24T12:00:00"}, ["query", "created_after"]),
            ({"limit": 201}, ["query", "limit"]),
        ]
        for params, where in refused:
            answer = admin.http.get(AUDIT, params=params, headers=admin.headers)
            assert (params, answer.status_code) == (params, 422)
            assert answer.json()["errors"][0]["loc"] == where, params


@pytest.fixture(scope="module")
def many(client: httpx.Client) -> None:
    del client  # its database
    now = datetime.now(UTC)
    rows = [
        {
            "at": now - timedelta(minutes=n),
            "event": "user.deleted" if n % 1000 == 0 else "login.succeeded",
            "origin": "http",
            "actor_id": UUID(int=n % 500),
            "object_kind": "user",
            "object_id": str(n % 500),
        }
        for n in range(1, 50_001)
    ]
    with SessionLocal.begin() as db:
        db.execute(insert(AuditRecord.__table__), rows)
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(ANALYZE[DIALECT]))


@pytest.mark.usefixtures("many")
class TestPlans:
    """Fifty thousand records: each filter goes by its index, and no page sorts."""

    @pytest.mark.parametrize("paged", [False, True])
    def test_each_filter_has_its_index(self, paged: bool) -> None:
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        filters = [
            (AuditFilter(), "ix_audit_events_at"),
            (AuditFilter(event=[AuditEvent.USER_DELETED]), "ix_audit_events_event"),
            (AuditFilter(actor_id=UUID(int=7)), "ix_audit_events_actor"),
            (AuditFilter(object_id="7"), "ix_audit_events_object"),
            (AuditFilter(created_before=moment), "ix_audit_events_at"),
            (AuditFilter(created_after=moment), "ix_audit_events_at"),
        ]
        for wanted, index in filters:
            sent: list[tuple[str, Any]] = []
            with before_each_statement(lambda *each, sent=sent: sent.append(each)), SessionLocal() as db:
                cursor = RECORDS.cursor_of({"at": datetime.now(UTC), "id": uuid4()}) if paged else None
                audit_service.list_page(db, wanted, 50, cursor)
            ((statement, parameters),) = sent
            with engine().connect() as connection:
                plan = plan_of(connection, statement, parameters)
            assert (wanted, plan.indexes) == (wanted, {index}), plan.text
            assert not plan.scans, plan.text
            assert not plan.sorts, plan.text
