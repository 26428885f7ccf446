"""The page of a task: its error, its log, and what it links to."""

import json
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from app.db.session import SessionLocal
from app.db.sql import attached_rows, attached_rows as output, attached_rows as statements
from app.models.task import LogLine
from app.services.execution import ends
from app.services.operations import limit_service
from app.services.task_service import task_service
from app.services.tasks import task_changes
from app.web.responses import MAX_JSON_BYTES
from tests.support.page_reader import Reader, cells
from tests.support.settings import sql
from tests.support.task_client import BODY, TaskClient
from tests.support.tasks import ERROR, claim, retried

FIRST = 1 << 32
LEVELS = {"DEBUG": 10, "WARNING": 30, "ERROR": 40}


@pytest.fixture
def logged(tasks: TaskClient) -> str:
    """A task that has a line of each of LEVELS, called as that."""
    task = tasks.task_in("succeeded")
    lines: list[LogLine] = [
        (number, f"2026-11-30T05:00:0{at}Z", number, "a.logger", f"a {level} line", "{}")
        for at, (level, number) in enumerate(LEVELS.items())
    ]
    with SessionLocal() as db:
        assert statements.write_log(db, UUID(task), 1, lines, -1)
        db.commit()
    return task


def lines(page: str) -> list[str]:
    return re.findall(r"a (\w+) line", page)


class TestTheLog:
    def test_shows_all_lines_or_those_of_a_level_and_above(self, reader: Reader, logged: str) -> None:
        shown = {"": [*LEVELS], "?level=": [*LEVELS], "?level=WARNING": ["WARNING", "ERROR"], "?level=CRITICAL": []}
        for query, levels in shown.items():
            page = reader.get(f"/tasks/{logged}{query}").text
            assert lines(page) == levels, query
            assert lines(reader.get(f"/tasks/{logged}/logs{query}").text) == levels, query
        assert 'data-logs="/ui/tasks/' in page
        assert 'logs?level=CRITICAL&amp;"' in page
        assert reader.get(f"/tasks/{logged}?level=LOUD").status_code == 422

    def test_is_downloaded_as_text(self, reader: Reader, logged: str) -> None:
        answer = reader.get(f"/tasks/{logged}/log.txt")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["content-disposition"] == f'attachment; filename="{logged}.log.txt"'
        assert answer.text.splitlines() == [
            f"2026-11-30T05:00:0{at}+00:00 {level:<8} a.logger: a {level} line" for at, level in enumerate(LEVELS)
        ]

    def test_that_does_not_fit_into_a_file_says_where_the_rest_is(
        self, reader: Reader, logged: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.web.views.task.LINES_OF_FILE", 2)
        last = reader.get(f"/tasks/{logged}/log.txt").text.splitlines()[-1]
        assert last == f"Cut here: GET /api/v1/tasks/{logged}/logs?after=30 lists the rest."

    def test_is_not_for_others(self, stranger: Reader, logged: str) -> None:
        for path in (f"/tasks/{logged}", f"/tasks/{logged}/logs", f"/tasks/{logged}/log.txt"):
            assert stranger.get(path).status_code == 404, path


class TestTheOutput:
    """Texts of the stream `output` are read as one; the rest stands by line, with the stream's name."""

    @pytest.fixture
    def emitted(self, tasks: TaskClient) -> str:
        task = tasks.task_in("running")
        chunks = [
            output.Chunk(FIRST + number, stream, "2026-11-30T05:00:00Z", json_text, 200)
            for number, (stream, json_text) in enumerate(
                [("output", '"one <b>"'), ("output", '" two"'), ("rows", '{"n":1}'), ("output", "3"), ("err", '"no"')],
                1,
            )
        ]
        with SessionLocal() as db:
            assert output.write_output(db, UUID(task), 1, chunks, has_ended=False)
            db.commit()
        return task

    def test_is_shown_beside_the_log(self, reader: Reader, emitted: str) -> None:
        page = reader.get(f"/tasks/{emitted}").text
        assert '<bdi class="message">one &lt;b&gt;</bdi></li><li' in page
        assert '<bdi class="message"> two</bdi></li><li' in page
        assert [*re.findall(r'"level">(\w+)</span> <bdi class="message">(.*?)</bdi>', page)] == [
            ("rows", "{&#34;n&#34;: 1}"),
            ("output", "3"),
            ("err", "no"),
        ]
        assert f'data-logs="/ui/tasks/{emitted}/output?" data-follows' in page

    def test_that_comes_later_is_asked_for(self, reader: Reader, emitted: str) -> None:
        page = reader.get(f"/tasks/{emitted}/output?after={FIRST + 4}").text
        assert re.findall(r"<li.*</li>", page) == [
            f'<li data-seq="{FIRST + 5}"><span class="level">err</span> <bdi class="message">no</bdi></li>'
        ]
        assert "<li" not in reader.get(f"/tasks/{emitted}/output?after={FIRST + 5}").text

    def test_of_another_attempt_says_so(self, reader: Reader, tasks: TaskClient, emitted: str) -> None:
        with SessionLocal() as db:
            retried(db, task_service.get_task(db, UUID(emitted)))
            claim(db, task_service.get_task(db, UUID(emitted)))
            second = output.Chunk(2 * FIRST + 1, "output", "2026-11-30T05:00:00Z", '"again"', 200)
            assert output.write_output(db, UUID(emitted), 2, [second], has_ended=False)
            db.commit()
        heading = f'<li class="quiet" data-seq="{2 * FIRST}">Attempt 2</li><li data-seq="{2 * FIRST + 1}" class="text">'
        for path in ("", f"/output?after={FIRST + 5}"):
            assert heading in reader.get(f"/tasks/{emitted}{path}").text
        assert heading not in reader.get(f"/tasks/{emitted}/output?after={2 * FIRST}").text

    def test_that_is_too_long_says_that_it_is_the_end(
        self, reader: Reader, emitted: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sentence = "The API lists what comes before."
        assert sentence not in reader.get(f"/tasks/{emitted}").text
        monkeypatch.setattr("app.web.views.task.CHUNKS", 2)
        page = reader.get(f"/tasks/{emitted}").text
        assert sentence in page
        assert "one" not in re.findall(r'class="message">(\w+)', page)

    def test_is_not_for_others(self, stranger: Reader, emitted: str) -> None:
        assert stranger.get(f"/tasks/{emitted}/output").status_code == 404


def test_the_traceback_of_the_last_failure_stands_open_and_leads_to_its_group(
    reader: Reader, tasks: TaskClient
) -> None:
    task = tasks.task_in("failed")
    page = reader.get(f"/tasks/{task}").text
    assert "<details open><summary>Traceback</summary>" in page
    ((fingerprint,),) = sql("SELECT error_fingerprint FROM tasks WHERE id = :id", id=UUID(task))
    assert f'href="/ui/errors/{fingerprint}"' in page


def test_what_is_hidden_and_what_not_stands_where_it_is_hidden(reader: Reader, tasks: TaskClient) -> None:
    said = "A secret below another name or in a plain text, such as a result, is shown."
    for metadata, times in (({"password": "x1y2z3"}, 1), ({"note": "x1y2z3"}, 0)):
        text = reader.get(f"/tasks/{tasks.create(metadata=metadata)['id']}").text
        assert (text.count(said), "x1y2z3" in text) == (times, not times)


def test_a_result_comes_before_the_arguments(reader: Reader, tasks: TaskClient) -> None:
    page = reader.get(f"/tasks/{tasks.task_in('succeeded', args=[5])}").text
    assert 0 < page.index('id="result"') < page.index('id="args"')


class TestACancelledTask:
    """Its page says by whom, without a name to those who may not read the audit."""

    @pytest.fixture
    def said(self, reader: Reader, administrator: Reader) -> Callable[[str], list[str]]:
        def of_both(task: str) -> list[str]:
            pages = [browser.get(f"/tasks/{task}").text for browser in (reader, administrator)]
            return [" ".join(re.findall(r'class="why">.*?(Cancelled[^<]*)<', page)) for page in pages]

        return of_both

    @pytest.mark.parametrize("state", ["pending", "running"])
    def test_was_cancelled_by_its_owner_or_an_administrator(
        self, reader: Reader, administrator: Reader, tasks: TaskClient, said: Callable[[str], list[str]], state: str
    ) -> None:
        task = tasks.task_in(state)
        assert said(task) == ["", ""]
        reader.post(f"/tasks/{task}/cancel", confirmed="true")
        assert said(task) == ["Cancelled by you.", f"Cancelled by {tasks.user['username']}."]
        task = tasks.task_in(state)
        administrator.post(f"/tasks/{task}/cancel", confirmed="true")
        assert said(task) == ["Cancelled by an administrator.", "Cancelled by you."]

    def test_that_was_retried_and_cancelled_with_others_says_nothing_of_the_cancel_before(
        self, reader: Reader, tasks: TaskClient, said: Callable[[str], list[str]]
    ) -> None:
        task = tasks.task_in("pending")
        reader.post(f"/tasks/{task}/cancel", confirmed="true")
        reader.post(f"/tasks/{task}/retry")
        assert said(task) == ["", ""]
        with SessionLocal() as db:
            task_changes.revoke_all_pending(db, [UUID(task)])
            db.commit()
        assert said(task) == ["", ""]

    def test_made_room_for_a_newer_one(self, tasks: TaskClient, said: Callable[[str], list[str]]) -> None:
        with SessionLocal() as db:
            limit_service.put_limit(db, "one", concurrency=1, on_excess="cancel_oldest")
        task = tasks.create(limit="one")["id"]
        tasks.create(limit="one")
        assert said(task) == ["Cancelled by the limit one, to make room for a newer task."] * 2


@pytest.mark.parametrize(("who", "is_shown"), [("reader", False), ("administrator", True)])
def test_what_only_administrators_may_open_is_linked_for_them_alone(
    request: pytest.FixtureRequest, tasks: TaskClient, who: str, is_shown: bool
) -> None:
    task = tasks.task_in("succeeded")
    page = request.getfixturevalue(who).get(f"/tasks/{task}").text
    for link in (f"/users/{tasks.user['id']}", f"/audit?object_id={task}", "/workers/"):
        assert (f'href="/ui{link}' in page) is is_shown, link
    assert 'href="/ui/queues/default"' in page


class TestLargeJson:
    def test_a_page_shows_so_much_of_it_and_says_where_the_rest_is(self, reader: Reader) -> None:
        """Each value is indented by its depth: of 180 KB there were 11 MB."""
        value: Any = [1] * 20_000
        for _ in range(60):
            value = [value]
        task_id = self.create(reader, value)
        page = reader.get(f"/tasks/{task_id}")
        assert len(page.text) < 2 * MAX_JSON_BYTES
        assert f'href="/ui/tasks/{task_id}/task.json" download' in page.text
        whole = reader.get(f"/tasks/{task_id}/task.json").json()
        assert (whole["kwargs"]["x"], whole["id"]) == (value, task_id)
        assert reader.get(f"/tasks/{task_id}").status_code == 200

    def test_what_fits_is_whole(self, reader: Reader) -> None:
        page = reader.get(f"/tasks/{self.create(reader, ['<b>', {'a': 'é'}])}").text
        assert "Cut here" not in page
        assert "&#34;a&#34;: &#34;é&#34;" in page

    @staticmethod
    def create(reader: Reader, value: Any) -> str:
        body = BODY | {"args": [0.1], "kwargs": {"x": value}}
        answer = reader.post("/new", celery_task_name=body["celery_task_name"], by="json", json=json.dumps(body))
        assert answer.status_code == 303, answer.text[:300]
        return answer.headers["location"].rpartition("/")[2]


def with_steps(tasks: TaskClient) -> str:
    """A task that has failed after two steps."""
    task = tasks.task_in("running")
    with SessionLocal() as db:
        for number, name in enumerate(("one", "two"), 1):
            assert attached_rows.write_step(db, UUID(task), 1, attached_rows.Step(number, name, 0.5, '{"rows":3}', 300))
        assert ends.end_attempt(db, UUID(task), 1, ends.failed(ERROR))
        db.commit()
    return task


class TestSteps:
    def test_are_a_table_that_says_which_attempt_ran_them(self, reader: Reader, tasks: TaskClient) -> None:
        shown = reader.get(f"/tasks/{with_steps(tasks)}").text
        assert [row[:3] for row in cells(shown, "steps")] == [["one", "500 ms", "1"], ["two", "500 ms", "1"]]
        assert 'id="steps"' in shown
        assert "Retry from the start" in shown
        assert "Retry from the start" not in reader.get(f"/tasks/{tasks.task_in('failed')}").text

    def test_are_done_again_after_a_retry_from_the_start(self, reader: Reader, tasks: TaskClient) -> None:
        for form, left in (({}, ["one", "two"]), ({"from_start": "true"}, [])):
            task = with_steps(tasks)
            assert reader.post(f"/tasks/{task}/retry", **form).status_code == 303
            assert [step["name"] for step in tasks.get(f"{task}/steps").json()] == left
