"""Counts and pages that are read together, past FastAPI: each caller gets what FastAPI's endpoint would answer."""

from functools import partial
from operator import methodcaller
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from app.api.endpoints.tasks import TASKS
from app.core.security import read_access_token
from app.errors import InvalidToken
from app.models.task import TaskStatus
from app.services.batched.task_reads import NewestTasks, TaskLists
from app.services.tasks import task_counts, task_queries
from tests.support.accounts import API, MakeUser, bearer
from tests.support.groups import together
from tests.support.task_client import TaskClient, module_client

client = module_client()
LISTS = partial(TaskLists, render=TASKS.render)
SKIP, OWN = {"skip": 0}, "user_id"  # say nothing new, and are read by FastAPI alone


@pytest.fixture
def many(tasks: TaskClient) -> TaskClient:
    """A user with tasks of each state, with secrets, texts that need escapes, and times."""
    for status in TaskStatus:
        tasks.task_in(status)
    fields: dict[str, Any] = {
        "kwargs": {"steps": 3, "password": "hunter2"}, "metadata": {"token": "x", "n": [1e22, None]},
        "tags": ["a b", "数据"], "run_at": "2090-01-01T08:00:00.123456+08:00", "timeout_seconds": 1.5,
    }  # fmt: skip
    tasks.create(**fields)
    return tasks


def seen(answer: httpx.Response) -> tuple[int, bytes, dict[str, str]]:
    headers = {name: value for name, value in answer.headers.items() if name not in {"x-request-id", "date"}}
    return answer.status_code, answer.content, headers


class TestTheAnswer:
    @pytest.mark.parametrize("query", [{}, {"limit": 3}, {"limit": 200}, {"status": "pending"}, {"status": "running"}])
    def test_of_a_page_is_that_of_fastapi(self, many: TaskClient, query: dict[str, Any]) -> None:
        assert seen(many.get(**query)) == seen(many.get(**query, **SKIP))

    def test_of_the_pages_that_follow_is_that_of_fastapi(self, many: TaskClient) -> None:
        page, number = many.get(limit=2), 0
        while "next" in page.links:
            url = page.links["next"]["url"]
            page = many.http.get(url, headers=many.headers)
            assert seen(page) == seen(many.http.get(f"{url}&skip=0", headers=many.headers))
            number += len(page.json())
        assert number == len(many.get().json()) - 2

    @pytest.mark.parametrize("status", [[], ["pending"], ["failed", "revoked"], ["failed", "failed"]])
    def test_of_a_count_is_that_of_fastapi(self, many: TaskClient, status: list[str]) -> None:
        query = {"status": status} if status else {}
        counted, known = many.get("count", **query), many.get("count", **query, **{OWN: many.user["id"]})
        assert seen(counted) == seen(known)
        assert counted.json()["total"] > 0

    def test_to_a_malformed_query_is_that_of_fastapi(self, tasks: TaskClient) -> None:
        for query in (
            "limit=0",
            "limit=201",
            "limit=1&limit=x",
            "status=odd",
            "cursor=x",
            "limit=",
            "status=%70ending",
        ):
            answer, more = tasks.get(f"?{query}"), tasks.get(f"?{query}&skip=0")
            assert answer.status_code == more.status_code, query

    def test_holds_large_tasks_and_ends_as_any_page(self, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        for _ in range(3):
            tasks.create(kwargs={"steps": 1, "text": "x" * 2 * task_queries.MAX_GROUPED_PAGE_BYTES})
        assert seen(tasks.get()) == seen(tasks.get(**SKIP))
        monkeypatch.setattr(task_queries, "MAX_PAGE_BYTES", 3 * task_queries.MAX_GROUPED_PAGE_BYTES)
        assert len(tasks.get().json()) < 3
        assert seen(tasks.get()) == seen(tasks.get(**SKIP))

    def test_is_cut_where_small_tasks_are_too_many(self, many: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(task_queries, "MAX_PAGE_BYTES", 3000)
        assert 0 < len(many.get().json()) < 4
        assert seen(many.get()) == seen(many.get(**SKIP))


class TestTheFastWay:
    """Without it all answers would be FastAPI's, and no test above would fail."""

    @pytest.mark.parametrize(
        ("path", "method", "query"), [("", "list_newest", {"limit": 3}), ("count", "count", {"status": "failed"})]
    )
    def test_is_taken_for_a_plain_query_alone(
        self, many: TaskClient, monkeypatch: pytest.MonkeyPatch, path: str, method: str, query: dict[str, Any]
    ) -> None:
        asked: list[Any] = []
        way = getattr(TaskLists, method)
        monkeypatch.setattr(TaskLists, method, lambda *a, **b: (asked.append(a), way(*a, **b))[1])
        assert many.get(path, **query).is_success
        assert many.get(path, **query, **{OWN: many.user["id"]}).is_success
        assert len(asked) == 1


class TestRights:
    def test_no_login_no_answer(self, client: httpx.Client, make_user: MakeUser) -> None:
        _, token = make_user()
        assert client.post(f"{API}/auth/logout", headers=bearer(token)).status_code == 204
        for path in ("", "count"):
            refused = client.get(f"{API}/tasks/{path}", headers=bearer(token))
            assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")

    def test_of_keys_are_those_of_their_scopes(self, many: TaskClient) -> None:
        codes = {}
        for scope in ("tasks:read", "tasks:write"):
            body = {"name": scope, "scopes": [scope]}
            key = many.http.post(f"{API}/auth/api-keys", headers=many.headers, json=body).json()["key"]
            for path in ("", "count"):
                answer = many.http.get(f"{API}/tasks/{path}", headers=bearer(key))
                codes[scope, path] = answer.status_code
                if answer.is_success:
                    assert answer.content == many.get(path).content
        assert codes == {
            ("tasks:read", ""): 200, ("tasks:read", "count"): 200, ("tasks:write", ""): 403, ("tasks:write", "count"): 403,
        }  # fmt: skip

    def test_an_administrator_sees_their_own_tasks_if_they_name_nobody(
        self, many: TaskClient, make_user: MakeUser
    ) -> None:
        _, admin = make_user("admin")
        assert many.http.get(f"{API}/tasks/", headers=bearer(admin)).json() == []
        assert many.http.get(f"{API}/tasks/count", headers=bearer(admin)).json()["total"] == 0


class TestTogether:
    def test_each_gets_their_own(self, client: httpx.Client, make_user: MakeUser) -> None:
        users = [TaskClient(client, *make_user()) for _ in range(3)]
        for number, user in enumerate(users):
            for _ in range(number):
                user.create(name=f"of {number}")
        over, token = make_user()
        assert client.post(f"{API}/auth/logout", headers=bearer(token)).status_code == 204
        calls = [
            *(methodcaller("count", UUID(user.user["id"]), read_access_token(user.token)) for user in users),
            *(methodcaller("list_newest", NewestTasks(1), UUID(user.user["id"])) for user in users),
            methodcaller("count", UUID(over["id"]), read_access_token(token)),
            methodcaller("list_newest", NewestTasks(1), UUID(over["id"]), read_access_token(token)),
        ]
        *found, no_count, no_page = together(LISTS, *calls)
        assert [counts["pending"] for counts in found[:3]] == [0, 1, 2]
        assert [(b"of 1" in body, b"of 2" in body) for body, _ in found[3:]] == [
            (False, False), (True, False), (False, True),
        ]  # fmt: skip
        assert [type(each) for each in (no_count, no_page)] == [InvalidToken, InvalidToken]

    def test_the_same_question_is_read_once(self, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[Any] = []
        newest = task_queries.newest_page
        monkeypatch.setattr(task_queries, "newest_page", lambda *a, **b: (read.append(a[1:]), newest(*a, **b))[1])
        one, two = uuid4(), uuid4()
        pages = [(one, 50), (one, 50), (one, 10), (two, 50)]
        together(LISTS, *(methodcaller("list_newest", NewestTasks(limit), user) for user, limit in pages))
        assert sorted(read) == sorted({*pages})

    def test_what_fails_concerns_those_who_asked_for_it(
        self, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        poor, rich = uuid4(), uuid4()

        def fail_for_rich(read: Any, db: Any, users: Any, *more: Any, **options: Any) -> Any:
            if rich == users or (isinstance(users, set | list) and rich in users):
                raise OperationalError("SELECT", {}, Exception("canceling statement due to statement timeout"))
            return read(db, users, *more, **options)

        for module, name in ((task_counts, "count_of_users"), (task_queries, "newest_page")):
            monkeypatch.setattr(module, name, partial(fail_for_rich, getattr(module, name)))
        calls = [methodcaller("count", user) for user in (poor, rich)]
        calls += [methodcaller("list_newest", NewestTasks(50), user) for user in (poor, rich)]
        counts, no_counts, page, no_page = together(LISTS, *calls)
        assert (counts["pending"], page[0]) == (0, b"[]")
        assert [type(each) for each in (no_counts, no_page)] == [OperationalError, OperationalError]
