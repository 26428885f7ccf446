"""The list of tasks as a page: what it shows of each, how it is sorted, and how a search is narrowed down."""

import re

import pytest
from sqlalchemy import text

from app.core.config import get_settings
from app.db.statements import task_streams
from tests.support.databases import ENGINE, SLOW
from tests.support.page_reader import Reader, words
from tests.support.task_client import TaskClient


def cell(page: str, name: str) -> list[str]:
    """The texts of the cells of this class, one of each row."""
    found = re.findall(rf'<td class="{name}">(.*?)</td>', page, re.DOTALL)
    return [words(each) for each in found]


class TestARow:
    def test_says_what_becomes_of_the_task(self, reader: Reader, tasks: TaskClient) -> None:
        for status in ("failed", "pending"):
            tasks.task_in(status)
        tasks.create(delay_seconds=7200)
        due, waits, failed = cell(reader.get("/tasks").text, "now")
        assert "due in 1 h" in due
        assert "no worker for it" in waits
        assert "ValueError: no" in failed

    def test_names_the_owner_to_administrators_alone(
        self, reader: Reader, administrator: Reader, tasks: TaskClient
    ) -> None:
        tasks.task_in("succeeded")
        path = f"/tasks?q=user:{tasks.user['id']}"
        page = administrator.get(path).text
        assert cell(page, "owner") == [tasks.user["username"]]
        assert f"<bdi>user:{tasks.user['username']}</bdi> ×" in page
        assert cell(reader.get(path).text, "owner") == []


class TestTheSelectionOfAll:
    def selected(self, reader: Reader, query: str) -> str:
        (label,) = re.findall(r"data-select-all> <span>([^<]+)</span>", reader.get(f"/tasks?{query}").text)
        return str(label)

    def test_says_how_many_match_whatever_is_searched(
        self, reader: Reader, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(3):
            tasks.create(name=f"report {number}", tags=["a"])
        tasks.create()
        searches = {"": "4", "q=status:pending": "4", "q=tag:a": "3", "q=report": "3", "q=tag:a&sort=wait": "3"}
        found = {query: f"all {number} that match" for query, number in searches.items()}
        assert {query: self.selected(reader, query) for query in searches} == found
        monkeypatch.setattr("app.web.views.tasks.ROWS", 1)  # more than a page
        assert {query: self.selected(reader, query) for query in searches} == found
        monkeypatch.setattr("app.services.tasks.task_counts.MOST_COUNTED_ROWS", 2)
        assert self.selected(reader, "q=tag:a") == "all 2+ that match"

    def test_reads_the_rows_of_the_filters_once(
        self, reader: Reader, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(3):
            tasks.create(tags=["a"])
        monkeypatch.setattr("app.web.views.tasks.ROWS", 1)
        monkeypatch.delattr("app.services.tasks.task_counts.count_newest")
        assert self.selected(reader, "q=tag:a&filters=true") == "all 3 that match"
        monkeypatch.setattr("app.services.tasks.task_counts.MOST_COUNTED_ROWS", 2)
        assert self.selected(reader, "q=tag:a&filters=true") == "all 2+ that match"

    def test_has_no_number_where_counting_takes_too_long(
        self, reader: Reader, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(2):
            tasks.create(tags=["a"])
        monkeypatch.setattr("app.web.views.tasks.ROWS", 1)
        monkeypatch.setattr(get_settings(), "database_costly_read_seconds", 0.5)
        monkeypatch.setattr(task_streams, "values_of_newest", lambda db, *_: db.execute(text(SLOW[ENGINE])))
        assert self.selected(reader, "q=tag:a") == "all that match"


class TestSorting:
    def test_says_among_how_many_and_follows_no_newer_ones(self, reader: Reader, tasks: TaskClient) -> None:
        tasks.task_in("pending")
        ran = tasks.task_in("succeeded")
        page = reader.get("/tasks?sort=duration").text
        assert re.findall(r'<tr data-task-id="([^"]+)"', page) == [ran]
        assert "among the newest 10,000 tasks" in page
        assert "data-refresh=" not in page

    def test_leads_on_by_the_same_order(
        self, reader: Reader, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.web.views.tasks.ROWS", 1)
        for _ in range(2):
            tasks.task_in("succeeded")
        (following,) = re.findall(r'rel="next" href="/ui([^"]+)"', reader.get("/tasks?sort=wait").text)
        page = reader.get(following.replace("&amp;", "&")).text
        assert (page.count("<tr data-task-id="), 'rel="next"' in page) == (1, False)

    @pytest.mark.parametrize("query", ["sort=name", "sort=wait&skip=10000", "sort=wait&skip=-1"])
    def test_by_something_else_is_refused(self, reader: Reader, query: str) -> None:
        assert reader.get(f"/tasks?{query}").status_code == 422


class TestFilters:
    def test_lead_to_the_search_that_they_count(self, reader: Reader, tasks: TaskClient) -> None:
        for priority in ("low", "low", "high"):
            tasks.create(priority=priority, tags=["two words"])
        page = reader.get("/tasks?q=tag:%22two+words%22&filters=true").text
        found = dict(re.findall(r'<li><a href="/ui(/tasks\?q=[^"]+queue[^"]+)".*?<b>([^<]+)</b>', page))
        assert sorted(found.values()) == ["1", "2"]
        for path, number in found.items():
            assert reader.get(path).text.count("<tr data-task-id=") == int(number)
        assert "<h2>Queue</h2>" in page

    def test_come_by_themselves_for_an_open_page(self, reader: Reader, tasks: TaskClient) -> None:
        tasks.create()
        assert "<h2>Queue</h2>" in reader.get("/facets?q=").text
        assert "<h2>Queue</h2>" not in reader.get("/tasks").text

    def test_by_user_are_for_administrators(
        self, reader: Reader, administrator: Reader, tasks: TaskClient
    ) -> None:  # fmt: skip
        tasks.create()
        assert "<h2>User</h2>" not in reader.get("/facets").text
        assert "<h2>User</h2>" in administrator.get("/facets").text
        of_one = administrator.get(f"/tasks?q=user:{tasks.user['username']}&filters=true")
        assert (of_one.status_code, "<h2>Queue</h2>" in of_one.text, "<h2>User</h2>" in of_one.text) == (
            200,
            True,
            False,
        )

    def test_of_a_search_that_is_not_understood_are_none(self, reader: Reader, tasks: TaskClient) -> None:
        tasks.create()
        assert "<h2>" not in reader.get("/facets?q=user:nobody").text
