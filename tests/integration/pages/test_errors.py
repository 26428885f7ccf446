"""The pages of errors: a line for each group, in the order and with the words that are asked for, and a page for each."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from app.db.session import SessionLocal
from app.models.error_group import ErrorGroup
from app.services.execution import ends
from app.services.execution.attempts import AttemptError
from app.services.tasks import task_counts
from app.web.views import errors as view
from tests.support.page_reader import Reader, heading
from tests.support.task_client import TaskClient
from tests.support.tasks import claim, new_task

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def fail(tasks: TaskClient, kind: str, message: str, number: int = 1, **seen: datetime) -> str:
    """So many tasks that fail with this error. Returns the fingerprint of their group, whose times are `seen`."""
    with SessionLocal() as db:
        for _ in range(number):
            task = new_task(db, tasks.user["id"], name=f"{kind} of a task")
            error = AttemptError(kind, message, f"Traceback of {kind}: <b>here</b>", kind)
            ends.end_attempt(db, task.id, claim(db, task).attempt, ends.failed(error))
        db.commit()
        task_counts.fold(db)
        (fingerprint,) = db.query(ErrorGroup.fingerprint).filter_by(error_type=kind).one()
        if seen:
            db.execute(update(ErrorGroup).where(ErrorGroup.fingerprint == fingerprint).values(**seen))
            db.commit()
    return str(fingerprint)


def kinds(page: str) -> list[str]:
    return re.findall(r'class="what"[^>]*><bdi><b>(\w+)</b>', page)


def four(tasks: TaskClient) -> None:
    """Groups that stand in another order by each column: B and D failed equally often."""
    for kind, number, first, last in (("A", 1, 4, 1), ("B", 2, 3, 4), ("C", 3, 1, 3), ("D", 2, 2, 2)):
        times = {"first_seen": NOON - timedelta(hours=first), "last_seen": NOON + timedelta(hours=last)}
        fail(tasks, kind, f"message of {kind}", number, **times)


class TestTheList:
    def test_is_sorted_and_its_pages_leave_nothing_out(
        self, reader: Reader, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        four(tasks)
        monkeypatch.setattr(view, "ROWS", 1)
        orders = {"last_seen": ["B", "C", "D", "A"], "first_seen": ["C", "D", "B", "A"], "count": ["C", "?", "?", "A"]}
        for sort, wanted in orders.items():
            path, found = f"/errors?sort={sort}", []
            for _ in range(4):
                page = reader.get(path).text
                found += kinds(page)
                path = next(iter(re.findall(r'rel="next" href="/ui([^"]+)"', page)), "").replace("&amp;", "&")
            assert path == "", sort
            assert sorted(found) == ["A", "B", "C", "D"], sort
            assert all(each in (kind, "?") for each, kind in zip(wanted, found, strict=True)), (sort, found)

    def test_says_what_it_is_sorted_by(self, reader: Reader, tasks: TaskClient) -> None:
        fail(tasks, "A", "m")
        page = reader.get("/errors?sort=count").text
        assert re.findall(r'aria-sort="descending"><a href="([^"]+)"', page) == ["/ui/errors?sort=count"]
        assert 'href="/ui/errors?sort=first_seen"' in page

    @pytest.mark.parametrize(
        ("text", "found"),
        [("VALUE", ["ValueError"]), ("row é", ["KeyError"]), ("long_running", 2), ("%", []), ("x", [])],
    )
    def test_is_searched_by_type_message_and_task(
        self, reader: Reader, tasks: TaskClient, text: str, found: Any
    ) -> None:  # fmt: skip
        fail(tasks, "ValueError", "no")
        fail(tasks, "KeyError", "Row É is missing")
        page = reader.get(f"/errors?q={text.replace('%', '%25')}").text
        assert kinds(page) == found if isinstance(found, list) else len(kinds(page)) == found
        number = len(found) if isinstance(found, list) else found
        assert f"open <b>{number}</b>" in page
        if not number:
            assert "No error matches." in page

    def test_keeps_its_state_in_its_links(self, reader: Reader, tasks: TaskClient) -> None:
        fail(tasks, "A", "m")
        page = reader.get("/errors?q=m&sort=count").text.replace("&amp;", "&")
        assert 'href="/ui/errors?state=resolved&q=m&sort=count"' in page
        assert '<input type="hidden" name="sort" value="count">' in page
        assert 'name="back" value="/errors?q=m&sort=count"' in page

    def test_tells_the_scale_of_its_trend(self, reader: Reader, tasks: TaskClient) -> None:
        fail(tasks, "A", "m", 3)
        page = reader.get("/errors").text
        assert 'aria-label="Failures of the last 24 hours: 3, at most 3 in an hour"' in page
        assert "≤ 3/h" in page

    def test_names_the_owner_to_administrators(self, reader: Reader, administrator: Reader, tasks: TaskClient) -> None:
        fail(tasks, "A", "m")
        user = tasks.user["id"]
        assert f'href="/ui/errors?user={user}"' in administrator.get("/errors").text
        assert kinds(administrator.get(f"/errors?user={user}").text) == ["A"]
        assert kinds(administrator.get("/errors?user=00000000-0000-0000-0000-000000000001").text) == []
        assert "Owner" not in reader.get("/errors").text
        assert reader.get("/errors?user=00000000-0000-0000-0000-000000000001").status_code == 403

    @pytest.mark.parametrize("query", ["sort=x", "state=x", "cursor=x", "sort=count&cursor=" + "f" * 48, "user=x"])
    def test_of_nonsense_is_a_page_that_says_so(self, reader: Reader, query: str) -> None:
        answer = reader.get(f"/errors?{query}")
        assert (answer.status_code, "<h1>" in answer.text) == (422, True)


class TestAGroup:
    def test_shows_its_newest_traceback_its_tasks_and_its_workers(
        self, administrator: Reader, tasks: TaskClient
    ) -> None:
        fingerprint = fail(tasks, "KeyError", "'a' is missing", 2)
        page = administrator.get(f"/errors/{fingerprint}").text
        assert heading(page) == "KeyError"
        assert "Traceback of KeyError: &lt;b&gt;here" in page
        assert len(re.findall(r'href="/ui/tasks/[0-9a-f-]{36}" title="KeyError of a task"', page)) == 2
        assert '<a href="/ui/workers/worker%40test"><bdi>worker@test</bdi></a> (2)' in page
        assert f'href="/ui/errors?user={tasks.user["id"]}"' in page
        assert f'href="/ui/tasks?q=error:{fingerprint}"' in page

    def test_has_its_trend_by_day_and_week(self, reader: Reader, tasks: TaskClient) -> None:
        fingerprint = fail(tasks, "A", "m", 2)
        for window in ("24h", "7d"):
            page = reader.get(f"/errors/{fingerprint}?window={window}").text
            assert "failed 2" in page
            assert 'class="failed"' in page
        assert reader.get(f"/errors/{fingerprint}?window=1h").status_code == 422

    def test_that_nothing_is_failed_with_any_more_says_so(self, reader: Reader, tasks: TaskClient) -> None:
        fingerprint = fail(tasks, "A", "m")
        (task,) = tasks.get(error=fingerprint).json()
        assert tasks.post(f"{task['id']}/retry").status_code == 202
        page = reader.get(f"/errors/{fingerprint}").text
        assert "No task is failed with it any more" in page
        assert "Retry all" not in page

    def test_of_another_user_does_not_exist(self, stranger: Reader, tasks: TaskClient) -> None:
        fingerprint = fail(tasks, "A", "secret message")
        for answer in (stranger.get(f"/errors/{fingerprint}"), stranger.post(f"/errors/{fingerprint}/resolve")):
            assert (answer.status_code, "secret message" in answer.text) == (404, False)


class TestADeed:
    @pytest.mark.parametrize("back", ["/errors?q=m&sort=count", "group"])
    def test_leads_back_to_where_it_was_done(self, reader: Reader, tasks: TaskClient, back: str) -> None:
        fingerprint = fail(tasks, "A", "m")
        back = f"/errors/{fingerprint}" if back == "group" else back
        for deed, said in (("resolve", "resolved"), ("reopen", "open again"), ("ignore", "ignored for that time")):
            answer = reader.post(f"/errors/{fingerprint}/{deed}", back=back)
            assert answer.headers["location"] == f"/ui{back}"
            assert said in reader.get(back).text

    def test_leads_to_no_other_site(self, reader: Reader, tasks: TaskClient) -> None:
        fingerprint = fail(tasks, "A", "m")
        for back in ("//evil.example", "https://evil.example", "/\\evil.example", ""):
            answer = reader.post(f"/errors/{fingerprint}/reopen", back=back)
            assert answer.headers["location"] == "/ui/errors"

    def test_ignores_for_days_until_a_time_or_until_it_is_reopened(self, reader: Reader, tasks: TaskClient) -> None:
        fingerprint = fail(tasks, "A", "m")
        ends_at = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(days=2)
        for form, wanted in (
            ({"days": 30}, datetime.now(UTC) + timedelta(days=30)),
            ({"days": 30, "until": ends_at.strftime("%Y-%m-%dT%H:%M")}, ends_at),
            ({"days": 0}, None),
        ):
            assert reader.post(f"/errors/{fingerprint}/ignore", **form).status_code == 303
            group = tasks.http.get(f"/api/v1/errors/{fingerprint}", headers=tasks.headers).json()
            found = group["ignored_until"] and datetime.fromisoformat(group["ignored_until"])
            assert group["state"] == "ignored"
            assert abs(found - wanted) < timedelta(minutes=1) if found and wanted else found is wanted is None

    @pytest.mark.parametrize("until", ["2020-01-01T00:00", "tomorrow", "0001-01-01T00:00+14:00"])
    def test_refuses_a_time_that_is_none_or_has_passed(self, reader: Reader, tasks: TaskClient, until: str) -> None:
        fingerprint = fail(tasks, "A", "m")
        assert reader.post(f"/errors/{fingerprint}/ignore", until=until).status_code == 422
