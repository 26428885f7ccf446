"""What a request costs in statements: a number that does not depend on the machine."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from app.core.served_tasks import ServedTasks
from app.messaging import wakeups
from tests.support.statements import before_each_statement, statements
from tests.support.task_client import BODY, TaskClient, module_client
from tests.support.waiting import wait_for

client = module_client()
GROUP = 12


@pytest.fixture(autouse=True)
def _no_look_at_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each second a request reads them too."""
    monkeypatch.setattr(ServedTasks, "is_due", lambda _: False)


SEVERAL = "elsewhere a submit is a transaction of several statements"


def kinds(seen: list[str]) -> list[str]:
    """`INSERT tasks`, `SELECT login_sessions`, …: what was said."""
    tables = ("login_sessions", "api_keys", "tasks")
    verbs = ["INSERT" if "INSERT INTO tasks" in each else each.split()[0] for each in seen]
    return [f"{verb} {next((t for t in tables if t in each), 'other')}" for verb, each in zip(verbs, seen, strict=True)]


class TestOne:
    @pytest.mark.postgresql(SEVERAL)
    def test_submit_with_its_wakeup(self, tasks: TaskClient) -> None:
        tasks.create()  # the user's quotas have been looked at
        assert wakeups.flush(10)
        with statements() as seen:
            tasks.create()
            assert wakeups.flush(10)
        assert kinds(seen) == ["SELECT login_sessions", "INSERT tasks"]

    def test_read(self, tasks: TaskClient) -> None:
        task = tasks.create()
        assert wakeups.flush(10)
        for headers, status in (({}, 200), ({"If-None-Match": '"1"'}, 304)):
            with statements() as seen:
                assert tasks.request("GET", task["id"], headers=headers).status_code == status
            assert kinds(seen) == ["SELECT login_sessions", "SELECT tasks"], status

    @pytest.mark.postgresql(SEVERAL)
    def test_batch(self, tasks: TaskClient) -> None:
        tasks.create()
        assert wakeups.flush(10)
        with statements() as seen:
            assert tasks.post("batch", {"tasks": [BODY] * 100}).status_code == 201
        assert kinds(seen) == ["SELECT login_sessions", "INSERT tasks"]

    def test_list_and_count(self, tasks: TaskClient) -> None:
        assert wakeups.flush(10)  # of the test before
        for path in ("", "count"):
            with statements() as seen:
                assert tasks.get(path).status_code == 200
            assert kinds(seen)[0] == "SELECT login_sessions"
            assert len(kinds(seen)) == 2


@contextmanager
def held(kind: str) -> Iterator[tuple[threading.Event, threading.Event]]:
    """The first statement of this kind sets the first event and then waits for the second one."""
    begun, go = threading.Event(), threading.Event()

    def hold(statement: str, _: Any) -> None:
        if not begun.is_set() and kinds([statement]) == [kind]:
            begun.set()
            assert go.wait(30)

    with before_each_statement(hold):
        yield begun, go


@pytest.mark.parametrize(
    ("group", "begins_with", "shared"),
    [
        ("submitter", "SELECT login_sessions", "INSERT tasks"),
        ("authenticator", "SELECT login_sessions", "SELECT login_sessions"),
        ("task_lookup", "SELECT tasks", "SELECT tasks"),
        ("task_lists", "SELECT login_sessions", "SELECT login_sessions"),
    ],
)
def test_requests_that_come_while_one_is_in_flight_share_a_statement(
    tasks: TaskClient, group: str, begins_with: str, shared: str
) -> None:
    """One statement for the first request, and one for all that wait behind it, whatever their number."""
    task = tasks.create()
    assert wakeups.flush(10)
    batcher = tasks.http.app_state[group].batcher  # type: ignore[attr-defined]  # (starlette's TestClient)
    ask: Callable[[], httpx.Response] = {
        "submitter": lambda: tasks.post(body=BODY),
        "authenticator": lambda: tasks.get("types"),
        "task_lookup": lambda: tasks.get(task["id"]),
        "task_lists": tasks.get,
    }[group]
    with statements() as seen, held(begins_with) as (begun, go), ThreadPoolExecutor(GROUP + 1) as callers:
        first = callers.submit(ask)
        assert begun.wait(30)
        others = [callers.submit(ask) for _ in range(GROUP)]
        wait_for(lambda: batcher.waiting == GROUP, 30, "the others to wait")
        go.set()
        assert {each.result().is_success for each in (first, *others)} == {True}
    assert kinds(seen).count(shared) == 2
    assert len(tasks.get(limit=200).json()) == (GROUP + 2 if group == "submitter" else 1)
