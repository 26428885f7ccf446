"""The pages of schedules: the list, one with what became of its times, its form with the preview, and what is done."""

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import httpx
import pytest
from sqlalchemy import update

from app.catalogue import catalogue
from app.db.session import SessionLocal
from app.models import Schedule, ScheduleRun
from app.services.schedules.service import schedule_service
from app.services.task_service import task_service
from app.web.views import schedules as list_page, schedules as schedule_page
from tests.support.controls import Controls
from tests.support.error_groups import failed
from tests.support.form_tasks import INVOICE
from tests.support.page_reader import Reader, cells, heading, next_page, words
from tests.support.schedules import TASK, fire_all, rewind
from tests.support.settings import settings
from tests.support.task_client import TaskClient
from tests.support.tasks import LONG_RUNNING, claim

NEW = {
    "celery_task_name": LONG_RUNNING, "name": "report", "task_type": "t", "kwargs.duration": "1",
    "schedule.name": "nightly", "schedule.by": "cron", "schedule.cron": "30 9 * * MON-FRI",
    "schedule.timezone": "Europe/Berlin",
}  # fmt: skip
NO_ZONE = "is no time zone: write an IANA name, such as Europe/Berlin"


def made(tasks: TaskClient, **fields: Any) -> dict[str, Any]:
    start = datetime(2020, 1, 1, tzinfo=UTC).isoformat()
    timing = {} if "cron" in fields else {"every_seconds": 3600, "start_at": start}
    body = {"name": "hourly", "task": TASK, **timing, **fields}
    answer = tasks.http.post("/api/v1/schedules/", headers=tasks.headers, json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def found(tasks: TaskClient, schedule_id: str) -> dict[str, Any]:
    return dict(tasks.http.get(f"/api/v1/schedules/{schedule_id}", headers=tasks.headers).json())


def fired(tasks: TaskClient, times: int = 1, **fields: Any) -> dict[str, Any]:
    """A schedule whose last times are dealt with."""
    schedule = made(tasks, **fields)
    with SessionLocal() as db:
        rewind(db, schedule_service.get_schedule(db, UUID(schedule["id"])), times=times)
        fire_all(db)
    return schedule


def hidden(page: str) -> dict[str, str]:
    """The fields of its forms that nobody sees."""
    return {
        name: html.unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page)
    }


def preview(reader: Reader, typed: dict[str, str]) -> httpx.Response:
    return reader.get(f"/schedules/preview?{urlencode(typed)}")


class TestTheForm:
    def test_creates_a_schedule(self, reader: Reader, tasks: TaskClient) -> None:
        form = Controls(reader.get("/schedules/new").text)
        assert form.focus() == ["schedule.name"]
        answer = reader.post(
            "/schedules/new", **form.fields | NEW | {"schedule.tags": "a, b", "schedule.paused": "true"}
        )
        assert answer.status_code == 303, words(answer.text)
        assert "The schedule is created." in reader.get(answer.headers["location"].removeprefix("/ui")).text
        schedule = found(tasks, answer.headers["location"].rpartition("/")[2])
        assert {name: schedule[name] for name in ("name", "cron", "timezone", "every_seconds", "tags", "paused", "overlap")} == {
            "name": "nightly", "cron": "30 9 * * MON-FRI", "timezone": "Europe/Berlin", "every_seconds": None, "tags": ["a", "b"],
            "paused": True, "overlap": "skip",
        }  # fmt: skip
        assert (schedule["task"]["celery_task_name"], schedule["task"]["kwargs"]) == (LONG_RUNNING, {"duration": 1})
        assert schedule["task"].keys().isdisjoint({"run_at", "delay_seconds", "expires_at"})

    @pytest.mark.parametrize(
        ("typed", "at", "said"),
        [
            ({"schedule.cron": "61 * * * *"}, "schedule.cron", "must be from 0 to 59"),
            ({"schedule.cron": ""}, "schedule.cron", "is required"),
            ({"schedule.timezone": "Europe/Berlim"}, "schedule.timezone", "did you mean Europe/Berlin"),
            ({"schedule.name": ""}, "schedule.name", "is required"),
            ({"schedule.by": "every", "schedule.every_seconds": "soon"}, "schedule.every_seconds", "must be a number"),
            ({"schedule.end_at": "2000-01-01T00:00", "schedule.start_at": "2001-01-01T00:00"}, "schedule.end_at", "not be before"),
            ({"schedule.jitter_seconds": "-1"}, "schedule.jitter_seconds", "must be 0 or more"),
            ({"schedule.metadata": "{"}, "schedule.metadata", "is not JSON"),
            ({"schedule.overlap": "x"}, "schedule.overlap", "must be"),
            ({"kwargs.duration": "x"}, "kwargs.duration", "must be a number"),
            ({"kwargs.duration": ""}, "kwargs.duration", "is required"),
            ({"max_attempts": "0"}, "max_attempts", "must be 1 or more"),
            ({"limit": "none"}, "limit", "is no limit"),
        ],
    )  # fmt: skip
    def test_says_what_is_wrong_at_its_field(
        self, reader: Reader, tasks: TaskClient, typed: dict[str, str], at: str, said: str
    ) -> None:
        answer = reader.post("/schedules/new", **NEW | typed)
        page = Controls(answer.text)
        assert (answer.status_code, heading(answer.text)) == (422, "New schedule")
        assert tasks.http.get("/api/v1/schedules/", headers=tasks.headers).json() == []
        assert said in (page.texts[f"field-{at}-error"] if at else words(answer.text))
        assert page.focus() == [at or "schedule.name"]
        for name, value in (NEW | typed).items():
            if name != "schedule.overlap":
                assert page.fields[name] == value, name

    def test_says_all_that_is_wrong_at_once(self, reader: Reader) -> None:
        typed = {"schedule.name": "", "schedule.cron": "61 * * * *", "schedule.timezone": "Mars", "kwargs.duration": ""}
        answer = reader.post("/schedules/new", **NEW | typed | {"schedule.jitter_seconds": "-1"})
        said = {name for name in Controls(answer.text).texts if name.endswith("-error")}
        wrong = {*typed, "schedule.jitter_seconds"}
        assert (answer.status_code, said) == (422, {f"field-{name}-error" for name in wrong})

    def test_says_what_is_wrong_in_chinese(self, reader: Reader) -> None:
        reader.cookies["language"] = "zh"
        page = Controls(reader.post("/schedules/new", **NEW | {"schedule.cron": "* * *"}).text)
        assert "必须" in page.texts["field-schedule.cron-error"]

    def test_adds_rows_and_turns_to_json_and_back_without_losing_its_times(
        self, reader: Reader, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(catalogue(), INVOICE.celery_task_name, INVOICE)
        form = Controls(reader.get(f"/schedules/new?task={INVOICE.celery_task_name}").text).fields
        times = {name: value for name, value in NEW.items() if name.startswith("schedule.")}
        form |= times | {"kwargs.customer": "ACME", "kwargs.to.street": "road"}
        form = Controls(reader.post("/schedules/new", **form, edit="add kwargs.lines").text).fields
        form["kwargs.lines.0.article"] = "a"
        by_json = Controls(reader.post("/schedules/new", **form, show="json").text).fields
        assert by_json["by"] == "json"
        form = Controls(reader.post("/schedules/new", **by_json, show="form").text).fields
        assert {name: form[name] for name in times} == times
        answer = reader.post("/schedules/new", **by_json)
        assert answer.status_code == 303, words(answer.text)
        task = found(tasks, answer.headers["location"].rpartition("/")[2])["task"]
        assert task["kwargs"] == {"customer": "ACME", "to": {"street": "road"}, "lines": [{"article": "a"}]}

    def test_takes_another_task_and_keeps_the_times(self, reader: Reader) -> None:
        other = "app.tasks.common_tasks.fetch_url"
        page = Controls(
            reader.post("/schedules/new", **NEW | {"celery_task_name": other}, choose="true", form_of=LONG_RUNNING).text
        )
        assert (page.fields["celery_task_name"], page.fields["schedule.cron"]) == (other, NEW["schedule.cron"])
        assert "kwargs.url" in page.fields

    def test_makes_no_schedule_of_a_task_that_is_kept_for_others(self, reader: Reader, tasks: TaskClient) -> None:
        form = NEW | {"celery_task_name": "app.tasks.common_tasks.fetch_url", "kwargs.url": "https://example.com/"}
        with settings({"OUTBOUND_USERS": "role:admin"}):
            refused = reader.post("/schedules/new", **form)
            assert (refused.status_code, "You may not create" in refused.text) == (403, True)
        assert tasks.http.get("/api/v1/schedules/", headers=tasks.headers).json() == []


class TestThePreview:
    def times(self, page: str) -> list[str]:
        rows = re.findall(r"<tr.*?</tr>", page.partition('class="coming"')[2].partition("</tbody>")[0], re.DOTALL)
        return [words(row) for row in rows[1:]]

    def test_marks_the_changes_of_the_clock(self, reader: Reader) -> None:
        typed = {
            "schedule.cron": "30 2 * * *",
            "schedule.timezone": "Europe/Berlin",
            "schedule.start_at": "2099-03-27T00:00",
        }
        page = preview(reader, typed | {"schedule.by": "cron"})
        assert words(page.text).startswith("every day at 02:30, Europe/Berlin")
        rows = self.times(page.text)
        assert len(rows) == 6
        assert rows[0].startswith("Fri 2099-03-27 02:30 +01:00")
        assert rows[2] == "The clock is put forward by 1 h : 2099-03-29 02:00 → 03:00"
        assert rows[3].startswith("Sun 2099-03-29 03:00 +02:00")
        assert "The clock is put back by 1 h" in words(page.text.partition("</table>")[2])
        assert "<html" not in page.text

    def test_of_an_interval_begins_now_or_at_its_start(self, reader: Reader) -> None:
        typed = {"schedule.by": "every", "schedule.every_seconds": "90", "schedule.cron": "no line"}
        assert words(preview(reader, typed).text).startswith("every 90 s UTC When")
        rows = self.times(preview(reader, typed | {"schedule.start_at": "2099-01-01T00:00:30"}).text)
        assert [row[:23] for row in rows] == [
            f"Thu 2099-01-01 {time}" for time in ("00:00:30", "00:02 in", "00:03:30", "00:05 in", "00:06:30")
        ]

    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            ({}, "Type a cron line or an interval"),
            ({"schedule.cron": "0 0 30 2 *"}, "Cron line: never fires"),
            ({"schedule.cron": "* * * * *", "schedule.timezone": "Mars"}, "Time zone: is no time zone"),
            (
                {"schedule.by": "every", "schedule.every_seconds": "0.5"},
                "Seconds from one time to the next: must be 1 or more",
            ),
            (
                {"schedule.cron": "* * * * *", "schedule.end_at": "2000-01-01T00:00"},
                "Not after: must not be in the past",
            ),
            (  # in the past it did
                {
                    "schedule.cron": "* 2 31 3 */7",
                    "schedule.timezone": "Europe/Berlin",
                    "schedule.start_at": "1970-01-01T00:00",
                },
                "Cron line: never fires",
            ),
            ({"schedule.cron": "x" * 300}, "Cron line: must have 250 characters at most"),
        ],
    )
    def test_says_what_is_wrong(self, reader: Reader, typed: dict[str, str], said: str) -> None:
        page = preview(reader, {"schedule.by": "cron"} | typed)
        assert (page.status_code, said in words(page.text)) == (200, True), words(page.text)

    def test_says_all_that_is_wrong_at_once(self, reader: Reader) -> None:
        typed = {"schedule.cron": "61 * * * *", "schedule.timezone": "Mars", "schedule.end_at": "soon"}
        said = words(preview(reader, typed | {"schedule.by": "cron"}).text)
        assert [each in said for each in ("Cron line: ", "Time zone: is no time zone", "Not after: ")] == [True] * 3

    def test_of_an_interval_needs_no_zone(self, reader: Reader) -> None:
        typed = {"schedule.by": "every", "schedule.every_seconds": "90", "schedule.timezone": "Mars"}
        page = preview(reader, typed)
        assert (len(self.times(page.text)), "every 90 s UTC When" in words(page.text)) == (5, True)
        assert "Time zone: is no time zone" in words(page.text)

    def test_is_of_the_page_without_javascript(self, reader: Reader, tasks: TaskClient) -> None:
        page = reader.post("/schedules/new", **NEW, show="preview").text
        assert "every weekday at 09:30, Europe/Berlin" in words(page)
        assert Controls(page).fields["schedule.name"] == "nightly"
        assert tasks.http.get("/api/v1/schedules/", headers=tasks.headers).json() == []


class TestAChange:
    def test_sends_what_differs_alone(self, reader: Reader, tasks: TaskClient) -> None:
        secret = {"kwargs": {"password": "hunter2hunter2"}, "metadata": {"a": 1}, "priority": "low"}
        schedule = made(tasks, task=TASK | secret, metadata={"token": "hunter2hunter2"}, paused=True, tags=["x"])
        path = f"/schedules/{schedule['id']}/change"
        page = reader.get(path).text
        assert "hunter2" not in page
        form = Controls(page).fields
        same = reader.post(path, **form)
        assert (same.status_code, same.headers["location"]) == (303, f"/ui/schedules/{schedule['id']}")
        assert found(tasks, schedule["id"]) == schedule
        assert reader.post(path, **form | {"schedule.name": "other", "schedule.tags": ""}).status_code == 303
        changed = found(tasks, schedule["id"])
        assert changed == schedule | {"name": "other", "tags": [], "updated_at": changed["updated_at"]}
        with SessionLocal() as db:
            row = schedule_service.get_schedule(db, UUID(schedule["id"]))
            assert (row.task["kwargs"], row.metadata_) == (secret["kwargs"], {"token": "hunter2hunter2"})

    def test_takes_the_place_of_the_interval_and_of_the_task(self, reader: Reader, tasks: TaskClient) -> None:
        schedule = made(tasks, task=TASK | {"unique_key": "k", "on_conflict": "return", "timeout_seconds": 5})
        path = f"/schedules/{schedule['id']}/change"
        form = Controls(reader.get(path).text).fields
        assert (form["schedule.by"], form["schedule.every_seconds"]) == ("every", "3600")
        typed = {
            "schedule.by": "cron",
            "schedule.cron": "@daily",
            "unique_key": "",
            "on_conflict": "",
            "timeout_seconds": "",
        }
        answer = reader.post(path, **form | typed | {"kwargs.duration": "2"})
        assert answer.status_code == 303, words(answer.text)
        changed = found(tasks, schedule["id"])
        assert (changed["cron"], changed["every_seconds"]) == ("@daily", None)
        assert changed["task"]["kwargs"] == {"duration": 2}
        assert changed["task"].keys().isdisjoint({"unique_key", "on_conflict", "timeout_seconds"})
        assert changed["task"]["args"] == []

    def test_of_a_task_that_is_gone_offers_another(self, reader: Reader, tasks: TaskClient) -> None:
        schedule = made(tasks)
        with SessionLocal() as db:
            gone = {"task": TASK | {"celery_task_name": "no.such"}, "celery_task_name": "no.such"}
            db.execute(update(Schedule).where(Schedule.id == UUID(schedule["id"])).values(gone))
            db.commit()
        path = f"/schedules/{schedule['id']}/change"
        page = reader.get(path)
        assert (page.status_code, "is no task that can be created" in page.text) == (422, True)
        form = Controls(page.text).fields | {"kwargs.duration": "3"}
        assert reader.post(path, **form).status_code == 303
        assert found(tasks, schedule["id"])["task"]["kwargs"] == {"duration": 3}


class TestASchedule:
    def test_says_first_what_it_does_and_when_next(self, reader: Reader, tasks: TaskClient) -> None:
        schedule = made(tasks, cron="30 9 * * 1-5", timezone="Europe/Berlin")
        page = reader.get(f"/schedules/{schedule['id']}").text
        assert heading(page) == "hourly"
        assert words(page.partition('class="lead">')[2].partition("</p>")[0]).startswith(
            "Runs “made” every weekday at 09:30, Europe/Berlin . Next: in "
        )
        assert len(re.findall(r'<td class="nowrap"><time [^>]+ UTC" data-zoned>', page.partition('id="runs"')[0])) == 10
        assert f"/ui/tasks?q=schedule:{schedule['id']}" in page
        reader.cookies["language"] = "zh"
        assert "每周一至周五 09:30（Europe/Berlin）" in words(reader.get(f"/schedules/{schedule['id']}").text)

    def test_shows_what_became_of_its_times(self, reader: Reader, tasks: TaskClient) -> None:
        schedule = fired(tasks, times=4, catch_up="latest")
        page = reader.get(f"/schedules/{schedule['id']}").text
        (task, missed) = cells(page, "runs")
        assert (task[0], task[5]) == ("pending", "the schedule")
        assert (missed[0], missed[2]) == ("missed", "3 times")
        kinds = re.findall(r'<rect class="(\w+)"', page.partition('id="runs"')[2].partition("</svg>")[0])
        assert kinds == ["missed", "pending"]
        listed = tasks.http.get(f"/api/v1/tasks/?schedule_id={schedule['id']}", headers=tasks.headers).json()
        assert re.findall(r'href="/ui/tasks/([0-9a-f-]+)"><code>', page) == [listed[0]["id"]]
        link = f'<a href="/ui/schedules/{schedule["id"]}"><bdi>hourly</bdi></a>'
        assert link in reader.get(f"/tasks/{listed[0]['id']}").text

    def test_counts_missed_times_with_the_skipped_ones_and_says_so(self, reader: Reader, tasks: TaskClient) -> None:
        schedule = fired(tasks, times=5, catch_up="latest", catch_up_seconds=86_400)
        assert "Times skipped or missed 4 " in words(reader.get(f"/schedules/{schedule['id']}").text)

    def test_says_why_a_time_was_skipped(self, reader: Reader, tasks: TaskClient) -> None:
        schedule = made(tasks)
        with SessionLocal() as db:
            broken = {"task": TASK | {"args": ["no number"]}}
            db.execute(update(Schedule).where(Schedule.id == UUID(schedule["id"])).values(broken))
            rewind(db, schedule_service.get_schedule(db, UUID(schedule["id"])))
            fire_all(db)
        (row,) = cells(reader.get(f"/schedules/{schedule['id']}").text, "runs")
        assert (row[0], row[2]) == ("skipped", "its task is gone, or does not take these arguments any more")

    def test_pages_its_history(self, reader: Reader, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(schedule_page, "RUNS", 2)
        schedule = fired(tasks, times=5, overlap="allow", catch_up="all", catch_up_seconds=86_400)
        page = reader.get(f"/schedules/{schedule['id']}").text
        seen = [row[1] for row in cells(page, "runs")]
        while (path := next_page(page)) is not None:
            page = reader.get(path.partition("#")[0]).text
            seen += [row[1] for row in cells(page, "runs")]
        newest_first = sorted(seen, key=lambda shown: shown.partition(" ")[2], reverse=True)  # "Wed 2026-12-02 23:00"
        assert (len(seen), len(set(seen)), seen) == (5, 5, newest_first)

    def test_of_a_deleted_task_and_of_a_deleted_schedule(self, reader: Reader, tasks: TaskClient) -> None:
        schedule = fired(tasks)
        (task,) = tasks.http.get(f"/api/v1/tasks/?schedule_id={schedule['id']}", headers=tasks.headers).json()
        assert reader.post(f"/schedules/{schedule['id']}/delete").text.count("Its tasks stay.") == 1
        assert (
            reader.post(f"/schedules/{schedule['id']}/delete", confirmed="true").headers["location"] == "/ui/schedules"
        )
        assert reader.get(f"/schedules/{schedule['id']}").status_code == 404
        assert "deleted" in words(reader.get(f"/tasks/{task['id']}").text.partition("<dt>Schedule</dt>")[2][:200])

    def test_whose_zone_is_gone_says_so(self, reader: Reader, tasks: TaskClient) -> None:
        schedule = made(tasks, cron="@daily")
        with SessionLocal() as db:
            gone = {"timezone": "Mars/Base", "paused": True, "pause_reason": f"timezone: {NO_ZONE}"}
            db.execute(update(Schedule).where(Schedule.id == UUID(schedule["id"])).values(gone))
            db.commit()
        page = reader.get(f"/schedules/{schedule['id']}")
        assert (page.status_code, words(page.text).count(NO_ZONE)) == (200, 2)
        assert NO_ZONE in words(reader.get("/schedules").text)
        refused = reader.post(f"/schedules/{schedule['id']}/resume")
        assert (refused.status_code, "is no time zone" in refused.text) == (422, True)
        reader.cookies["language"] = "zh"
        assert "is no time zone" not in reader.get("/schedules").text

    def test_has_one_clock_that_of_its_zone(self, reader: Reader, tasks: TaskClient) -> None:
        start = "2020-01-01T00:00:00+09:00"
        schedule = fired(
            tasks, timezone="Asia/Tokyo", every_seconds=86_400, start_at=start, end_at="2099-12-31T20:00:00Z"
        )
        page = reader.get(f"/schedules/{schedule['id']}").text
        assert words(page).count("All times on this page are in Asia/Tokyo.") == 1
        lead = words(page.partition('class="lead">')[2].partition("</p>")[0])
        assert re.search(r"Next: in \d+ \w+ , \w{3} \d{4}-\d\d-\d\d 00:00$", lead)
        assert re.fullmatch(r"\w{3} \d{4}-\d\d-\d\d 00:00", cells(page, "runs")[0][1])
        assert "Fri 2100-01-01 05:00" in words(page.partition("<dt>Not after</dt>")[2][:300])
        shown = page.partition("<main")[2].partition("</main>")[0]
        assert {"data-zoned" in time for time in re.findall("<time[^>]*>", shown)} == {True}
        until = re.findall(r'name="end" value="([^"]+)"', page)[0]
        assert abs(datetime.fromisoformat(until + "+09:00") - datetime.now(UTC)) < timedelta(minutes=2)


class TestDeeds:
    def test_pause_and_resume(self, reader: Reader, tasks: TaskClient) -> None:
        schedule = made(tasks)
        path = f"/schedules/{schedule['id']}"
        assert 'popovertarget="pause"' in reader.get(path).text
        assert reader.post(f"{path}/pause").headers["location"] == f"/ui{path}"
        page = reader.get(path).text
        assert "The schedule is paused: it makes no tasks by itself." in page
        assert "It is paused, and makes no tasks." in page
        assert 'popovertarget="resume"' in page
        assert reader.post(f"{path}/resume").status_code == 303
        assert not found(tasks, schedule["id"])["paused"]

    def test_run_now_leads_to_the_task(self, reader: Reader, tasks: TaskClient) -> None:
        schedule = made(tasks, paused=True)
        answer = reader.post(f"/schedules/{schedule['id']}/trigger")
        task = tasks.get(answer.headers["location"].rpartition("/")[2]).json()
        assert task["schedule_id"] == schedule["id"]
        (row,) = cells(reader.get(f"/schedules/{schedule['id']}").text, "runs")
        assert row[5] == "hand"

    def test_run_now_says_why_it_cannot(self, reader: Reader, tasks: TaskClient) -> None:
        schedule = made(tasks, task=TASK | {"unique_key": "k"})
        tasks.create(unique_key="k")
        refused = reader.post(f"/schedules/{schedule['id']}/trigger")
        assert (refused.status_code, heading(refused.text), 'role="alert"' in refused.text) == (409, "hourly", True)

    def test_a_backfill_shows_its_times_first(self, reader: Reader, tasks: TaskClient) -> None:
        schedule = made(tasks, cron="30 2 * * *", timezone="Europe/Berlin")
        path = f"/schedules/{schedule['id']}/backfill"
        typed = {"begin": "2026-03-27T00:00", "end": "2026-03-30T12:00"}
        page = reader.post(path, **typed).text
        assert (heading(page), "/choices/" in page) == ("Make 4 tasks?", False)
        opened = reader.get(path)
        assert (opened.status_code, opened.headers["location"]) == (303, f"/ui/schedules/{schedule['id']}")
        assert "The clock is put forward by 1 h" in page
        assert tasks.http.get("/api/v1/tasks/", headers=tasks.headers).json() == []
        assert reader.post(path, **typed, confirmed="true").status_code == 303
        made_now = tasks.http.get(f"/api/v1/tasks/?schedule_id={schedule['id']}", headers=tasks.headers).json()
        assert len(made_now) == 4
        with SessionLocal() as db:
            claim(db, task_service.get_task(db, UUID(made_now[0]["id"])))
        rows = cells(reader.get(f"/schedules/{schedule['id']}").text, "runs")
        assert max((row[0], row[3], row[5]) for row in rows) == ("running", "", "backfill")
        assert heading(reader.post(path, **typed).text) == "There is nothing to make"

    def test_a_backfill_is_of_the_zone_also_when_its_clock_is_put_back(self, reader: Reader, tasks: TaskClient) -> None:
        schedule = made(tasks, cron="*/30 * * * *", timezone="Europe/Berlin")
        path = f"/schedules/{schedule['id']}/backfill"
        page = reader.post(path, begin="2025-10-26T02:00", end="2025-10-26T02:30").text
        assert heading(page) == "Make 4 tasks?"
        assert [row[0][-5:] for row in cells(page, "main") if len(row) > 1] == ["02:00", "02:30", "02:00", "02:30"]
        assert next(row[1] for row in cells(page, "main") if len(row) > 1) == "2025-10-26 00:00:00"
        form = hidden(page)
        assert reader.post(path, **form).status_code == 303
        assert len(tasks.http.get(f"/api/v1/tasks/?schedule_id={schedule['id']}", headers=tasks.headers).json()) == 4
        assert "2025-10-26 02:00:00 and 2025-10-26 02:30:00 (Europe/Berlin)" in words(
            reader.post(path, **form | {"confirmed": ""}).text
        )

    def test_a_backfill_may_begin_before_all_times(self, reader: Reader, tasks: TaskClient) -> None:
        schedule = made(tasks, cron="30 2 * * *", timezone="America/New_York")
        typed = {"begin": "0001-01-01T00:00", "end": "1970-01-03T00:00"}
        page = reader.post(f"/schedules/{schedule['id']}/backfill", **typed)
        assert (page.status_code, heading(page.text)) == (200, "Make 2 tasks?")

    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            ({"begin": "soon", "end": "2026-03-30T12:00"}, "From: is not a valid date and time"),
            ({"begin": "2026-03-30T12:00", "end": "2026-03-27T12:00"}, "Until: must not be before it begins"),
            (
                {"begin": "1970-01-01", "end": "2026-03-27"},
                "Until: until then more than 1,000 times have no task, and a backfill makes no more",
            ),
        ],
    )
    def test_a_backfill_that_cannot_be_is_refused(
        self, reader: Reader, tasks: TaskClient, typed: dict[str, str], said: str
    ) -> None:
        schedule = made(tasks, cron="* * * * *")
        refused = reader.post(f"/schedules/{schedule['id']}/backfill", **typed)
        assert (refused.status_code, said in words(refused.text)) == (422, True)
        assert re.findall(r'name="(?:begin|end)" value="([^"]*)"', refused.text) == [*typed.values()]

    @pytest.mark.parametrize(
        "timing", [{"cron": "* * * * *", "timezone": "Asia/Tokyo"}, {"every_seconds": 1}, {"cron": "@daily"}]
    )
    def test_a_backfill_proposes_a_range_that_it_takes(
        self, reader: Reader, tasks: TaskClient, timing: dict[str, Any]
    ) -> None:
        schedule = made(tasks, **timing)
        path = f"/schedules/{schedule['id']}"
        begin, end = re.findall(r'name="(?:begin|end)" value="([^"]*)"', reader.get(path).text)
        assert reader.post(f"{path}/backfill", begin=begin, end=end).status_code == 200

    @pytest.mark.parametrize("deed", ["pause", "resume", "trigger", "backfill", "delete", "change"])
    def test_are_the_owners(self, stranger: Reader, tasks: TaskClient, deed: str) -> None:
        schedule = made(tasks)
        form = NEW | {"begin": "2026-03-27", "end": "2026-03-28", "confirmed": "true"}
        assert stranger.post(f"/schedules/{schedule['id']}/{deed}", **form).status_code == 404
        assert stranger.get(f"/schedules/{schedule['id']}").status_code == 404
        assert stranger.get(f"/schedules/{schedule['id']}/change").status_code == 404
        assert found(tasks, schedule["id"]) == schedule


class TestTheList:
    def test_shows_next_last_and_the_last_runs(self, reader: Reader, tasks: TaskClient) -> None:
        fired(tasks, times=3, name="often", catch_up="all", catch_up_seconds=86_400)
        made(tasks, name="weekly", cron="@weekly", paused=True)
        paused, often = cells(reader.get("/schedules").text, "schedules")
        assert paused[:4] == ["weekly every Sunday at 00:00, UTC", "paused", "–", "–"]
        assert often[0] == "often every 1 h"
        assert often[2].startswith("in ")
        picture = reader.get("/schedules").text.partition("Last runs: ")[2]
        assert picture.startswith('1 pending, 2 skipped"')
        paths = dict(re.findall(r'<path class="(\w+)" d="([^"]+)"', picture.partition("</svg>")[0]))
        assert {kind: path.count("M") for kind, path in paths.items()} == {"pending": 1, "skipped": 2}

    def test_says_first_which_do_not_work_and_why(self, reader: Reader, tasks: TaskClient) -> None:
        made(tasks, name="weekly", cron="@weekly")
        assert "in trouble" not in reader.get("/schedules").text
        schedule = fired(tasks, name="good")
        (task,) = tasks.http.get(f"/api/v1/tasks/?schedule_id={schedule['id']}", headers=tasks.headers).json()
        page = reader.get("/schedules").text
        assert "None of these schedules is in trouble." in words(page)
        skipping = made(tasks, name="skipping")
        with SessionLocal() as db:
            broken = {"task": TASK | {"args": ["no number"]}}
            db.execute(update(Schedule).where(Schedule.id == UUID(skipping["id"])).values(broken))
            rewind(db, schedule_service.get_schedule(db, UUID(skipping["id"])))
            fire_all(db)
            task_id = failed(db, UUID(tasks.user["id"])).id
            db.execute(update(ScheduleRun).where(ScheduleRun.task_id == UUID(task["id"])).values(task_id=task_id))
            db.commit()
        page = reader.get("/schedules").text
        verdict = words(page.partition('id="verdict"')[2].partition("</div>")[0])
        assert verdict.endswith("2 of these 3 are in trouble: skipping , good")
        skips, fails, weekly = cells(page, "schedules")
        assert [row[1] for row in (skips, fails, weekly)] == ["in trouble", "in trouble", "active"]
        assert "skipped: its task is gone, or does not take these arguments any more" in skips[0]
        assert "failed: ValueError: " in fails[0]
        with SessionLocal() as db:
            ids = {row.name: row.id for row in schedule_service.list_schedules(db).items}
        for row, name in ((skips, "skipping"), (fails, "good"), (weekly, "weekly")):
            shown = words(reader.get(f"/schedules/{ids[name]}").text)
            assert f"{name} {row[1]} Change" in shown
            assert row[0].partition(": ")[2] in shown

    @pytest.mark.parametrize(
        ("language", "state", "why"),
        [("en", "in trouble", "skipped: the task before had not ended"), ("zh", "有问题", "跳过：上一个任务尚未结束")],
    )
    def test_says_of_a_task_that_waits_for_a_slot_that_it_has_not_ended(
        self, reader: Reader, tasks: TaskClient, language: str, state: str, why: str
    ) -> None:
        reader.cookies["language"] = language
        schedule = fired(tasks, times=5, catch_up="all", catch_up_seconds=86_400)
        (row,) = cells(reader.get("/schedules").text, "schedules")
        assert (row[1], why in row[0]) == (state, True)
        page = reader.get(f"/schedules/{schedule['id']}").text
        assert f"hourly {state}" in words(page)
        assert why in words(page)
        assert sum(why.endswith(run[2]) for run in cells(page, "runs") if run[2]) == 4

    def test_has_the_filters_of_the_api(self, reader: Reader, tasks: TaskClient) -> None:
        made(tasks, name="Alpha", tags=["x"])
        made(tasks, name="beta", paused=True)
        made(
            tasks,
            name="gamma",
            task=TASK | {"celery_task_name": "app.tasks.common_tasks.fetch_url", "args": ["https://example.com/"]},
        )

        def names(query: str) -> list[str]:
            return [row[0].split()[0] for row in cells(reader.get(f"/schedules?{query}").text, "schedules")]

        assert names("") == ["gamma", "beta", "Alpha"]
        assert (names("name=ALPH"), names("tag=x"), names("paused=true")) == (["Alpha"], ["Alpha"], ["beta"])
        assert names("celery_task_name=app.tasks.common_tasks.fetch_url") == ["gamma"]
        assert names("name=a&paused=false") == ["gamma", "Alpha"]
        assert "No schedule matches." in reader.get("/schedules?name=zzz").text

    def test_of_all_users_is_the_administrators(
        self, administrator: Reader, reader: Reader, stranger: Reader, tasks: TaskClient, others: TaskClient
    ) -> None:
        made(tasks, name="one")
        made(others, name="two")
        of = {who: cells(each.get("/schedules").text, "schedules") for who, each in
              (("admin", administrator), ("reader", reader), ("stranger", stranger))}  # fmt: skip
        assert [len(of[who]) for who in of] == [2, 1, 1]
        assert of["admin"][1][-1] == tasks.user["username"]
        path = f"/schedules?user_id={tasks.user['id']}"
        assert [len(cells(each.get(path).text, "schedules")) for each in (administrator, stranger)] == [1, 1]
        assert tasks.user["username"] in administrator.get(path).text.partition('class="chips"')[2][:400]

    def test_goes_on_at_the_next_page(self, reader: Reader, tasks: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(list_page, "ROWS", 2)
        for number in range(3):
            made(tasks, name=f"n{number}", tags=["x"])
        page = reader.get("/schedules?tag=x").text
        assert len(cells(page, "schedules")) == 2
        path = next_page(page)
        assert path is not None
        assert [row[0].split()[0] for row in cells(reader.get(path).text, "schedules")] == ["n0"]


def test_the_audit_leads_to_a_schedule(administrator: Reader, admin: TaskClient) -> None:
    schedule = made(admin)
    assert f'href="/ui/schedules/{schedule["id"]}"' in administrator.get(f"/audit?object_id={schedule['id']}").text
