"""Tasks from the form to their end; and that what a page says of them is so."""

import html
import json
import re
from uuid import UUID

from app.db.session import SessionLocal
from app.models.task import Task
from tests.support.page_reader import Reader, deeds, listed
from tests.support.task_client import TaskClient


class TestTasks:
    def test_from_the_form_to_its_end(self, reader: Reader) -> None:
        form = {"celery_task_name": "app.tasks.common_tasks.long_running_task", "name": "a <b>bold</b> name"}
        created = reader.post("/new", **form, task_type="manual", **{"kwargs.duration": "5"})
        assert created.status_code == 303, created.text
        path = created.headers["location"].removeprefix("/ui")
        shown = reader.get(path).text
        assert "<h1><bdi>a &lt;b&gt;bold&lt;/b&gt; name</bdi></h1>" in shown
        assert 'data-status="pending"' in shown
        assert deeds(shown) == ["cancel"]
        assert reader.post(f"{path}/cancel", confirmed="true").status_code == 303
        shown = reader.get(path).text
        assert 'data-status="revoked"' in shown
        assert deeds(shown) == ["change", "retry", "delete"]
        assert reader.post(f"{path}/retry").status_code == 303
        assert reader.post(f"{path}/delete", confirmed="true").status_code == 409
        assert reader.post(f"{path}/cancel", confirmed="true").status_code == 303
        assert reader.post(f"{path}/delete", confirmed="true").headers["location"] == "/ui/tasks"
        assert reader.get(path).status_code == 404

    def test_an_ended_task_is_repeated_with_changes(self, reader: Reader, tasks: TaskClient) -> None:
        kwargs = {"duration": 3, "steps": 7}
        old = tasks.create(name="old", args=[], kwargs=kwargs, tags=["a", "b"], delay_seconds=600, max_attempts=5)
        path = f"/tasks/{old['id']}"
        assert deeds(reader.get(path).text) == ["run-now", "cancel"]
        assert reader.post(f"{path}/change", celery_task_name=old["celery_task_name"]).status_code == 409
        assert reader.post(f"{path}/run-now").status_code == 303
        assert deeds(reader.get(path).text) == ["cancel"]
        reader.post(f"{path}/cancel", confirmed="true")
        form = reader.get(f"{path}/change").text
        for shown in ('value="3"', 'value="7"', 'value="a, b"', 'value="old"'):
            assert shown in form, shown
        changed = {"name": "new", "task_type": "t", "kwargs.duration": "0", "kwargs.steps": "7"}
        answer = reader.post(f"{path}/change", celery_task_name=old["celery_task_name"], **changed)
        assert answer.status_code == 303, answer.text
        new = tasks.get(answer.headers["location"].rpartition("/")[2]).json()
        assert (new["name"], new["retry_of"], new["kwargs"]["duration"]) == ("new", old["id"], 0)
        assert (new["tags"], new["delay_seconds"], new["max_attempts"]) == ([], None, 1)  # as they were left: empty

    def test_what_the_form_cannot_say_is_repeated_by_json_with_its_secrets(
        self, reader: Reader, tasks: TaskClient
    ) -> None:
        kwargs = {"duration": 3, "customer": "ACME", "password": "hunter2"}
        old = tasks.create(name="old", args=[], kwargs=kwargs, delay_seconds=600)
        reader.post(f"/tasks/{old['id']}/cancel", confirmed="true")
        form = reader.get(f"/tasks/{old['id']}/change").text
        assert "stays as JSON" in form
        assert "<code>kwargs.customer</code>" in form
        assert 'name="kwargs.' not in form
        assert "hunter2" not in form
        typed = html.unescape(re.search('<textarea id="json"[^>]*>(.*?)</textarea>', form, re.DOTALL)[1])
        changed = json.loads(typed)
        changed["kwargs"]["customer"] = "another"
        answer = reader.post(
            f"/tasks/{old['id']}/change", by="json", celery_task_name=old["celery_task_name"], json=json.dumps(changed)
        )
        assert answer.status_code == 303, answer.text
        new = UUID(answer.headers["location"].rpartition("/")[2])
        with SessionLocal() as db:
            assert db.get_one(Task, new).kwargs == {**kwargs, "customer": "another"}

    def test_what_is_wrong_with_a_form_is_told_and_nothing_typed_is_lost(self, reader: Reader) -> None:
        form = {"celery_task_name": "app.tasks.common_tasks.long_running_task", "name": "kept", "task_type": "manual"}
        answer = reader.post("/new", **form, **{"kwargs.duration": "soon", "kwargs.steps": "7"})
        assert answer.status_code == 422
        assert "duration" in answer.text
        assert 'value="kept"' in answer.text
        assert 'value="7"' in answer.text
        answer = reader.post("/new", by="json", celery_task_name="x", json='{"name": ')
        assert answer.status_code == 422
        assert "{&#34;name&#34;:" in answer.text

    def test_a_search_lists_what_it_counts(self, reader: Reader, tasks: TaskClient) -> None:
        first, second = tasks.create(tags=["a b"]), tasks.create()
        assert tasks.post(f"{second['id']}/cancel").status_code == 200
        assert listed(reader.get("/tasks").text) == [second["id"], first["id"]]
        for search, found in (("status:revoked", second), ('tag:"a b"', first)):
            assert listed(reader.get(f"/tasks?q={search}").text) == [found["id"]]
        assert "Not understood" in reader.get("/tasks?q=status:x").text


def test_a_search_that_is_not_understood_is_no_reason_to_delete_more(reader: Reader, tasks: TaskClient) -> None:
    tasks.task_in("failed")
    answer = reader.post("/bulk/delete/preview", q="staus:failed", all="true")
    assert (answer.status_code, 'name="token"' in answer.text) == (422, False)
    assert "staus:failed" in answer.text


class TestWhatOtherDashboardsAreBlamedFor:
    """Each is a complaint of the users of another one."""

    def test_a_number_and_the_list_behind_it_mean_the_same_tasks(self, reader: Reader, tasks: TaskClient) -> None:
        for status in ("failed", "failed", "revoked", "succeeded", "pending", "running", "running"):
            tasks.task_in(status)
        numbers = re.findall(r'href="/ui(/tasks\?q=status:\w+)"><b>(\d+)</b>', reader.get("/").text)
        numbers += re.findall(r'href="/ui(/tasks\?q=status%3A\w+)">\w+ <b>(\d+)</b>', reader.get("/tasks").text)
        assert [int(number) for _, number in numbers] == [2, 1, 1, 2, 1, 2, 1]
        assert {path: len(listed(reader.get(path).text)) for path, _ in numbers} == {
            path: int(number) for path, number in numbers
        }

    def test_what_is_asked_to_stop_and_still_runs_is_not_called_cancelled(
        self, reader: Reader, tasks: TaskClient
    ) -> None:  # fmt: skip
        path = f"/tasks/{tasks.task_in('running')}"
        assert reader.post(f"{path}/cancel", confirmed="true").status_code == 303
        shown = reader.get(path).text
        assert 'data-status="running">stopping<' in shown
        assert deeds(shown) == []

    def test_only_deeds_that_can_work_are_offered(self, reader: Reader, tasks: TaskClient) -> None:
        offered = {
            "pending": ["cancel"],
            "running": ["cancel"],
            "succeeded": ["change", "delete"],
            "failed": ["change", "retry", "delete"],
            "revoked": ["change", "retry", "delete"],
        }
        for status, possible in offered.items():
            assert deeds(reader.get(f"/tasks/{tasks.task_in(status)}").text) == possible
            of_many = re.findall(r'formaction="/ui/bulk/(\w+)/preview"', reader.get(f"/tasks?q=status:{status}").text)
            assert of_many == [deed for deed in possible if deed != "change"]
