"""What the scripts made is removed, also where the server asks to wait; what stays is told with its reason."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.leftovers import API, CLEAR_UP_SECONDS, STALLED_SECONDS, Leftovers

TASKS = 20


class Server:
    """One account with tasks. `refusal` answers a DELETE of a task, or nothing and the task is deleted."""

    def __init__(self, refusal: Callable[[], httpx.Response | None], login: int = 200) -> None:
        self.refusal, self.login = refusal, login
        self.tasks = {f"t{number}" for number in range(TASKS)}
        self.now, self.pace = 1000.0, 1.0
        self.slept: list[float] = []
        # What is asked of bulk operations, and whether there are any.
        self.bulk: list[str] = []
        self.has_bulk, self.has_leader = False, True

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix(API)
        if path == "/auth/login":
            headers = {"Retry-After": "900"} if self.login == 429 else {}
            return httpx.Response(self.login, headers=headers, json={"access_token": "t", "code": "refused"})
        if path == "/auth/register":
            return httpx.Response(201, json={"id": "u1", "username": "x"})
        if path == "/users/me":
            return httpx.Response(200 if request.headers["Authorization"] == "Bearer t" else 401, json={"id": "u1"})
        if path == "/tasks/":
            return httpx.Response(200, json=[{"id": each} for each in sorted(self.tasks)])
        if path.startswith("/tasks/bulk/"):
            return self._bulk(path.removeprefix("/tasks/bulk/"), json.loads(request.content or "null"))
        return (
            self._delete(path.removeprefix("/tasks/")) if path.startswith("/tasks/") else httpx.Response(200, json=[])
        )

    def _delete(self, task: str) -> httpx.Response:
        refused = self.refusal()
        if refused is None:
            self.tasks.discard(task)
        return refused or httpx.Response(204)

    def _bulk(self, what: str, body: Any) -> httpx.Response:
        if not self.has_bulk:
            return httpx.Response(503, json={"code": "took_too_long"})
        if body is None:  # how far it is: over at the second look
            looks = self.bulk.count(what) if self.has_leader else 0
            self.bulk.append(what)
            if looks and what == "delete":
                self.tasks = {"running"}
            return httpx.Response(200, json={"id": what, "state": "finished" if looks else "running"})
        if "token" in body:
            return httpx.Response(202, json={"id": what, "matched": TASKS})
        assert body == {"filter": {}, "dry_run": True}
        return httpx.Response(200, json={"matched": 1000, "token": "t"})

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += self.pace * seconds

    def leftovers(self, **more: Any) -> Leftovers:
        http = httpx.Client(transport=httpx.MockTransport(self), base_url="http://127.0.0.1")
        return Leftovers(http, clock=self.clock, sleep=self.sleep, **more)


def too_many(seconds: int) -> httpx.Response:
    return httpx.Response(429, headers={"Retry-After": str(seconds)}, json={"code": "too_many_recorded_actions"})


def made(leftovers: Leftovers) -> Leftovers:
    leftovers.log_in(leftovers.new_account("perf")[1])
    return leftovers


class TestRefusedForNow:
    def test_waits_as_long_as_the_server_asks(self, capsys: pytest.CaptureFixture[str]) -> None:
        server = Server(lambda: too_many(7) if not server.slept else None)
        server.pace = 0.0  # all cleaners wait within the same seven seconds
        made(server.leftovers()).clear_up()
        assert not server.tasks
        assert set(server.slept) == {7.0}
        said = capsys.readouterr().out
        assert said.count("clearing up waits 7 seconds: DELETE /api/v1/tasks/t") == 1, said
        assert "could not be deleted" not in said

    def test_does_not_wait_longer_than_it_may(self, capsys: pytest.CaptureFixture[str]) -> None:
        server = Server(lambda: too_many(int(CLEAR_UP_SECONDS) + 1))
        leftovers = made(server.leftovers())
        leftovers.clear_up()
        assert (server.slept, leftovers.tasks) == ([], TASKS)
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "could not be deleted" in line]
        assert line.startswith(f"left behind: {TASKS} tasks that could not be deleted: DELETE /api/v1/tasks/t")
        assert line.endswith("answers 429 too_many_recorded_actions, try again in 121 seconds")

    def test_gives_up_where_the_server_never_relents(self, capsys: pytest.CaptureFixture[str]) -> None:
        server = Server(lambda: too_many(50))
        begun = server.now
        leftovers = made(server.leftovers())
        leftovers.clear_up()
        assert leftovers.tasks == TASKS
        assert 0 < server.now - begun <= CLEAR_UP_SECONDS + 8 * 50  # each cleaner sleeps on this one clock
        assert "left behind: 20 tasks" in capsys.readouterr().out

    def test_is_an_answer_like_any_other_before(self) -> None:
        server = Server(lambda: too_many(1))
        assert server.leftovers()._delete_task("t1", "t").status_code == 429
        assert server.slept == []


class TestManyTasks:
    def test_are_cancelled_and_deleted_by_bulk_operations_and_the_rest_one_by_one(self) -> None:
        deleted = list[int]()
        server = Server(lambda: deleted.append(len(server.tasks)))
        server.has_bulk = True
        made(server.leftovers()).clear_up()
        assert (server.bulk, deleted, server.tasks) == (["cancel"] * 2 + ["delete"] * 2, [1], set())

    def test_are_deleted_one_by_one_where_no_process_does_bulk_operations(self) -> None:
        server = Server(lambda: None)
        server.has_bulk, server.has_leader = True, False
        made(server.leftovers()).clear_up()
        assert (set(server.bulk), server.tasks) == ({"cancel"}, set())
        assert sum(server.slept) < STALLED_SECONDS + 1


class TestWithoutALogin:
    @pytest.mark.parametrize("login", [429, 401])
    def test_the_first_token_empties_the_account(self, login: int, capsys: pytest.CaptureFixture[str]) -> None:
        server = Server(lambda: None)
        leftovers = made(server.leftovers())
        server.login = login  # guessed at, or behind a second factor
        leftovers.clear_up()
        assert not server.tasks
        assert "clearing up ended early" not in capsys.readouterr().out

    def test_an_account_that_was_made_is_named_though_it_opens_to_nobody(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        server = Server(lambda: None, login=401)
        leftovers = server.leftovers()
        _, credentials = leftovers.new_account("otto")
        leftovers.clear_up()
        said = capsys.readouterr().out
        assert "clearing up ended early: HTTPStatusError: Client error '401" in said
        assert f"left behind: the accounts {credentials.username} (u1)" in said
        assert "DELETE /api/v1/users/ID" in said
