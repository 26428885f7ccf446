"""GET /errors/ and below: groups with their tasks, what users say of them, and who may see them."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.db.session import SessionLocal
from app.services.execution.attempts import AttemptError
from app.services.tasks import task_counts, task_queries
from tests.support.accounts import API, pages
from tests.support.error_groups import NOWHERE, failed
from tests.support.settings import sql
from tests.support.task_client import TaskClient, module_client

client = module_client()


class TestOverHttp:
    @pytest.fixture
    def ask(self, client: httpx.Client) -> Callable[..., httpx.Response]:
        def ask(who: TaskClient, method: str = "GET", path: str = "", **options: Any) -> httpx.Response:
            with SessionLocal() as db:
                task_counts.fold(db)
            return client.request(method, f"{API}/errors/{path}", headers=who.headers, **options)

        return ask

    def test_a_group_is_shown_with_its_tasks(self, tasks: TaskClient, ask: Callable[..., httpx.Response]) -> None:
        ids = [tasks.task_in("failed") for _ in range(7)]
        task = tasks.get(ids[0]).json()
        (group,) = ask(tasks).json()
        fingerprint = group["fingerprint"]
        assert (task["error_fingerprint"], task["error"]) == (fingerprint, {"type": "ValueError", "message": "no"})
        assert group == {
            "fingerprint": fingerprint,
            "user_id": tasks.user["id"],
            "celery_task_name": task["celery_task_name"],
            "error_type": "ValueError",
            "message": "no",
            "count": 7,
            "first_seen": task["finished_at"],
            "last_seen": tasks.get(ids[-1]).json()["finished_at"],
            "state": "open",
            "ignored_until": None,
            "sample_task_ids": ids[:1:-1],
            "last_24h": group["last_24h"],
        }
        assert sum(group["last_24h"]) == 7
        assert ask(tasks, path=fingerprint).json() == group
        assert [each["id"] for each in tasks.get(error=fingerprint).json()] == ids[::-1]
        assert tasks.get("count", error=fingerprint).json()["failed"] == 7
        tasks.delete(ids[0])
        assert tasks.get(ids[1]).json()["error_fingerprint"] == fingerprint
        assert (ask(tasks, path=fingerprint).json()["count"], len(tasks.get(error=fingerprint).json())) == (6, 6)

    def test_the_filter_goes_with_others_and_pages(self, tasks: TaskClient) -> None:
        for number in range(5):
            tasks.task_in("failed", task_type="even" if number % 2 == 0 else "odd", tags=["x"])
        tasks.task_in("succeeded", task_type="even")
        fingerprint = tasks.get(status="failed").json()[0]["error_fingerprint"]
        found = [page.json() for page in pages(tasks.http, f"{API}/tasks/", tasks.token, error=fingerprint, limit=2)]
        assert [len(page) for page in found] == [2, 2, 1]
        for params, number in (
            ({"task_type": "even"}, 3), ({"tag": "x"}, 5), ({"status": "succeeded"}, 0), ({"created_after": "2000-01-01T00:00:00Z"}, 5),
        ):  # fmt: skip
            found = tasks.get(error=fingerprint, **params).json()
            assert (len(found), tasks.get("count", error=fingerprint, **params).json()["total"]) == (number, number)
        for wrong in ("x", fingerprint.upper() if fingerprint.upper() != fingerprint else "G" * 32, fingerprint[:31]):
            answer = tasks.get(error=wrong)
            assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["query", "error"])
        assert tasks.get(error=NOWHERE).json() == []

    def test_another_users_tasks_are_not_looked_at(
        self, tasks: TaskClient, make_user: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A page that ends after LOOK rows names the last of them, and so tells that there are as many."""
        monkeypatch.setattr(task_queries, "PAGE_LOOK", 2)
        for _ in range(3):
            tasks.task_in("failed")
        fingerprint = tasks.get().json()[0]["error_fingerprint"]
        stranger = TaskClient(tasks.http, *make_user())
        for params in ({}, {"tag": "x"}, {"status": "failed"}, {"task_type": "test"}):
            assert "link" in tasks.get(error=fingerprint, **params, limit=1).headers
            answer = stranger.get(error=fingerprint, **params)
            assert (answer.json(), answer.headers.get("link")) == ([], None)
            assert stranger.get("count", error=fingerprint, **params).json()["total"] == 0

    def test_states_are_set_and_recorded_once(self, tasks: TaskClient, ask: Callable[..., httpx.Response]) -> None:
        tasks.task_in("failed")
        (group,) = ask(tasks).json()
        path = group["fingerprint"]
        until = "2099-01-01T00:00:00Z"
        for deed, body, state, ignored_until in (
            ("resolve", None, "resolved", None),
            ("resolve", None, "resolved", None),
            ("ignore", {"until": until}, "ignored", until),
            ("ignore", None, "ignored", None),
            ("ignore", {}, "ignored", None),
            ("reopen", None, "open", None),
        ):
            options = {} if body is None else {"json": body}
            answer = ask(tasks, "POST", f"{path}/{deed}", **options)
            assert answer.status_code == 200, answer.text
            assert answer.json() == group | {"state": state, "ignored_until": ignored_until}
            assert ask(tasks, path=path).json() == answer.json()
        rows = sql("SELECT event, detail FROM audit_events WHERE object_id = :id ORDER BY id", id=path)
        assert [row.event for row in rows] == ["error.resolved", "error.ignored", "error.ignored", "error.reopened"]
        assert '"until":"2099-01-01T00:00:00+00:00"' in rows[1].detail
        assert all("message" not in row.detail for row in rows)

    @pytest.mark.parametrize(
        ("body", "loc"),
        [
            ({"until": "2000-01-01T00:00:00Z"}, ["body", "until"]),
            ({"until": "2099-01-01T00:00:00"}, ["body", "until"]),
            ({"until": 1}, ["body", "until"]),
            ({"for": "ever"}, ["body", "for"]),
        ],
    )
    def test_bad_input_is_refused(
        self, tasks: TaskClient, ask: Callable[..., httpx.Response], body: dict[str, Any], loc: list[str]
    ) -> None:
        tasks.task_in("failed")
        (group,) = ask(tasks).json()
        answer = ask(tasks, "POST", f"{group['fingerprint']}/ignore", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, loc)
        assert ask(tasks, path=group["fingerprint"]).json() == group

    def test_others_do_not_see_it_and_administrators_do_everything(
        self, tasks: TaskClient, admin: TaskClient, make_user: Any, ask: Callable[..., httpx.Response]
    ) -> None:
        task_id = tasks.task_in("failed")
        (group,) = ask(tasks).json()
        path = group["fingerprint"]
        stranger = TaskClient(tasks.http, *make_user())
        for method, deed in (("GET", ""), ("POST", "/resolve"), ("POST", "/ignore"), ("POST", "/reopen")):
            codes = []
            for name in (path, NOWHERE):
                answer = ask(stranger, method, f"{name}{deed}")
                codes.append((answer.status_code, answer.json()["code"], answer.json()["detail"]))
            assert codes == [(404, "error_group_not_found", codes[0][2])] * 2
            assert ask(admin, method, f"{path}{deed}").status_code == 200
        assert ask(stranger).json() == []
        assert stranger.get(error=path).json() == []
        assert stranger.get("count", error=path).json()["total"] == 0
        assert [each["id"] for each in admin.get(error=path).json()] == [task_id]
        assert admin.get("count", error=path).json()["failed"] == 1
        for params in ({}, {"user_id": "all"}, {"user_id": tasks.user["id"]}):
            assert path in {each["fingerprint"] for each in ask(admin, params={**params, "limit": 200}).json()}
        assert ask(admin, params={"user_id": admin.user["id"]}).json() == []
        for other in ("all", admin.user["id"]):
            assert ask(tasks, params={"user_id": other}).json()["code"] == "admin_only"

    def test_the_list_is_paged_and_filtered(self, tasks: TaskClient, ask: Callable[..., httpx.Response]) -> None:
        with SessionLocal() as db:
            for number in range(5):
                failed(db, UUID(tasks.user["id"]), AttemptError(f"E{number}", "no", "t"))
        groups = ask(tasks).json()
        assert [each["error_type"] for each in groups] == ["E4", "E3", "E2", "E1", "E0"]
        found = [page.json() for page in pages(tasks.http, f"{API}/errors/", tasks.token, limit=2)]
        assert [len(page) for page in found] == [2, 2, 1]
        assert [each for page in found for each in page] == groups
        ask(tasks, "POST", f"{groups[1]['fingerprint']}/resolve")
        for params, expected in (
            ({"state": "resolved"}, ["E3"]),
            ({"state": "open"}, ["E4", "E2", "E1", "E0"]),
            ({"celery_task_name": groups[0]["celery_task_name"], "limit": 1}, ["E4"]),
            ({"celery_task_name": "no.such.task"}, []),
        ):
            assert [each["error_type"] for each in ask(tasks, params=params).json()] == expected
        for params in ({"state": "closed"}, {"cursor": "x"}, {"limit": 0}):
            assert ask(tasks, params=params).status_code == 422
        assert ask(tasks, path="x").status_code == 422
