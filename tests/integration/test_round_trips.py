"""What a request costs in statements: a number that does not depend on the machine, and that nobody should raise unawares.

Held until all of a group have come, the thread of a `Batcher` shows what a group costs.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from app.messaging.publisher import publisher
from tests.support.services import Services
from tests.support.statements import statements
from tests.support.task_client import BODY, TaskClient, shared_client
from tests.support.waiting import wait_for

GROUP = 12


@pytest.fixture(scope="module")
def client(services: Services) -> Iterator[httpx.Client]:
    with shared_client(services) as shared:
        yield shared


def kinds(seen: list[str]) -> list[str]:
    """`INSERT tasks`, `SELECT login_sessions`, …: what was said, without the publisher's mark, which comes when it comes."""
    tables = ("login_sessions", "api_keys", "tasks")
    said = [" ".join([each.split()[0], next((t for t in tables if t in each), "other")]) for each in seen]
    return [each for each in said if each != "UPDATE tasks"]


class TestOne:
    def test_submit(self, tasks: TaskClient) -> None:
        tasks.create()  # the user's quotas have been looked at
        with statements() as seen:
            tasks.create()
        assert kinds(seen) == ["SELECT login_sessions", "INSERT tasks"]

    def test_read(self, tasks: TaskClient) -> None:
        task = tasks.create()
        assert publisher.flush(10)
        with statements() as seen:
            assert tasks.get(task["id"]).status_code == 200
        assert kinds(seen) == ["SELECT login_sessions", "SELECT tasks"]

    def test_an_unchanged_one(self, tasks: TaskClient) -> None:
        task = tasks.create()
        with statements() as seen:
            assert tasks.request("GET", task["id"], headers={"If-None-Match": '"1"'}).status_code == 304
        assert kinds(seen) == ["SELECT login_sessions", "SELECT tasks"]

    def test_batch(self, tasks: TaskClient) -> None:
        tasks.create()
        with statements() as seen:
            assert tasks.post("batch", {"tasks": [BODY] * 100}).status_code == 201
        assert kinds(seen) == ["SELECT login_sessions", "INSERT tasks"]

    def test_list_and_count(self, tasks: TaskClient) -> None:
        for path in ("", "count"):
            with statements() as seen:
                assert tasks.get(path).status_code == 200
            assert kinds(seen)[0] == "SELECT login_sessions"
            assert len(kinds(seen)) == 2

    def test_a_message_costs_one_mark(self, tasks: TaskClient) -> None:
        tasks.create()
        assert publisher.flush(10)
        with statements() as seen:
            tasks.create()
            assert publisher.flush(10)
        assert len([each for each in seen if each.startswith("UPDATE tasks")]) == 1


class Held:
    """A group's work that waits, once, until all of the group have come."""

    def __init__(self, work: Callable[[list[Any]], Any]) -> None:
        self._work = work
        self.begun, self.go = threading.Event(), threading.Event()
        self.sizes: list[int] = []

    def __call__(self, items: list[Any]) -> Any:
        self.begun.set()
        assert self.go.wait(30)
        self.sizes.append(len(items))
        return self._work(items)


class TestManyAtOnce:
    """One is in flight, GROUP wait behind it: two groups, whatever their number."""

    def _together(self, group: Any, ask: Callable[[], httpx.Response], status: int) -> Held:
        batcher = group._batcher
        held = Held(batcher._work)
        batcher._work = held
        try:
            with ThreadPoolExecutor(GROUP + 1) as callers:
                first = callers.submit(ask)
                assert held.begun.wait(30)
                others = [callers.submit(ask) for _ in range(GROUP)]
                wait_for(lambda: len(batcher._waiting) == GROUP, 30, "all of the group to wait")
                held.go.set()
                assert {each.result().status_code for each in (first, *others)} == {status}
        finally:
            batcher._work = held._work
        assert held.sizes == [1, GROUP]
        return held

    @staticmethod
    def _group(tasks: TaskClient, name: str) -> Any:
        return tasks.http.app_state[name]  # type: ignore[attr-defined]  # (starlette's TestClient)

    def test_submits_share_an_insert(self, tasks: TaskClient) -> None:
        tasks.create()
        with statements() as seen:
            self._together(self._group(tasks, "submitter"), lambda: tasks.post(body=BODY), 201)
        assert kinds(seen).count("INSERT tasks") == 2
        assert len(tasks.get(limit=200).json()) == GROUP + 2

    def test_tokens_share_a_look(self, tasks: TaskClient) -> None:
        with statements() as seen:
            self._together(self._group(tasks, "authenticator"), lambda: tasks.get("types"), 200)
        assert kinds(seen) == ["SELECT login_sessions"] * 2

    def test_reads_share_a_query(self, tasks: TaskClient) -> None:
        task = tasks.create()
        assert publisher.flush(10)
        with statements() as seen:
            self._together(self._group(tasks, "task_lookup"), lambda: tasks.get(task["id"]), 200)
        assert kinds(seen).count("SELECT tasks") == 2
