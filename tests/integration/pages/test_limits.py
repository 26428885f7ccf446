"""The page of limits: what each lets run, what is in use of it, and how administrators set and delete one."""

import re
from typing import Any

import pytest

from app.services.operations import limit_service
from tests.support.at_work import a_worker, running
from tests.support.page_reader import Reader, cells, heading
from tests.support.task_client import BODY, TaskClient
from tests.support.tasks import flush_admitter

pytestmark = pytest.mark.usefixtures("fresh_picture")

LIMIT = {"name": "licences", "concurrency": "3", "rate_count": "100", "rate_period_seconds": "60", "on_excess": "wait"}


class TestLimits:
    def test_are_made_changed_and_deleted(self, administrator: Reader, admin: TaskClient) -> None:
        def bounds() -> list[dict[str, Any]]:
            names = ("name", "concurrency", "concurrency_per_key", "rate", "on_excess")
            found = admin.http.get("/api/v1/limits/", headers=admin.headers).json()
            return [{name: limit[name] for name in names} for limit in found]

        made = administrator.post("/limits", new="true", **LIMIT)
        assert (made.status_code, made.headers["location"]) == (303, "/ui/limits")
        assert "The limit is set." in administrator.get("/limits").text
        rate = {"count": 100, "period_seconds": 60.0}
        assert bounds() == [
            {"name": "licences", "concurrency": 3, "concurrency_per_key": None, "rate": rate, "on_excess": "wait"}
        ]
        assert 'href="/ui/limits?change=licences"' in administrator.get("/audit?object_id=licences").text
        form = administrator.get("/limits?change=licences").text
        assert re.findall(r'name="(\w+)" type="number" value="([^"]+)"', form) == [
            ("concurrency", "3"), ("rate_count", "100"), ("rate_period_seconds", "60"),
        ]  # fmt: skip
        changed = {"name": "licences", "concurrency_per_key": "1", "on_excess": "reject"}
        assert administrator.post("/limits", **changed).status_code == 303
        assert bounds() == [
            {"name": "licences", "concurrency": None, "concurrency_per_key": 1, "rate": None, "on_excess": "reject"}
        ]
        waits = admin.create(limit="licences", delay_seconds=3600)["id"]
        used = administrator.post("/limits/licences/delete", confirmed="true")
        assert (used.status_code, heading(used.text)) == (409, "Limits")
        assert "Pending or running tasks name the limit" in used.text
        assert admin.http.post(f"/api/v1/tasks/{waits}/cancel", headers=admin.headers).status_code == 200
        assert heading(administrator.post("/limits/licences/delete").text) == "Delete: licences"
        assert administrator.post("/limits/licences/delete", confirmed="true").status_code == 303
        assert bounds() == []

    @pytest.mark.parametrize(
        ("typed", "what"),
        [
            ({"concurrency": "many"}, 'id="concurrency-error"'), ({"concurrency": "0"}, 'id="concurrency-error"'),
            ({"concurrency": "", "rate_count": "", "rate_period_seconds": ""}, "<li>Set at least one"),
            ({"rate_period_seconds": ""}, 'id="rate_period_seconds-error"'), ({"name": "a b"}, 'id="name-error"'),
            ({"on_excess": "x"}, 'id="on_excess-error"'),
            ({"name": "taken"}, 'id="name-error">There is a limit of this name'),
        ],
    )  # fmt: skip
    def test_that_are_wrong_are_refused_with_what_was_typed(
        self, administrator: Reader, typed: dict[str, str], what: str
    ) -> None:  # fmt: skip
        administrator.post("/limits", new="true", name="taken", concurrency="1")
        answer = administrator.post("/limits", new="true", **LIMIT | typed)
        assert (answer.status_code, what in answer.text) == (422, True)
        assert 'role="alert"' in answer.text
        assert answer.text.count("autofocus") == ("-error" in what)
        for name, value in (LIMIT | typed).items():
            assert not value or name == "on_excess" or f'value="{value}"' in answer.text, name

    def test_are_refused_in_the_readers_language(self, administrator: Reader) -> None:
        administrator.cookies["language"] = "zh"
        for form, said in (({"name": "a", "concurrency": "0"}, "必须"), ({"name": "a"}, "至少")):
            page = administrator.post("/limits", new="true", **form).text
            assert said in page.partition('id="limit"')[2]

    def test_show_what_is_in_use_by_key_and_what_waits(
        self, administrator: Reader, reader: Reader, tasks: TaskClient
    ) -> None:
        administrator.post("/limits", new="true", name="licences", concurrency="2", concurrency_per_key="1")
        worker = a_worker()
        running(tasks, worker, limit="licences", limit_key="acme", name="holder")
        tasks.create(limit="licences", limit_key="acme")
        flush_admitter()
        page = administrator.get("/limits").text
        (row,) = cells(page, "limits")
        assert (row[0], row[1], row[3], row[5]) == ("licences", "1 of 2", "1", "acme 1 of 1 holder")
        assert 'href="/ui/tasks?q=waiting%3Alimit%20limit%3Alicences"' in page
        (row,) = cells(reader.get("/limits").text, "limits")
        assert (row[:4], "acme" in str(row)) == (["licences", "1 of 2", "–", "1"], False)

    def test_tell_users_no_waiting_tasks_of_others(
        self, administrator: Reader, stranger: Reader, tasks: TaskClient
    ) -> None:
        administrator.post("/limits", new="true", name="licences", concurrency="1")
        running(tasks, a_worker(), limit="licences")
        tasks.create(limit="licences")
        flush_admitter()
        (row,) = cells(stranger.get("/limits").text, "limits")
        assert row[3] == "0"

    def test_count_no_more_than_they_say(
        self, administrator: Reader, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:  # fmt: skip
        administrator.post("/limits", new="true", name="licences", concurrency="1")
        running(tasks, a_worker(), limit="licences")
        tasks.post("batch", {"tasks": [BODY | {"limit": "licences"}] * 3})
        flush_admitter()
        monkeypatch.setattr(limit_service, "MOST_WAITING", 2)
        (row,) = cells(administrator.get("/limits").text, "limits")
        assert row[3] == "2+"

    def test_are_set_by_administrators_alone(self, administrator: Reader, reader: Reader) -> None:
        administrator.post("/limits", new="true", **LIMIT)
        page = reader.get("/limits").text
        assert ("licences" in page, "New limit" in page, "Delete" in page) == (True, False, False)
        assert reader.post("/limits", **LIMIT).status_code == 403
        assert reader.post("/limits/licences/delete", confirmed="true").status_code == 403
