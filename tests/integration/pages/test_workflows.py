"""The pages of workflows: the list, one as a graph with its layers and times, and what can be done to it."""

import re
from typing import Any

from app.db.session import SessionLocal
from app.services.execution import ends
from app.services.workflows import dependents
from tests.support.page_reader import Reader, cells, heading, words
from tests.support.task_client import TaskClient
from tests.support.tasks import ERROR, claim_next
from tests.support.workflows import settle, sleep

FAN = [sleep("first"), *(sleep(f"part{number}", "first") for number in range(5))]


def made(tasks: TaskClient, *parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    body = {"name": "nightly", "tasks": [*parts], **fields}
    answer = tasks.http.post("/api/v1/workflows/", headers=tasks.headers, json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def run_next(ending: ends.Ending | None = None) -> None:
    """Run what is ready."""
    with SessionLocal() as db:
        for claimed in claim_next(db):
            assert ends.end_attempt(db, claimed.id, claimed.attempt, ending or ends.succeeded(1))
        db.commit()
        settle(db)


class TestTheList:
    def test_shows_states_and_filters(self, reader: Reader, tasks: TaskClient) -> None:
        assert "There are no workflows yet" in reader.get("/workflows").text
        made(tasks, *FAN)
        other = made(tasks, sleep("a"), name="weekly")
        reader.post(f"/workflows/{other['id']}/cancel", confirmed="true")
        weekly, nightly = cells(reader.get("/workflows").text, "workflows")
        assert (weekly[:2], weekly[3]) == (["weekly", "revoked"], "1 / 1")
        assert (nightly[:2], nightly[3]) == (["nightly", "pending"], "0 / 6")
        (found,) = cells(reader.get("/workflows?status=revoked").text, "workflows")
        assert found[0] == "weekly"
        assert len(cells(reader.get("/workflows?status=&name=").text, "workflows")) == 2
        assert [row[0] for row in cells(reader.get("/workflows?name=night").text, "workflows")] == ["nightly"]
        assert "No workflow matches." in reader.get("/workflows?name=x").text
        assert dependents.flush_releases(10)


class TestOne:
    def test_its_name_is_a_text(self, reader: Reader, tasks: TaskClient) -> None:
        workflow = made(tasks, sleep("<i>ref</i>", name="<i>task</i>"), name="<i>name</i>")
        reader.post(f"/workflows/{workflow['id']}/cancel", confirmed="true")
        for path in ("/workflows", f"/workflows/{workflow['id']}", "/workflows?name=<i>"):
            page = reader.get(path).text
            assert "&lt;i&gt;name" in page
            assert "<i>" not in page
        asked = reader.post(f"/workflows/{workflow['id']}/delete").text
        assert ("&lt;i&gt;name" in asked, "<i>" in asked) == (True, False)

    def test_folds_equal_siblings_and_shows_when_they_ran(self, reader: Reader, tasks: TaskClient) -> None:
        workflow = made(tasks, *FAN)
        run_next()
        page = reader.get(f"/workflows/{workflow['id']}").text
        assert heading(page) == "nightly"
        assert "1 of 6 tasks have ended" in words(page)
        first, parts = cells(page, "layers")
        assert first[:3] == ["1", "first", "succeeded"]
        assert (parts[0], parts[2]) == ("2", "pending")
        assert parts[1].startswith("part0 and 4 more")
        graph = page.partition('id="graph"')[2].partition("</svg>")[0]
        assert re.findall(r'<g class="(\w+)', graph) == ["succeeded", "pending"]
        assert "× 5 · pending" in graph
        assert len(re.findall(r"<path", graph)) == 1
        link = f"/ui/tasks/{workflow['tasks'][0]['id']}"
        assert link in graph
        assert [row[0] for row in cells(page, "times")] == ["first"]
        assert f"/ui/workflows/{workflow['id']}" in reader.get(link.removeprefix("/ui")).text
        assert 'data-refresh="2000"' in page

    def test_says_first_what_failed(self, reader: Reader, tasks: TaskClient) -> None:
        workflow = made(tasks, sleep("a"), sleep("b", "a"))
        run_next(ends.failed(ERROR))
        page = reader.get(f"/workflows/{workflow['id']}").text
        assert "failed 1 task failed: a" in words(page.partition('class="lead">')[2].partition("</p>")[0])
        assert "Critical path, " in page
        assert 'data-refresh="2000"' not in page

    def test_of_more_than_a_picture_lists_the_layers(self, reader: Reader, tasks: TaskClient) -> None:
        parts = [sleep("n0"), *(sleep(f"n{number}", f"n{number // 2}") for number in range(1, 400))]
        parts[1]["depends_on"] = ["n0"]
        workflow = made(tasks, *parts)
        page = reader.get(f"/workflows/{workflow['id']}").text
        assert "More than 150 different places are no picture any more" in page
        assert 'id="graph"' not in page
        assert len(cells(page, "layers")) == 200
        assert "more are left out." in page


class TestDeeds:
    def test_cancel_asks_first(self, reader: Reader, tasks: TaskClient) -> None:
        workflow = made(tasks, sleep("a"))
        path = f"/workflows/{workflow['id']}"
        assert "Cancel this workflow?" in reader.post(f"{path}/cancel").text
        assert reader.post(f"{path}/cancel", confirmed="true").headers["location"] == f"/ui{path}"
        assert "The workflow is cancelled" in reader.get(path).text
        assert dependents.flush_releases(10)

    def test_retry_runs_what_failed_again(self, reader: Reader, tasks: TaskClient) -> None:
        workflow = made(tasks, sleep("a"), sleep("b", "a"))
        run_next(ends.failed(ERROR))
        path = f"/workflows/{workflow['id']}"
        assert reader.post(f"{path}/retry").status_code == 303
        page = reader.get(path).text
        assert "What failed or was revoked runs again." in page
        assert [row[2] for row in cells(page, "layers")] == ["pending", "pending"]

    def test_delete_asks_first_and_leads_to_the_list(self, reader: Reader, tasks: TaskClient) -> None:
        workflow = made(tasks, sleep("a"))
        run_next()
        path = f"/workflows/{workflow['id']}"
        assert "Delete this workflow, with all its tasks" in reader.post(f"{path}/delete").text
        assert reader.post(f"{path}/delete", confirmed="true").headers["location"] == "/ui/workflows"
        assert reader.get(path).status_code == 404

    def test_of_another_user_is_not_found(self, reader: Reader, stranger: Reader, tasks: TaskClient) -> None:
        path = f"/workflows/{made(tasks, sleep('a'))['id']}"
        assert stranger.get(path).status_code == 404
        for deed in ("cancel", "retry", "delete"):
            assert stranger.post(f"{path}/{deed}", confirmed="true").status_code == 404
        assert reader.get(path).status_code == 200
