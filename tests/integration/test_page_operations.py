"""The pages of queues and workers: why a queue stands, who fills it, and what a worker did."""

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from app.core.ids import new_id
from app.db.session import SessionLocal
from app.models import Task, WorkerProcess
from app.services.execution import ends
from app.services.execution.attempts import WorkerIdentity
from app.services.operations import queue_service
from app.services.tasks import task_counts
from app.web.views.queues import why_it_stands
from tests.integration.test_page_changes import heading
from tests.integration.test_pages import Reader
from tests.support.accounts import MakeUser
from tests.support.task_client import BODY, TaskClient, module_client, task_client
from tests.support.tasks import claim, flush_admitter, new_task
from tests.support.throttle import forget_everybody

shared = module_client(WEB_UI="true")
AGO = datetime(2020, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("fresh_picture")


@pytest.fixture
def tasks(shared: TestClient, make_user: MakeUser) -> TaskClient:
    forget_everybody(shared, "limit_places", "limits", "worker_processes", "claim_holds")
    return task_client(shared, make_user)


@pytest.fixture
def boss(shared: TestClient, tasks: TaskClient, make_user: MakeUser) -> TaskClient:
    """An administrator."""
    return task_client(shared, make_user, "admin")


@pytest.fixture
def admin(shared: TestClient, boss: TaskClient) -> Reader:
    return signed_in(shared, boss)


@pytest.fixture
def reader(shared: TestClient, tasks: TaskClient) -> Reader:
    return signed_in(shared, tasks)


def signed_in(shared: TestClient, tasks: TaskClient) -> Reader:
    found = Reader(shared)
    assert found.sign_in(tasks.user["username"]).status_code == 303
    return found


def work(name: str = "w@here", **options: Any) -> WorkerIdentity:
    """A worker that serves `default` with two slots."""
    worker_id = new_id()
    row = {"pid": 4711, "queues": ["default"], "concurrency": 2, "version": "1.2", "memory_bytes": 3 << 20} | options
    with SessionLocal.begin() as db:
        db.add(WorkerProcess(id=worker_id, name=name, **row))
    return WorkerIdentity(name, worker_id, 4712)


def running(tasks: TaskClient, worker: WorkerIdentity, number: int = 1, **options: Any) -> list[UUID]:
    """So many tasks of the user that this worker runs."""
    with SessionLocal() as db:
        found = [new_task(db, UUID(tasks.user["id"]), **options) for _ in range(number)]
        flush_admitter()
        for task in found:
            claim(db, task, worker)
        return [task.id for task in found]


def sentence(page: str) -> str:
    found = re.search(r'<p class="lead">(.*?)</p>', page, re.DOTALL)
    assert found
    return " ".join(re.sub(r"<[^>]+>", " ", found[1]).split())


def cells(page: str, part: str) -> list[list[str]]:
    """The texts of the rows of a part of the page."""
    body = page.partition(f'id="{part}"')[2].partition("</tbody>")[0].partition("<tbody>")[2]
    rows = re.findall(r"<tr.*?</tr>", re.sub(r"<dialog.*?</dialog>", "", body, flags=re.DOTALL), re.DOTALL)
    found = [re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
    return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in row] for row in found]


class TestWhyAQueueStands:
    def test_is_said_first(self, admin: Reader, tasks: TaskClient, boss: TaskClient) -> None:
        page = "/queues/default"
        assert sentence(admin.get(page).text) == "No live worker serves it."
        tasks.create()
        assert sentence(admin.get(page).text) == "No live worker serves it. 1 task waits."
        worker = work()
        assert sentence(admin.get(page).text) == "It moves: tasks start as soon as they are ready."
        running(tasks, worker, 2)
        assert "All 2 slots that serve it are in use. 1 task is ready, and has waited" in sentence(admin.get(page).text)
        admin.post("/queues/default/pause", reason="a <move>")
        assert "It is paused: none of its tasks starts. a &lt;move&gt;" in sentence(admin.get(page).text)
        assert boss.user["username"] in sentence(admin.get(page).text)

    @pytest.mark.parametrize(
        ("numbers", "why"),
        [
            ({"paused": True}, "paused"), ({"pending": 1}, "no_worker"),
            ({"workers": 1, "slots": 2, "slots_used": 2, "ready": 1}, "full"),
            ({"workers": 1, "slots": 2, "slots_used": 1, "ready": 1, "oldest_ready_seconds": 60.0}, "held"),
            ({"workers": 1, "slots": 2, "slots_used": 1, "ready": 1, "oldest_ready_seconds": 0.1}, "runs"),
            ({"workers": 1, "slots": 2, "pending": 1}, "later"), ({"workers": 1, "slots": 2}, "idle"),
        ],
    )  # fmt: skip
    def test_is_the_first_reason_that_holds(self, numbers: dict[str, Any], why: str) -> None:
        assert why_it_stands(queue_service.QueueState("default", **numbers)) == why

    def test_is_told_to_users_without_who_paused_it(
        self, admin: Reader, reader: Reader, boss: TaskClient, tasks: TaskClient
    ) -> None:
        admin.post("/queues/default/pause", reason="moved")
        for path in ("/queues", "/queues/default"):
            page = reader.get(path).text
            assert ("moved" in page, boss.user["username"] in page, "Resume" in page) == (True, False, False)
            assert boss.user["username"] in admin.get(path).text

    def test_of_an_unknown_queue_is_not_found(self, reader: Reader) -> None:
        assert reader.get("/queues/nowhere").status_code == 404


class TestQueues:
    def test_show_the_slots_in_use_of_all_whatever_runs_there(self, reader: Reader, tasks: TaskClient) -> None:
        worker = work(queues=["default", "low_priority"])
        running(tasks, worker)
        rows = {row[0]: row[-1] for row in cells(reader.get("/queues").text, "queues")}
        assert (rows["default"], rows["low_priority"], rows["high_priority"]) == ("1 of 2", "1 of 2", "–")

    def test_tell_administrators_who_fills_one(
        self, shared: TestClient, admin: Reader, tasks: TaskClient, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = task_client(shared, make_user)
        other.post("batch", {"tasks": [BODY] * 4})
        tasks.create()
        tasks.create(delay_seconds=60)  # it waits for no slot
        names = [other.user["username"], tasks.user["username"]]
        rows = cells(admin.get("/queues/default").text, "lines")
        assert [row[:3] for row in rows] == [[names[0], "4", "80 %"], [names[1], "1", "20 %"]]
        monkeypatch.setattr(queue_service, "FRONT", 2)
        page = admin.get("/queues/default").text
        assert "the numbers are the least" in page
        assert sum(int(row[1].rstrip("+")) for row in cells(page, "lines")) == 2

    def test_tell_others_no_names(self, shared: TestClient, reader: Reader, make_user: MakeUser) -> None:
        other = task_client(shared, make_user)
        other.create()
        page = reader.get("/queues/default").text
        assert (other.user["username"] in page, "Who waits" in page, 'id="workers"' in page) == (False, False, False)

    def test_show_what_was_submitted_and_ended(self, reader: Reader, admin: Reader, tasks: TaskClient) -> None:
        tasks.task_in("succeeded")
        tasks.task_in("failed")
        with SessionLocal() as db:
            task_counts.fold(db)
        for window in ("1h", "24h", "7d"):
            for browser in (reader, admin):
                page = browser.get(f"/queues/default?window={window}").text
                assert "failed 1" in page
                assert "succeeded 1" in page

    @pytest.mark.parametrize("back", ["/queues", "/queues/low_priority"])
    def test_a_pause_leads_back_to_where_it_was_done(self, admin: Reader, back: str) -> None:
        page = admin.get(back).text
        assert 'popovertarget="pause-low_priority"' in page
        assert '<dialog id="pause-low_priority" popover' in page
        for deed, said in (("pause", "The queue is paused"), ("resume", "The queue goes on")):
            answer = admin.post(f"/queues/low_priority/{deed}", back=back, reason="r")
            assert answer.headers["location"] == f"/ui{back}"
            assert said in admin.get(back).text


class TestAWorker:
    def test_shows_its_slots_and_its_last_tasks(self, admin: Reader, tasks: TaskClient) -> None:
        worker = work()
        (ended,) = running(tasks, worker, name="ended one")
        with SessionLocal() as db:
            ends.end_attempt(db, ended, 1, ends.succeeded(None))
            db.commit()
        running(tasks, worker, name="running one")
        running(tasks, work("other@here"), name="of another")
        page = admin.get("/workers/w%40here").text
        assert heading(page) == "w@here"
        assert [row[0] for row in cells(page, "slots")] == ["running one"]
        assert "1 slot is free." in page
        assert [row[:2] for row in cells(page, "last")] == [["running", "running one"], ["succeeded", "ended one"]]
        assert "3 MiB" in page
        assert 'href="/ui/queues" aria-current="true"' in page

    def test_that_is_lost_says_what_became_of_its_tasks(self, admin: Reader, tasks: TaskClient) -> None:
        worker = work(heartbeat_at=AGO)
        (task,) = running(tasks, worker, name="lost one")
        page = admin.get("/workers/w%40here").text
        assert "It has sent no heartbeat for" in page
        assert [row[0] for row in cells(page, "slots")] == ["lost one"]
        assert "Drain</button>" not in page
        with SessionLocal() as db:
            ends.end_tasks(db, ends.lost("no heartbeat"), Task.id == task)
            db.commit()
        page = admin.get("/workers/w%40here").text
        (row,) = cells(page, "lost")
        assert (row[0], row[1], row[3]) == ("lost one", "1", "pending")

    def test_is_drained_once_it_was_asked(self, admin: Reader) -> None:
        work()
        back = "/workers/w%40here"
        assert "data-ask=" in admin.get(back).text
        asked = admin.post("/workers/w%40here/drain", back=back)
        assert (asked.status_code, heading(asked.text)) == (200, "Drain: w@here")
        assert f'name="back" value="{back}"' in asked.text
        assert "alive" in admin.get(back).text
        done = admin.post("/workers/w%40here/drain", back=back, confirmed="true")
        assert done.headers["location"] == f"/ui{back}"
        assert "takes no more tasks" in admin.get(back).text

    def test_is_for_administrators(self, reader: Reader, admin: Reader) -> None:
        work()
        assert reader.get("/workers/w%40here").status_code == 403
        assert reader.post("/workers/w%40here/drain", confirmed="true").status_code == 403
        assert admin.get("/workers/nobody").status_code == 404
