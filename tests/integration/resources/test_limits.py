"""Limits over HTTP and from Python: who sets them, what is refused, what a submit that exceeds one does."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select, text
from starlette.testclient import TestClient

from app.catalogue import catalogue
from app.core.ids import new_id
from app.db.session import SessionLocal
from app.errors import InvalidLimit, InvalidTask, LimitNotFound, LimitReached, LimitUsed, UnknownLimit
from app.models import Task, WorkerProcess
from app.services.task_service import task_service
from tests.support.accounts import bearer
from tests.support.task_client import BODY, TaskClient, module_client
from tests.support.tasks import LONG_RUNNING, claim, flush_admitter, new_task, new_user
from tests.support.throttle import forget_everybody

shared = module_client()
LIMITS = "/api/v1/limits/"

pytestmark = pytest.mark.usefixtures("fresh_picture")


@pytest.fixture
def client(shared: TestClient) -> TestClient:
    forget_everybody(shared, "limit_places", "limits", "worker_processes")
    return shared


@pytest.fixture
def ask(client: TestClient, make_user: Callable[..., Any]) -> Callable[..., httpx.Response]:
    tokens = {role: make_user(role)[1] for role in ("user", "admin")}

    def request(method: str, path: str = "", body: Any = None, role: str = "admin") -> httpx.Response:
        return client.request(method, LIMITS + path, json=body, headers=bearer(tokens[role]))

    return request


def serve() -> None:
    """A worker that knows the task."""
    with SessionLocal.begin() as db:
        row = {"name": "w", "pid": 1, "queues": ["default"], "concurrency": 1, "task_names": [LONG_RUNNING]}
        db.add(WorkerProcess(id=new_id(), **row))


def refused_in_python(name: str, **bounds: Any) -> bool:
    with SessionLocal() as db:
        try:
            task_service.put_limit(db, name, **bounds)
        except InvalidLimit:
            return True
    return False


class TestALimit:
    def test_is_set_read_replaced_and_deleted(self, ask: Callable[..., httpx.Response]) -> None:
        bounds = {"concurrency": 3, "rate": {"count": 10, "period_seconds": 60}}
        made = ask("PUT", "a.b-c_d", bounds)
        assert made.status_code == 200, made.text
        whole = {
            "name": "a.b-c_d", "concurrency": 3, "concurrency_per_key": None, "rate_per_key": None,
            "rate": {"count": 10, "period_seconds": 60.0}, "on_excess": "wait", "running": 0,
        }  # fmt: skip
        assert made.json() == whole | {name: made.json()[name] for name in ("created_at", "updated_at")}
        assert ask("GET", "a.b-c_d").json() == made.json()
        assert ask("GET", role="user").json() == [made.json()]
        replaced = ask("PUT", "a.b-c_d", {"concurrency_per_key": 1, "on_excess": "reject"}).json()
        assert (replaced["concurrency"], replaced["rate"], replaced["concurrency_per_key"]) == (None, None, 1)
        assert replaced["created_at"] == made.json()["created_at"] < replaced["updated_at"]
        assert ask("DELETE", "a.b-c_d").status_code == 204
        assert ask("GET", "a.b-c_d").json()["code"] == "limit_not_found"
        assert ask("DELETE", "a.b-c_d").status_code == 404
        with SessionLocal() as db:
            rows = db.execute(text("SELECT event FROM audit_events WHERE object_id = 'a.b-c_d' ORDER BY id"))
            assert [event for (event,) in rows] == ["limit.set", "limit.set", "limit.deleted"]

    def test_is_for_administrators(self, ask: Callable[..., httpx.Response]) -> None:
        answers = {
            each: ask(each, "x", {"concurrency": 1}, role="user").status_code for each in ("GET", "PUT", "DELETE")
        }
        assert answers == {"GET": 403, "PUT": 403, "DELETE": 403}

    def test_without_a_bound_or_with_an_impossible_one_is_refused(self, ask: Callable[..., httpx.Response]) -> None:
        refused: list[dict[str, Any]] = [
            {},
            {"on_excess": "reject"},
            {"concurrency": 0},
            {"concurrency": 10_001},
            {"concurrency": 1.5},
            {"concurrency": True},
            {"concurrency": "1"},
            {"rate": {"count": 1}},
            {"rate": {"count": 0, "period_seconds": 1}},
            {"rate": {"count": 1, "period_seconds": 0}},
            {"rate": {"count": 1, "period_seconds": 1e300}},
            {"concurrency": 1, "on_excess": "explode"},
            {"concurrency": 1, "more": 1},
        ]
        assert [bounds for bounds in refused if ask("PUT", "x", bounds).status_code != 422] == []
        assert [bounds for bounds in refused if not refused_in_python("x", **bounds)] == []
        assert not refused_in_python("x", concurrency=10_000)

    def test_has_a_name_that_stands_in_a_path_and_before_a_colon(self, ask: Callable[..., httpx.Response]) -> None:
        names = ["a:b", "ä", ".a", "a" * 101, "a b"]
        assert [name for name in names if ask("PUT", name, {"concurrency": 1}).status_code != 422] == []
        assert [name for name in names if not refused_in_python(name, concurrency=1)] == []
        assert ask("PUT", "a" * 100, {"concurrency": 1}).status_code == 200

    def test_that_a_task_names_which_goes_on_is_not_deleted(self, ask: Callable[..., httpx.Response]) -> None:
        with SessionLocal() as db:
            task_service.put_limit(db, "x", concurrency=1)
            task = new_task(db, limit="x")
            flush_admitter()
            assert ask("DELETE", "x").json()["code"] == "limit_used"
            claim(db, task)
            assert ask("DELETE", "x").status_code == 409
            assert ask("GET", "x").json()["running"] == 1
            task_service.update_task_status(db, task.id, "succeeded")
            with pytest.raises(LimitUsed):  # its body runs on
                task_service.delete_limit(db, "x")
            db.execute(text("DELETE FROM limit_places"))
            db.commit()
            task_service.delete_limit(db, "x")
            with pytest.raises(LimitNotFound):
                task_service.get_limit(db, "x")
            assert task_service.list_limits(db) == []
            task_service.cancel(db, new_task(db).id)

    def test_that_is_gone_is_no_limit_to_run_again_under(self, ask: Callable[..., httpx.Response]) -> None:
        with SessionLocal() as db:
            task_service.put_limit(db, "x", concurrency=1)
            task = new_task(db, limit="x")
            task_service.cancel(db, task.id)
            assert ask("DELETE", "x").status_code == 204
            with pytest.raises(UnknownLimit):
                task_service.retry_task(db, task.id)
            assert task_service.get_task(db, task.id).status == "revoked"


class TestATask:
    def test_shows_what_it_waits_for(self, tasks: TaskClient) -> None:
        serve()
        with SessionLocal() as db:
            task_service.put_limit(db, "x", concurrency=2, concurrency_per_key=1)
        made = [tasks.create(limit="x", limit_key=key) for key in ("a", "a", "b", "c")]
        assert [(task["limit"], task["limit_key"]) for task in made] == [("x", "a"), ("x", "a"), ("x", "b"), ("x", "c")]
        flush_admitter()
        nobody = {"until": None, "blocked_by": None}
        waits = [tasks.get(task["id"]).json()["waiting_for"] for task in made]
        turn = {"reason": "turn", "key": None, **nobody}
        key, total = ({"reason": "limit", "key": key, **nobody} for key in ("x:a", "x"))
        assert waits == [turn, key, turn, total]
        found = {task["id"] for task in tasks.get(waiting_for="limit").json()}
        assert found == {made[1]["id"], made[3]["id"]}
        assert tasks.get("count", by="waiting_for").json()["waiting_for"] == {"limit": 2, "turn": 2}
        assert tasks.get(made[0]["id"]).json()["version"] == 1

    def test_that_names_an_unknown_limit_or_a_key_alone_is_refused(self, tasks: TaskClient) -> None:
        unknown = tasks.post(body=BODY | {"limit": "nowhere"})
        assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_limit")
        alone = tasks.post(body=BODY | {"limit_key": "k"})
        assert (alone.status_code, alone.json()["errors"][0]["loc"][-1]) == (422, "limit_key")
        assert tasks.post(body=BODY | {"limit": "a:b"}).status_code == 422
        refused = tasks.post("batch", {"tasks": [BODY, BODY | {"limit": "nowhere"}]}).json()
        assert (refused["errors"][0]["loc"], refused["detail"][:34]) == (
            ["body", "tasks", 1, "limit"],
            "tasks[1]: There is no limit nowher",
        )
        refused = tasks.post("batch", {"tasks": [BODY, BODY | {"kwargs": {"x": 1}, "args": []}]}).json()
        assert "tasks.1.kwargs.duration: is required" in refused["detail"]
        assert tasks.get("count").json()["total"] == 0
        with SessionLocal() as db:
            user = UUID(tasks.user["id"])
            with pytest.raises(UnknownLimit):
                new_task(db, user, limit="nowhere")
            with pytest.raises(InvalidTask):
                new_task(db, user, limit_key="k")

    def test_a_key_that_may_not_list_limits_is_not_told_the_nearest(
        self, client: TestClient, tasks: TaskClient
    ) -> None:
        with SessionLocal() as db:
            task_service.put_limit(db, "mailserver", concurrency=1)
        callers, told = {"login": tasks.headers}, {}
        for name, scopes in (("writer", ["tasks:write"]), ("reader", ["tasks:read", "tasks:write"])):
            made = client.post("/api/v1/auth/api-keys", headers=tasks.headers, json={"name": name, "scopes": scopes})
            callers[name] = bearer(made.json()["key"])
        for name, key in callers.items():
            answers = [
                client.post("/api/v1/tasks/", headers=key, json=BODY | {"limit": "mailservr"}),
                client.post("/api/v1/tasks/batch", headers=key, json={"tasks": [BODY | {"limit": "mailservr"}]}),
            ]
            assert [answer.json()["code"] for answer in answers] == ["unknown_limit"] * 2
            assert all("mailservr" in answer.json()["detail"] for answer in answers)
            told[name] = ["mailserver" in answer.text for answer in answers]
            assert all("PUT /api/v1/limits/{name}" in answer.json()["detail"] for answer in answers)
        assert told == {"writer": [False, False], "reader": [True, True], "login": [True, True]}

    def test_takes_the_limit_of_its_decorator(self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        kind = catalogue()[LONG_RUNNING]
        for name, value in (("limit", "own"), ("limit_key", "k")):
            monkeypatch.setitem(kind.__dict__, name, value)
        assert tasks.post(body=BODY).json()["code"] == "unknown_limit"
        with SessionLocal() as db:
            for name in ("own", "other"):
                task_service.put_limit(db, name, concurrency=1)
        made = [tasks.create(**fields) for fields in ({}, {"limit_key": "l"}, {"limit": "other"})]
        assert [(task["limit"], task["limit_key"]) for task in made] == [("own", "k"), ("own", "l"), ("other", None)]

    def test_in_a_batch_or_with_a_key_is_held_as_well(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            task_service.put_limit(db, "x", concurrency=1)
        batch = [BODY, BODY | {"limit": "x"}, BODY | {"limit": "x", "unique_key": "k"}]
        tasks.post("batch", {"tasks": batch[:2]})
        tasks.post("batch", {"tasks": batch})
        tasks.post(body=batch[1], headers={"Idempotency-Key": "i"})
        tasks.post(body=batch[2] | {"on_conflict": "replace"})
        flush_admitter()
        with SessionLocal() as db:
            rows = db.execute(select(Task.limit, Task.held, func.count()).group_by(Task.limit, Task.held)).all()
        assert {tuple(row) for row in rows} == {("x", "limit", 3), ("x", None, 1), (None, None, 2)}

    def test_that_is_replaced_takes_the_new_limit(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            for name in ("x", "y"):
                task_service.put_limit(db, name, concurrency=1)
        fields = {"unique_key": "k", "on_conflict": "replace"}
        first = tasks.create(limit="x", **fields)
        for limit, key in (("y", None), ("y", "a"), (None, None), ("x", None)):
            answer = tasks.post(body=BODY | fields | {"limit": limit, "limit_key": key})
            assert answer.status_code == 200, answer.text
            flush_admitter()
            with SessionLocal() as db:
                task = task_service.get_task(db, UUID(first["id"]))
                assert (task.limit, task.limit_key, task.held) == (limit, key, None)
        assert tasks.post(body=BODY | fields | {"limit": "z"}).json()["code"] == "unknown_limit"
        with SessionLocal() as db:
            claim(db, task_service.get_task(db, UUID(first["id"])))


class TestOnExcess:
    def test_reject_counts_what_runs_and_the_callers_own(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            task_service.put_limit(db, "x", concurrency=2, on_excess="reject")
            stranger = new_user(db)
            for _ in range(2):  # one waits, which counts for the stranger alone
                other = new_task(db, stranger, limit="x")
            flush_admitter()
            claim(db, other)
            with pytest.raises(LimitReached):
                new_task(db, stranger, limit="x")
        tasks.create(limit="x")
        refused = tasks.post(body=BODY | {"limit": "x"})
        assert (refused.status_code, refused.json()["code"]) == (409, "limit_reached")
        tasks.create()

    def test_reject_counts_the_tasks_of_the_same_request(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            task_service.put_limit(db, "x", concurrency=2, on_excess="reject")
        limited = BODY | {"limit": "x"}
        assert tasks.post("batch", {"tasks": [limited] * 3}).json()["code"] == "limit_reached"
        assert tasks.post("batch", {"tasks": [limited] * 2}).status_code == 201
        assert tasks.get("count").json()["total"] == 2

    def test_reject_repeats_the_answer_of_an_idempotency_key(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            task_service.put_limit(db, "x", concurrency=1, on_excess="reject")
        answers = [tasks.post(body=BODY | {"limit": "x"}, headers={"Idempotency-Key": "k"}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 201]
        assert answers[0].json()["id"] == answers[1].json()["id"]

    def test_reject_of_a_key_and_of_a_rate(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            task_service.put_limit(db, "x", concurrency_per_key=1, on_excess="reject")
            task_service.put_limit(db, "y", rate={"count": 1, "period_seconds": 60}, on_excess="reject")
            task_service.put_limit(db, "z", rate_per_key={"count": 1, "period_seconds": 60}, on_excess="reject")
        for key, status in (("a", 201), ("b", 201), ("a", 409), (None, 201), (None, 201)):
            assert tasks.post(body=BODY | {"limit": "x", "limit_key": key}).status_code == status
        tasks.create(limit="y")
        flush_admitter()
        assert tasks.post(body=BODY | {"limit": "y"}).json()["code"] == "limit_reached"
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        assert tasks.post(body=BODY | {"limit": "y", "run_at": later}).status_code == 201
        for key, status in (("a", 201), ("b", 201), ("a", 409)):
            assert tasks.post(body=BODY | {"limit": "z", "limit_key": key}).status_code == status
            flush_admitter()

    def test_cancel_oldest_cancels_the_callers_own_alone(self, tasks: TaskClient, admin: TaskClient) -> None:
        with SessionLocal() as db:
            task_service.put_limit(db, "x", concurrency=1, on_excess="cancel_oldest")
        others = admin.create(limit="x")
        first, second, third = (tasks.create(limit="x") for _ in range(3))
        status = [tasks.get(task["id"]).json()["status"] for task in (first, second, third)]
        assert status == ["revoked", "revoked", "pending"]
        assert admin.get(others["id"]).json()["status"] == "pending"

    def test_cancel_oldest_waits_where_nothing_waits_that_it_could_cancel(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            task_service.put_limit(db, "x", concurrency=1, on_excess="cancel_oldest")
            running = tasks.create(limit="x")
            flush_admitter()
            claim(db, task_service.get_task(db, UUID(running["id"])))
        waiting = tasks.create(limit="x")
        assert [tasks.get(task["id"]).json()["status"] for task in (running, waiting)] == ["running", "pending"]
