"""The pages of queues and workers: why a queue stands, who fills it, and what a worker did."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from app.db.session import SessionLocal
from app.models import Task
from app.services.execution import ends
from app.services.operations import queue_service
from app.services.tasks import task_counts
from app.web.views.queues import why_it_stands
from tests.support.at_work import a_worker, running
from tests.support.page_reader import Reader, cells, heading, words
from tests.support.task_client import BODY, TaskClient

AGO = datetime(2020, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("fresh_picture")


def sentence(page: str) -> str:
    found = re.search(r'<p class="lead">(.*?)</p>', page, re.DOTALL)
    assert found
    return words(found[1])


class TestWhyAQueueStands:
    def test_is_said_first(self, administrator: Reader, tasks: TaskClient, admin: TaskClient) -> None:
        page = "/queues/default"
        assert sentence(administrator.get(page).text) == "No live worker serves it."
        tasks.create()
        assert sentence(administrator.get(page).text) == "No live worker serves it. 1 task waits."
        worker = a_worker()
        assert sentence(administrator.get(page).text) == "It moves: tasks start as soon as they can."
        running(tasks, worker, 2)
        assert "All 2 slots that serve it are in use. 1 task can start, and has waited" in sentence(
            administrator.get(page).text
        )
        administrator.post("/queues/default/pause", reason="a <move>")
        assert "It is paused: none of its tasks starts. a &lt;move&gt;" in sentence(administrator.get(page).text)
        assert admin.user["username"] in sentence(administrator.get(page).text)

    @pytest.mark.parametrize(
        ("numbers", "why"),
        [
            ({"paused": True}, "paused"), ({"pending": 1}, "no_worker"),
            ({"workers": 1, "slots": 2, "slots_used": 2, "ready": 1, "startable": 1}, "full"),
            ({"workers": 1, "slots": 2, "slots_used": 2, "pending": 1, "ready": 1, "limited": 1}, "later"),
            ({"workers": 1, "slots": 2, "slots_used": 1, "ready": 1, "oldest_ready_seconds": 60.0}, "held"),
            ({"workers": 1, "slots": 2, "slots_used": 1, "startable": 1, "oldest_ready_seconds": 0.1}, "runs"),
            ({"workers": 1, "slots": 2, "pending": 1}, "later"), ({"workers": 1, "slots": 2}, "idle"),
        ],
    )  # fmt: skip
    def test_is_the_first_reason_that_holds(self, numbers: dict[str, Any], why: str) -> None:
        assert why_it_stands(queue_service.QueueState("default", **numbers)) == why

    def test_is_told_to_users_without_who_paused_it(
        self, administrator: Reader, reader: Reader, admin: TaskClient, tasks: TaskClient
    ) -> None:
        administrator.post("/queues/default/pause", reason="moved")
        for path in ("/queues", "/queues/default"):
            page = reader.get(path).text
            assert ("moved" in page, admin.user["username"] in page, "Resume" in page) == (True, False, False)
            assert admin.user["username"] in administrator.get(path).text

    def test_of_an_unknown_queue_is_not_found(self, reader: Reader) -> None:
        assert reader.get("/queues/nowhere").status_code == 404


class TestQueues:
    def test_show_the_slots_in_use_of_all_whatever_runs_there(self, reader: Reader, tasks: TaskClient) -> None:
        worker = a_worker(queues=["default", "low_priority"])
        running(tasks, worker)
        rows = {row[0]: row[-1] for row in cells(reader.get("/queues").text, "queues")}
        assert (rows["default"], rows["low_priority"], rows["high_priority"]) == ("1 of 2", "1 of 2", "–")

    def test_tell_administrators_who_fills_one(
        self, administrator: Reader, tasks: TaskClient, others: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        others.post("batch", {"tasks": [BODY] * 4})
        tasks.create()
        tasks.create(delay_seconds=60)  # it waits for no slot
        names = [others.user["username"], tasks.user["username"]]
        rows = cells(administrator.get("/queues/default").text, "lines")
        assert [row[:3] for row in rows] == [[names[0], "4", "80 %"], [names[1], "1", "20 %"]]
        monkeypatch.setattr(queue_service, "FRONT", 2)
        page = administrator.get("/queues/default").text
        assert "the numbers are the least" in page
        assert sum(int(row[1].rstrip("+")) for row in cells(page, "lines")) == 2

    def test_tell_others_no_names(self, reader: Reader, others: TaskClient) -> None:
        others.create()
        page = reader.get("/queues/default").text
        assert (others.user["username"] in page, "Who waits" in page, 'id="workers"' in page) == (False, False, False)

    def test_show_what_was_submitted_and_ended(self, reader: Reader, administrator: Reader, tasks: TaskClient) -> None:
        tasks.task_in("succeeded")
        tasks.task_in("failed")
        with SessionLocal() as db:
            task_counts.fold(db)
        for window in ("1h", "24h", "7d"):
            for browser in (reader, administrator):
                page = browser.get(f"/queues/default?window={window}").text
                assert "failed 1" in page
                assert "succeeded 1" in page

    @pytest.mark.parametrize("back", ["/queues", "/queues/low_priority"])
    def test_a_pause_leads_back_to_where_it_was_done(self, administrator: Reader, back: str) -> None:
        page = administrator.get(back).text
        assert 'popovertarget="pause-low_priority"' in page
        assert '<dialog id="pause-low_priority" popover' in page
        for deed, said in (("pause", "The queue is paused"), ("resume", "The queue goes on")):
            answer = administrator.post(f"/queues/low_priority/{deed}", back=back, reason="r")
            assert answer.headers["location"] == f"/ui{back}"
            assert said in administrator.get(back).text

    def test_have_a_page_and_deeds_whatever_their_names_hold(self, administrator: Reader, admin: TaskClient) -> None:
        a_worker(queues=["eu/west", "eu/pause"])
        for name, path in (("eu/west", "/queues/eu%2Fwest"), ("eu/pause", "/queues/eu%2Fpause")):
            assert f'href="/ui{path}"' in administrator.get("/queues").text
            assert heading(administrator.get(path).text) == name
            for deed, is_paused in (("pause", True), ("resume", False)):
                assert f'action="/ui{path}/{deed}"' in administrator.get(path).text
                answer = administrator.post(f"{path}/{deed}", back=path, reason="r")
                assert answer.headers["location"] == f"/ui{path}"
                found = admin.http.get("/api/v1/queues/", headers=admin.headers).json()
                assert {queue["paused"] for queue in found if queue["name"] == name} == {is_paused}


class TestAWorker:
    def test_shows_its_slots_and_its_last_tasks(self, administrator: Reader, tasks: TaskClient) -> None:
        worker = a_worker()
        (ended,) = running(tasks, worker, name="ended one")
        with SessionLocal() as db:
            ends.end_attempt(db, ended, 1, ends.succeeded(None))
            db.commit()
        running(tasks, worker, name="running one")
        running(tasks, a_worker("other@here"), name="of another")
        page = administrator.get("/workers/w%40here").text
        assert heading(page) == "w@here"
        assert [row[0] for row in cells(page, "slots")] == ["running one"]
        assert "1 slot is free." in page
        assert [row[:2] for row in cells(page, "last")] == [["running", "running one"], ["succeeded", "ended one"]]
        assert "3 MiB" in page
        assert 'href="/ui/queues" aria-current="true"' in page

    def test_that_is_lost_says_what_became_of_its_tasks(self, administrator: Reader, tasks: TaskClient) -> None:
        worker = a_worker(heartbeat_at=AGO)
        (task,) = running(tasks, worker, name="lost one")
        page = administrator.get("/workers/w%40here").text
        assert "It has sent no heartbeat for" in page
        assert [row[0] for row in cells(page, "slots")] == ["lost one"]
        assert "Drain</button>" not in page
        with SessionLocal() as db:
            ends.end_tasks(db, ends.lost("no heartbeat"), Task.id == task)
            db.commit()
        page = administrator.get("/workers/w%40here").text
        (row,) = cells(page, "lost")
        assert (row[0], row[1], row[3]) == ("lost one", "1", "pending")

    def test_is_drained_once_it_was_asked(self, administrator: Reader) -> None:
        a_worker()
        back = "/workers/w%40here"
        assert "data-ask=" in administrator.get(back).text
        asked = administrator.post("/workers/w%40here/drain", back=back)
        assert (asked.status_code, heading(asked.text)) == (200, "Drain: w@here")
        assert f'name="back" value="{back}"' in asked.text
        assert "alive" in administrator.get(back).text
        done = administrator.post("/workers/w%40here/drain", back=back, confirmed="true")
        assert done.headers["location"] == f"/ui{back}"
        assert "takes no more tasks" in administrator.get(back).text

    def test_is_for_administrators(self, reader: Reader, administrator: Reader) -> None:
        a_worker()
        assert reader.get("/workers/w%40here").status_code == 403
        assert reader.post("/workers/w%40here/drain", confirmed="true").status_code == 403
        assert administrator.get("/workers/nobody").status_code == 404
