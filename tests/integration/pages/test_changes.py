"""What a page asks before a change, which tasks it is done to, and that the next page says that it is done."""

import re

import pytest
from fastapi.testclient import TestClient

from tests.support.page_reader import Reader, heading
from tests.support.settings import sql
from tests.support.task_client import BODY, TaskClient
from tests.support.tasks import LONG_RUNNING


class TestAQuestion:
    """The page that asks where there is no JavaScript. With it, a dialog has asked already."""

    @pytest.mark.parametrize(("deed", "status"), [("cancel", "pending"), ("delete", "failed")])
    def test_comes_before_a_task_is_changed(self, reader: Reader, tasks: TaskClient, deed: str, status: str) -> None:
        task_id = tasks.task_in(status)
        asked = reader.post(f"/tasks/{task_id}/{deed}")
        assert (asked.status_code, heading(asked.text).lower().startswith(deed)) == (200, True)
        assert f'action="/ui/tasks/{task_id}/{deed}"' in asked.text
        assert f'href="/ui/tasks/{task_id}">Back' in asked.text
        assert tasks.get(task_id).json()["status"] == status
        done = reader.post(f"/tasks/{task_id}/{deed}", confirmed="true")
        assert done.status_code == 303
        after = tasks.get(task_id)
        assert after.status_code == 404 if deed == "delete" else after.json()["status"] == "revoked"

    def test_comes_before_a_key_is_revoked(self, reader: Reader, tasks: TaskClient) -> None:
        body = {"name": "nightly", "scopes": ["tasks:read"]}
        key = tasks.http.post("/api/v1/auth/api-keys", json=body, headers=tasks.headers).json()["id"]
        path = f"/account/api-keys/{key}/revoke"
        assert heading(reader.post(path).text) == "Revoke: nightly"
        assert "Revoked" not in reader.get("/account").text
        reader.post(path, confirmed="true")
        assert "The API key is revoked." in (shown := reader.get("/account").text)
        assert "Revoked" in shown

    def test_of_another_users_task_tells_nothing(self, reader: Reader, others: TaskClient) -> None:
        other = others.create(name="hidden name")["id"]
        answer = reader.post(f"/tasks/{other}/delete")
        assert (answer.status_code, "hidden name" in answer.text) == (404, False)


class TestAChange:
    def test_says_once_that_it_is_done(self, reader: Reader, tasks: TaskClient) -> None:
        task_id = tasks.task_in("failed")
        reader.post(f"/tasks/{task_id}/retry")
        said = "The task runs again as soon as a slot is free."
        assert [said in reader.get(f"/tasks/{task_id}").text for _ in range(2)] == [True, False]

    def test_says_nothing_that_a_cookie_makes_up(self, reader: Reader) -> None:
        reader.cookies["notice"] = "<b>owned</b>"
        shown = reader.get("/tasks").text
        assert ("owned" in shown, 'class="notice"' in shown) == (False, False)


def test_a_page_shows_where_it_is_also_after_a_post(reader: Reader, tasks: TaskClient) -> None:
    def current(page: str) -> list[str]:
        navigation = page.partition("</nav>")[0]
        return re.findall(r'<a href="/ui([^"]*)" aria-current="(page|true)"', navigation)

    task_id = tasks.task_in("failed")
    assert current(reader.get("/tasks").text) == [("/tasks", "page")]
    for page in (
        reader.get(f"/tasks/{task_id}"),
        reader.get("/new"),
        reader.post("/bulk/delete/preview", q="", all="true"),
    ):
        assert current(page.text) == [("/tasks", "true")]
    assert current(reader.get("/numbers").text) == [("/", "true")]
    assert current(reader.get("/account").text) == []
    assert current(reader.get("/errors").text) == [("/errors", "page")]


def hidden(page: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(token|matched|q)" value="([^"]*)"', page))


class TestManyTasks:
    def test_none_that_are_selected_are_not_all(self, reader: Reader, tasks: TaskClient) -> None:
        tasks.task_in("failed")
        answer = reader.post("/bulk/delete/preview", q="")
        assert (answer.status_code, 'name="token"' in answer.text) == (422, False)
        assert "Nothing is selected: select tasks, or all that match" in answer.text

    def test_are_those_that_are_ticked_or_with_all_those_that_match(self, reader: Reader, tasks: TaskClient) -> None:
        one, _, other = (tasks.task_in(status) for status in ("failed", "failed", "succeeded"))
        assert heading(reader.post("/bulk/delete/preview", q="status:failed", ids=one).text) == "Delete: 1 task"
        every = reader.post("/bulk/delete/preview", q="status:failed", ids=[one, other], all="true")
        assert heading(every.text) == "Delete: 2 tasks"
        assert "all 2 that match" in reader.get("/tasks?q=status:failed").text
        assert "all 3 that match" in reader.get("/tasks").text

    def test_more_than_a_page_need_their_number(self, reader: Reader, tasks: TaskClient) -> None:
        tasks.post("batch", {"tasks": [BODY] * 51})
        preview = reader.post("/bulk/cancel/preview", q="", all="true").text
        assert "Type 51 to go on:" in preview
        search = "tag:x status:pending"
        tasks.post("batch", {"tasks": [BODY | {"tags": ["x"]}] * 52})
        for text, number in (("", 103), (search, 52)):
            preview = reader.post("/bulk/cancel/preview", q=text, all="true").text
            for typed in ("", "50", f"{number} 1"):
                form = hidden(preview)
                assert (form["q"], form["matched"]) == (text, str(number))
                refused = reader.post("/bulk/cancel", **form, typed=typed)
                preview = refused.text
                assert (refused.status_code, heading(preview)) == (422, f"Cancel: {number} tasks")
                at_the_field = f'<p class="wrong" id="typed-error">The number that was typed is not {number}'
                assert (at_the_field in preview, f'value="{typed}"' in preview) == (True, True)
        assert sql("SELECT count(*) FROM bulk_deeds")[0][0] == 0
        started = reader.post("/bulk/cancel", **hidden(preview), typed=" 52 ")
        assert started.status_code == 303
        assert "The operation is started" in reader.get(started.headers["location"].removeprefix("/ui")).text

    def test_no_more_than_a_page_need_none(self, reader: Reader, tasks: TaskClient) -> None:
        tasks.create()
        assert "Type 1" not in reader.post("/bulk/cancel/preview", q="", all="true").text


class TestANewTask:
    """The form that is sent is that of the task that is chosen, or nothing is created."""

    OTHER = "app.tasks.model_tasks.train_classifier"
    TYPED = {"celery_task_name": LONG_RUNNING, "form_of": LONG_RUNNING, "name": "long_running_task"}  # noqa: RUF012

    def test_is_not_created_by_the_form_of_another_one(self, reader: Reader, tasks: TaskClient) -> None:
        changed = self.TYPED | {"celery_task_name": self.OTHER, "name": "mine", "kwargs.duration": "1", "tags": "a, b"}
        answer = reader.post("/new", **changed)
        assert (answer.status_code, "Nothing is created yet." in answer.text) == (200, True)
        assert f'name="form_of" value="{self.OTHER}"' in answer.text
        assert 'value="mine"' in answer.text  # what was typed is kept
        assert 'value="a, b"' in answer.text
        assert "kwargs.duration" not in answer.text
        assert tasks.get("count").json()["total"] == 0

    def test_is_chosen_by_a_button_without_javascript(self, reader: Reader) -> None:
        chosen = self.TYPED | {"celery_task_name": self.OTHER, "choose": "true"}
        assert reader.post("/new", **chosen).headers["location"] == f"/ui/new?task={self.OTHER}"
        assert 'value="mine"' in reader.post("/new", **chosen | {"name": "mine"}).text

    def test_is_created_by_its_own(self, reader: Reader, tasks: TaskClient) -> None:
        answer = reader.post("/new", **self.TYPED, **{"task_type": "t", "kwargs.duration": "1"})
        assert answer.status_code == 303
        assert "The task is created." in reader.get(answer.headers["location"].removeprefix("/ui")).text
        assert tasks.get("count").json()["total"] == 1


class TestAPageThatThereIsNot:
    def test_keeps_the_navigation_of_whoever_is_signed_in(self, reader: Reader) -> None:
        answer = reader.get("/no-such-page")
        assert (answer.status_code, 'aria-label="Pages"' in answer.text) == (404, True)

    def test_shows_none_to_others(self, client: TestClient) -> None:
        client.cookies.clear()
        answer = client.get("/ui/no-such-page")
        assert (answer.status_code, 'aria-label="Pages"' in answer.text) == (404, False)


class TestTheOverview:
    def test_says_first_that_no_worker_runs(self, reader: Reader, tasks: TaskClient) -> None:
        tasks.task_in("pending")  # due
        assert heading(reader.get("/").text) == "no worker runs"

    def test_says_nothing_of_what_only_others_wait_for(
        self, reader: Reader, others: TaskClient
    ) -> None:  # fmt: skip
        others.task_in("pending")
        assert heading(reader.get("/").text).startswith("All is well: 0 running")

    def test_shows_the_first_steps_until_there_is_a_task(self, reader: Reader, tasks: TaskClient) -> None:
        assert "Three steps to the first task" in reader.get("/").text
        tasks.task_in("succeeded")
        assert "Three steps to the first task" not in reader.get("/").text

    def test_has_its_charts_as_a_table(self, reader: Reader) -> None:
        for window, steps in (("1h", 60), ("24h", 96), ("7d", 168)):
            assert f'href="/ui/numbers?window={window}"' in reader.get(f"/?window={window}").text
            assert reader.get(f"/numbers?window={window}").text.count('scope="row"') == steps
