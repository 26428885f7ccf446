"""Who may see and do what."""

from uuid import UUID, uuid4

from fastapi.testclient import TestClient

from app.live import queries
from tests.support.page_reader import PATHS, Reader, listed
from tests.support.settings import settings
from tests.support.task_client import TaskClient

OF_ADMINS = ("/users", "/audit")


class TestRights:
    def test_nobody_sees_a_page_without_signing_in(self, client: TestClient) -> None:
        for path in (*PATHS, *OF_ADMINS, f"/tasks/{uuid4()}", "/events"):
            assert Reader(client).get(path).status_code == 303, path

    def test_another_users_task_does_not_exist(self, tasks: TaskClient, stranger: Reader) -> None:
        task = tasks.create()
        for answer in (
            stranger.get(f"/tasks/{task['id']}"),
            stranger.get(f"/tasks/{task['id']}/events"),
            *(stranger.post(f"/tasks/{task['id']}/{deed}") for deed in ("cancel", "retry", "delete")),
        ):
            assert answer.status_code == 404
            assert task["name"] not in answer.text
        assert task["id"] not in stranger.get("/tasks").text
        assert tasks.get(task["id"]).json()["status"] == "pending"

    def test_the_overview_shows_what_runs_of_the_readers_own(
        self, tasks: TaskClient, reader: Reader, stranger: Reader
    ) -> None:
        running = tasks.task_in("running")
        assert (listed(reader.get("/").text), listed(stranger.get("/").text)) == ([running], [])

    def test_a_form_creates_no_task_that_is_kept_for_others(self, reader: Reader) -> None:
        form = {"celery_task_name": "app.tasks.common_tasks.fetch_url", "name": "x", "task_type": "x"}
        form["kwargs.url"] = "https://example.com/"
        with settings({"OUTBOUND_USERS": "role:admin"}):
            refused = reader.post("/new", **form)
            assert (refused.status_code, "You may not create" in refused.text) == (403, True)
            assert listed(reader.get("/tasks").text) == []
        assert reader.post("/new", **form).status_code == 303

    def test_a_stream_of_rows_tells_nothing_of_another_users_tasks(
        self, reader: Reader, tasks: TaskClient, others: TaskClient
    ) -> None:
        theirs, mine = others.create()["id"], tasks.create()["id"]
        with reader.stream(f"/events?id={theirs}&id={mine}") as states:
            told = [next(states)]
            tasks.post(f"{mine}/cancel")
            while told[-1]["status"] != "revoked":  # behind what the stream begins with
                told.append(next(states))
        assert {state["id"] for state in told} == {mine}

    def test_a_stream_of_rows_follows_those_that_its_reader_may_see(self, tasks: TaskClient) -> None:
        task, unknown = UUID(tasks.create()["id"]), uuid4()
        owner = UUID(tasks.get(str(task)).json()["user_id"])
        assert queries.visible_tasks(owner, [task, unknown]) == queries.visible_tasks(None, [task, unknown]) == [task]
        assert queries.visible_tasks(uuid4(), [task]) == []

    def test_ordinary_users_do_not_administrate(self, reader: Reader) -> None:
        for path in OF_ADMINS:
            assert reader.get(path).status_code == 403
        for path in ("/queues/default/pause", "/queues/default/resume", "/workers/w@h/drain", f"/users/{uuid4()}"):
            assert reader.post(path, reason="x", role="admin").status_code == 403, path
        assert "Users" not in reader.get("/").text
