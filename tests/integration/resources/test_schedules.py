"""Schedules over HTTP and from Python: what is made, shown, refused, changed, triggered and backfilled, and by whom."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.core.config import get_settings
from app.core.ids import new_id
from app.core.signatures import encode_secret
from app.db.session import SessionLocal
from app.errors import (
    InvalidArguments,
    InvalidSchedule,
    InvalidTask,
    PriorityNotAllowed,
    ScheduleNotFound,
    TooManyTasksQueued,
    TooManyTimes,
    UniqueKeyTaken,
    UnknownLimit,
    UnknownTask,
    UserNotFound,
)
from app.maintenance.passes import schedules as fire
from app.models import Schedule, ScheduleRun, Task, User
from app.models.audit import AuditRecord
from app.models.task import TaskStatus
from app.schedules import cron_lines
from app.schemas.values import MAX_METADATA_BYTES
from app.services.operations import limit_service
from app.services.schedules import backfills, scheduled_tasks
from app.services.schedules.scheduled_tasks import now_of
from app.services.schedules.service import ScheduleFilter, schedule_service
from app.services.task_service import task_service
from app.services.tasks import task_creation
from app.services.tasks.quotas import attached_bytes
from app.services.user_service import user_service
from tests.support.accounts import bearer
from tests.support.schedules import TASK, fire_all, new_schedule, rewind, rows, tasks_of, told
from tests.support.settings import settings
from tests.support.task_client import module_client
from tests.support.tasks import LONG_RUNNING, new_user

shared = module_client()
SCHEDULES = "/api/v1/schedules/"
DAILY: dict[str, Any] = {"name": "daily", "task": TASK, "cron": "0 3 * * *", "timezone": "Europe/Berlin"}
HOUR = timedelta(hours=1)
FETCH = "app.tasks.common_tasks.fetch_url"
Ask = Callable[..., httpx.Response]


@pytest.fixture
def client(shared: TestClient) -> TestClient:
    return shared


@pytest.fixture
def ask_as(client: TestClient, make_user: Callable[..., Any]) -> Callable[..., Ask]:
    def make(role: str = "user") -> Ask:
        _, token = make_user(role)

        def ask(method: str, path: Any = "", body: Any = None, **options: Any) -> httpx.Response:
            headers = bearer(token) | options.pop("headers", {})
            return client.request(method, SCHEDULES + str(path), json=body, headers=headers, **options)

        return ask

    return make


@pytest.fixture
def ask(ask_as: Callable[..., Ask]) -> Ask:
    return ask_as()


def made(ask: Ask, **fields: Any) -> dict[str, Any]:
    answer = ask("POST", body=DAILY | fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def locations(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [".".join(map(str, each["loc"])) for each in answer.json()["errors"]]


class TestMaking:
    def test_answers_the_schedule_with_its_defaults(self, ask: Ask) -> None:
        answer = ask("POST", body=DAILY)
        found = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"{SCHEDULES}{found['id']}"
        given = {"name": "daily", "task": TASK, "cron": "0 3 * * *", "timezone": "Europe/Berlin"}
        defaults = {
            "every_seconds": None, "start_at": None, "end_at": None, "jitter_seconds": 0, "overlap": "skip",
            "catch_up": "latest", "catch_up_seconds": 3600, "paused": False, "pause_reason": None, "tags": [],
            "metadata": {}, "last_run_at": None, "last_task_id": None, "runs": 0, "skipped": 0,
        }  # fmt: skip
        assert {name: found[name] for name in given | defaults} == given | defaults
        following = datetime.fromisoformat(found["next_run_at"])
        assert datetime.now(UTC) < following < datetime.now(UTC) + timedelta(days=1, hours=1)
        assert ask("GET", found["id"]).json() == found

    @pytest.mark.parametrize(
        ("fields", "where"),
        [
            ({"cron": None}, "body"),
            ({"every_seconds": 60}, "body"),
            ({"cron": None, "every_seconds": 0.5}, "body.every_seconds"),
            ({"cron": "* * * * * *"}, "body.cron"),
            ({"cron": "@reboot"}, "body.cron"),
            ({"cron": "0 0 30 2 *"}, "body.cron"),
            # Berlin's clock skips this hour since 1980; in 1974 it had it.
            ({"cron": "* 2 31 3 */7", "timezone": "Europe/Berlin"}, "body.cron"),
            ({"cron": "61 * * * *"}, "body.cron"),
            ({"timezone": "Mars/Olympus"}, "body.timezone"),
            ({"start_at": "2030-01-02T00:00:00Z", "end_at": "2030-01-01T00:00:00Z"}, "body.end_at"),
            ({"overlap": "never"}, "body.overlap"),
            ({"catch_up": "some"}, "body.catch_up"),
            ({"jitter_seconds": -1}, "body.jitter_seconds"),
            ({"unknown": 1}, "body.unknown"),
            ({"paused": 0}, "body.paused"),
            ({"metadata": {"password": "***"}}, "body.metadata"),
            ({"task": TASK | {"run_at": "2030-01-01T00:00:00Z"}}, "body.task.run_at"),
            ({"task": TASK | {"delay_seconds": 1}}, "body.task.delay_seconds"),
            ({"task": TASK | {"expires_at": "2030-01-01T00:00:00Z"}}, "body.task.expires_at"),
            ({"task": TASK | {"depends_on": []}}, "body.task.depends_on"),
            ({"task": TASK | {"celery_task_name": "no.such.task"}}, "body.task.celery_task_name"),
            ({"task": TASK | {"args": ["x"]}}, "body.task.args.duration"),
            (
                {"task": TASK | {"celery_task_name": FETCH, "args": ["http://x"], "kwargs": {"no": 1}}},
                "body.task.kwargs.no",
            ),
            ({"task": TASK | {"limit": "none"}}, "body.task.limit"),
            ({"task": TASK | {"metadata": {"x": "y" * (MAX_METADATA_BYTES - 10)}}}, "body.task.metadata"),
            ({"task": {}}, "body.task.name"),
        ],
    )
    def test_refuses_what_is_wrong_and_names_it(self, ask: Ask, fields: dict[str, Any], where: str) -> None:
        answer = ask("POST", body=DAILY | fields)
        found = locations(answer)
        assert where in found
        assert all(each["msg"] for each in answer.json()["errors"])
        assert ask("GET").json() == []

    def test_an_end_before_a_start_that_nobody_has_named_is_in_the_past(self, ask: Ask) -> None:
        answer = ask("POST", body=DAILY | {"cron": None, "every_seconds": 60, "end_at": "2020-01-01T00:00:00Z"})
        assert locations(answer) == ["body.end_at"]
        assert answer.json()["errors"][0]["msg"] == "must not be in the past"

    def test_a_null_time_of_the_task_is_none(self, ask: Ask) -> None:
        assert made(ask, task=TASK | {"run_at": None})["task"] == TASK

    def test_hides_the_secrets_of_its_task(self, ask: Ask) -> None:
        secrets = {"kwargs": {"password": "hunter2hunter2"}, "metadata": {"token": "hunter2hunter2", "a": 1}}
        found = made(ask, task=TASK | secrets, metadata={"api_key": "hunter2hunter2"})
        assert found["task"]["kwargs"] == {"password": "***"}
        assert found["task"]["metadata"] == {"token": "***", "a": 1}
        assert found["metadata"] == {"api_key": "***"}
        with SessionLocal() as db:
            schedule = db.get_one(Schedule, UUID(found["id"]))
            assert schedule.task["kwargs"] == secrets["kwargs"]

    def test_is_repeated_with_its_key_also_at_the_quota(self, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(get_settings(), "quota_schedules", 1)
        key = {"Idempotency-Key": "once"}
        first, second = (ask("POST", body=DAILY, headers=key) for _ in range(2))
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.json()["id"] == second.json()["id"]
        assert ("idempotency-replayed" in first.headers, second.headers["idempotency-replayed"]) == (False, "true")
        other = ask("POST", body=DAILY | {"name": "other"}, headers=key)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        ask("DELETE", first.json()["id"])
        gone = ask("POST", body=DAILY, headers=key)
        assert (gone.status_code, gone.json()["code"]) == (409, "idempotent_schedule_deleted")

    def test_of_too_many_is_refused(self, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(get_settings(), "quota_schedules", 2)
        made(ask)
        made(ask)
        answer = ask("POST", body=DAILY)
        assert (answer.status_code, answer.json()["code"]) == (429, "schedules_quota")
        assert "retry-after" not in answer.headers

    def test_of_an_unknown_user_is_refused(self, db: Session) -> None:
        with pytest.raises(UserNotFound):
            schedule_service.create_schedule(db, user_id=new_id(), **DAILY)

    def test_beginning_paused_has_no_next_time(self, ask: Ask) -> None:
        found = made(ask, paused=True)
        assert (found["paused"], found["next_run_at"]) == (True, None)
        assert len(ask("GET", f"{found['id']}/next").json()) == 10


class TestSeeing:
    def test_lists_the_own_ones_newest_first_in_pages(self, ask: Ask, ask_as: Callable[..., Ask]) -> None:
        ids = [made(ask)["id"] for _ in range(3)]
        made(ask_as())
        page = ask("GET", "?limit=2")
        assert [each["id"] for each in page.json()] == ids[:0:-1]
        rest = ask("GET", page.links["next"]["url"].partition(SCHEDULES)[2])
        assert [each["id"] for each in rest.json()] == ids[:1]
        assert "next" not in rest.links

    def test_filters(self, ask: Ask) -> None:
        one = made(ask, name="Nightly report", tags=["a", "b"])["id"]
        other = made(ask, paused=True)["id"]
        third = made(ask, task=TASK | {"celery_task_name": FETCH, "args": ["http://x"]})
        for query, found in {
            "name=REPORT": [one],
            "tag=b": [one],
            "paused=true": [other],
            "paused=false": [third["id"], one],
            f"celery_task_name={LONG_RUNNING}": [other, one],
            "tag=c": [],
        }.items():
            assert [each["id"] for each in ask("GET", f"?{query}").json()] == found, query

    def test_others_see_nothing_and_administrators_all(self, ask: Ask, ask_as: Callable[..., Ask]) -> None:
        found = made(ask)
        stranger, admin = ask_as(), ask_as("admin")
        for method, path in (
            ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/next"), ("GET", "/runs"), ("POST", "/trigger"),
            ("POST", "/pause"), ("POST", "/resume"), ("POST", "/backfill"),
        ):  # fmt: skip
            body = {"PATCH": {"name": "x"}}.get(method)
            if path == "/backfill":
                body = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
            answer = stranger(method, f"{found['id']}{path}", body)
            assert (answer.status_code, answer.json()["code"]) == (404, "schedule_not_found"), path
            unknown = stranger(method, f"{new_id()}{path}", body)
            assert unknown.json()["detail"] == answer.json()["detail"]
        assert admin("GET", found["id"]).json() == found
        assert found["id"] in [each["id"] for each in admin("GET", f"?user_id={found['user_id']}").json()]
        assert stranger("GET", f"?user_id={found['user_id']}").status_code == 403

    def test_the_next_times_have_their_jitter(self, ask: Ask) -> None:
        found = made(ask, jitter_seconds=600)
        times = ask("GET", f"{found['id']}/next?count=3").json()
        assert times[0]["scheduled_for"] == found["next_run_at"]
        assert len(times) == 3
        nominal, start = (datetime.fromisoformat(times[0][name]) for name in ("scheduled_for", "run_at"))
        assert timedelta(0) < start - nominal <= timedelta(seconds=600)
        assert ask("GET", f"{found['id']}/next?count=1000").status_code == 422

    def test_runs_come_in_pages_the_last_one_first(self, ask: Ask) -> None:
        found = made(ask, cron=None, every_seconds=3600, start_at="2020-01-01T00:00:00Z", catch_up="all", overlap="allow",
                     catch_up_seconds=86_400)  # fmt: skip
        with SessionLocal() as db:
            schedule = db.get_one(Schedule, UUID(found["id"]))
            times = rewind(db, schedule, times=5)
            fire.fire_due(db)
        page = ask("GET", f"{found['id']}/runs?limit=3")
        assert page.json()[0].keys() == {"scheduled_for", "task_id", "skipped", "count", "until", "by"}
        rest = ask("GET", page.links["next"]["url"].partition(SCHEDULES)[2])
        shown = [datetime.fromisoformat(each["scheduled_for"]) for each in [*page.json(), *rest.json()]]
        assert shown == times[::-1]
        assert ask("GET", f"{found['id']}/runs?cursor=x").json()["code"] == "invalid_cursor"


class TestChanging:
    def test_a_new_timing_counts_from_now(self, db: Session) -> None:
        schedule = new_schedule(db)
        rewind(db, schedule, times=3)
        schedule_service.update_schedule(db, schedule.id, {"cron": "0 5 * * *", "timezone": "Asia/Shanghai"})
        assert (schedule.every_seconds, schedule.cron) == (None, "0 5 * * *")
        assert fire_all(db) == 0
        assert rows(db, schedule) == []
        assert schedule.next_run_at == schedule_service.next_times(db, schedule.id, 1)[0].scheduled_for
        assert schedule.next_run_at is not None
        assert (schedule.next_run_at.hour, schedule.next_run_at.minute) == (21, 0)

    def test_another_field_leaves_what_is_due(self, db: Session) -> None:
        schedule = new_schedule(db)
        rewind(db, schedule)
        changes = {"name": "other", "overlap": "allow", "catch_up": "all", "tags": ["a"], "jitter_seconds": 0}
        schedule_service.update_schedule(db, schedule.id, changes)
        fire_all(db)
        assert told(db, schedule) == ["run"]

    def test_an_interval_may_take_the_place_of_a_line(self, ask: Ask) -> None:
        found = made(ask)
        changed = ask("PATCH", found["id"], {"every_seconds": 600}).json()
        assert (changed["cron"], changed["every_seconds"]) == (None, 600)
        assert changed["start_at"] is not None
        assert locations(ask("PATCH", found["id"], {"every_seconds": None})) == ["body.cron"]
        assert locations(ask("PATCH", found["id"], {"cron": "* * * * *", "every_seconds": 5})) == ["body.cron"]
        assert locations(ask("PATCH", found["id"], {"timezone": "Nowhere"})) == ["body.timezone"]
        assert ask("GET", found["id"]).json()["every_seconds"] == 600

    def test_an_end_may_be_moved_and_makes_up_nothing(self, db: Session) -> None:
        schedule = new_schedule(db)
        past = now_of(db) - 2 * HOUR
        schedule_service.update_schedule(db, schedule.id, {"end_at": past})
        rewind_to = schedule_service.get_schedule(db, schedule.id)
        assert rewind_to.next_run_at is None
        db.execute(update(Schedule).where(Schedule.id == schedule.id).values(done_until=past))  # nobody looks at it
        schedule_service.update_schedule(db, schedule.id, {"end_at": None})
        assert fire_all(db) == 0
        assert schedule_service.get_schedule(db, schedule.id).next_run_at is not None

    def test_the_task_is_merged_and_checked(self, ask: Ask) -> None:
        found = made(ask, task=TASK | {"tags": ["a"], "priority": "high"})
        changed = ask("PATCH", found["id"], {"task": {"args": [5], "priority": "low"}}).json()
        assert changed["task"] == TASK | {"args": [5], "priority": "low", "tags": ["a"]}
        for task, where in (
            ({"args": ["x"]}, "body.task.args.duration"),
            ({"celery_task_name": "no.such.task"}, "body.task.celery_task_name"),
            ({"run_at": None}, "body.task.run_at"),
            ({"limit": "none"}, "body.task.limit"),
            ({"name": None}, "body.task.name"),
        ):
            assert locations(ask("PATCH", found["id"], {"task": task})) == [where], task
        assert ask("GET", found["id"]).json()["task"] == changed["task"]

    def test_a_mask_keeps_the_secret_that_stands_there(self, ask: Ask) -> None:
        secrets = {"kwargs": {"password": "hunter2hunter2", "steps": 1}}
        found = made(ask, task=TASK | secrets, metadata={"token": "hunter2hunter2"})
        body = {"task": {"kwargs": {"password": "***", "steps": 2}}, "metadata": {"token": "***", "a": 1}}
        assert ask("PATCH", found["id"], body).status_code == 200
        with SessionLocal() as db:
            schedule = db.get_one(Schedule, UUID(found["id"]))
            assert schedule.task["kwargs"] == {"password": "hunter2hunter2", "steps": 2}
            assert schedule.metadata_ == {"token": "hunter2hunter2", "a": 1}
        none = ask("PATCH", found["id"], {"task": {"kwargs": {"token": "***"}}})
        assert locations(none) == ["body.task.kwargs"]
        assert locations(ask("PATCH", found["id"], {"metadata": {"password": "***"}})) == ["body.metadata"]

    def test_a_url_that_is_told_keeps_its_token_and_hides_it(self, ask: Ask) -> None:
        url = "https://example.com/hook?token=hunter2hunter2"
        with settings({"WEBHOOK_SECRET": encode_secret(bytes(range(32)))}):
            found = made(ask, task=TASK | {"webhook_url": url})
            assert "hunter2hunter2" not in found["task"]["webhook_url"]
            body = {"task": {"webhook_url": found["task"]["webhook_url"], "priority": "low"}}
            assert ask("PATCH", found["id"], body).status_code == 200
        with SessionLocal() as db:
            assert schedule_service.get_schedule(db, UUID(found["id"])).task["webhook_url"] == url

    def test_who_is_not_the_owner_keeps_a_secret_for_the_same_arguments_alone(
        self, ask: Ask, ask_as: Callable[..., Ask]
    ) -> None:
        secrets = {"kwargs": {"password": "hunter2hunter2", "steps": 1}}
        found, admin = made(ask, task=TASK | secrets), ask_as("admin")
        same = {"task": {"kwargs": {"password": "***", "steps": 1}, "priority": "low"}}
        assert admin("PATCH", found["id"], same).status_code == 200
        for task in ({"kwargs": {"password": "***", "steps": 2}}, {"args": [2]}, {"celery_task_name": FETCH}):
            answer = admin("PATCH", found["id"], {"task": task})
            assert answer.status_code == 422, task
            assert answer.json()["errors"][0]["type"] == "hidden_value"

    def test_pausing_and_resuming_are_changes_too(self, ask: Ask) -> None:
        found = made(ask)
        for change, is_paused in (
            (lambda: ask("PATCH", found["id"], {"paused": True}), True),
            (lambda: ask("POST", f"{found['id']}/resume"), False),
            (lambda: ask("POST", f"{found['id']}/pause"), True),
            (lambda: ask("POST", f"{found['id']}/pause"), True),
            (lambda: ask("PATCH", found["id"], {"paused": False}), False),
        ):
            answer = change()
            assert answer.status_code == 200
            assert (answer.json()["paused"], answer.json()["next_run_at"] is None) == (is_paused, is_paused)
        with SessionLocal() as db:
            events = select(AuditRecord.event).where(AuditRecord.object_id == found["id"]).order_by(AuditRecord.id)
            assert [each.removeprefix("schedule.") for each in db.scalars(events)] == [
                "created", "paused", "resumed", "paused", "resumed",
            ]  # fmt: skip

    def test_resuming_where_the_zone_is_gone_is_refused(self, db: Session) -> None:
        schedule = new_schedule(db)
        schedule_service.pause(db, schedule.id)
        gone = {"timezone": "Mars/Olympus", "pause_reason": "timezone: is no time zone"}
        db.execute(update(Schedule).where(Schedule.id == schedule.id).values(gone))
        db.commit()
        with pytest.raises(InvalidSchedule, match="timezone"):
            schedule_service.resume(db, schedule.id)
        with pytest.raises(InvalidSchedule, match="timezone"):
            schedule_service.next_times(db, schedule.id)
        schedule_service.update_schedule(db, schedule.id, {"timezone": "UTC", "paused": False})
        resumed = schedule_service.get_schedule(db, schedule.id)
        assert (resumed.next_run_at is not None, resumed.pause_reason) == (True, None)


class TestTriggering:
    def test_makes_the_task_now_also_while_it_is_paused(self, ask: Ask) -> None:
        found = made(ask, paused=True, jitter_seconds=600)
        answer = ask("POST", f"{found['id']}/trigger")
        task = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"/api/v1/tasks/{task['id']}"
        assert (task["schedule_id"], task["run_at"], task["args"]) == (found["id"], None, TASK["args"])
        (run,) = ask("GET", f"{found['id']}/runs").json()
        assert (run["task_id"], run["by"], run["scheduled_for"]) == (
            task["id"],
            "trigger",
            task["metadata"]["scheduled_for"],
        )
        shown = ask("GET", found["id"]).json()
        assert (shown["runs"], shown["last_task_id"], shown["paused"]) == (1, task["id"], True)

    def test_several_at_once_are_several(self, db: Session) -> None:
        schedule = new_schedule(db)
        for _ in range(3):
            schedule_service.trigger(db, schedule.id)
        assert told(db, schedule) == ["run"] * 3

    def test_several_in_one_moment_are_several(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        schedule, moment = new_schedule(db), now_of(db)
        monkeypatch.setattr(scheduled_tasks, "now_of", lambda _: moment)
        for _ in range(3):
            schedule_service.trigger(db, schedule.id)
        assert told(db, schedule) == ["run"] * 3

    def test_has_the_errors_of_a_submit(self, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
        found = made(ask, task=TASK | {"unique_key": "one"})
        assert ask("POST", f"{found['id']}/trigger").status_code == 201
        taken = ask("POST", f"{found['id']}/trigger")
        assert (taken.status_code, taken.json()["code"]) == (409, "unique_key_taken")
        ask("PATCH", found["id"], {"task": {"on_conflict": "return"}})
        same = ask("POST", f"{found['id']}/trigger")
        assert (same.status_code, same.json()["id"]) == (200, taken.json()["task_id"])
        ask("PATCH", found["id"], {"task": {"unique_key": None}})
        monkeypatch.setattr(get_settings(), "quota_queued_tasks", 1)
        full = ask("POST", f"{found['id']}/trigger")
        assert (full.status_code, full.json()["code"]) == (429, "queued_tasks_quota")
        assert len(ask("GET", f"{found['id']}/runs").json()) == 2

    def test_of_what_does_not_fit_any_more_is_refused(self, db: Session) -> None:
        schedule = new_schedule(db)
        db.execute(update(Schedule).values(task=TASK | {"args": ["x"]}))
        with pytest.raises(InvalidArguments):
            schedule_service.trigger(db, schedule.id)
        db.execute(update(Schedule).values(task=TASK | {"celery_task_name": "no.such.task"}))
        with pytest.raises(UnknownTask):
            schedule_service.trigger(db, schedule.id)


class TestBackfilling:
    def test_makes_each_time_that_has_none(self, ask: Ask) -> None:
        found = made(ask, paused=True)
        body = {"from": "2026-03-27T00:00:00Z", "to": "2026-03-30T12:00:00Z"}  # over a change of the clock
        preview = ask("POST", f"{found['id']}/backfill", body | {"dry_run": True})
        times = ["2026-03-27T02:00:00Z", "2026-03-28T02:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"]
        assert (preview.status_code, preview.json()) == (200, {"count": 4, "scheduled_for": times})
        answer = ask("POST", f"{found['id']}/backfill", body)
        assert (answer.status_code, answer.json()["count"]) == (201, 4)
        with SessionLocal() as db:
            tasks = [db.get_one(Task, UUID(each)) for each in answer.json()["task_ids"]]
            assert [task.metadata_["scheduled_for"] for task in tasks] == times
            assert {str(task.schedule_id) for task in tasks} == {found["id"]}
        again = ask("POST", f"{found['id']}/backfill", body)
        assert (again.status_code, again.json()) == (201, {"count": 0, "task_ids": []})
        assert {each["by"] for each in ask("GET", f"{found['id']}/runs").json()} == {"backfill"}
        assert ask("GET", found["id"]).json()["runs"] == 4

    def test_of_large_tasks_is_written_in_parts_and_all_or_none(
        self, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes: list[int] = []
        creating = task_creation.creating

        def counted(db: Session, rows: Any, **options: Any) -> Any:
            sizes.append(len(rows))
            return creating(db, rows, **options)

        monkeypatch.setattr(task_creation, "creating", counted)
        monkeypatch.setattr(backfills, "PART_BYTES", 3500)
        schedule = new_schedule(db, task=TASK | {"kwargs": {"steps": 1}, "metadata": {"x": "y" * 600}})
        begin, end = datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 3, 27, 4, 59, 59, tzinfo=UTC)
        monkeypatch.setattr(get_settings(), "quota_queued_tasks", 4)
        with pytest.raises(TooManyTasksQueued):
            schedule_service.backfill(db, schedule.id, begin, end, within_quota=True)
        assert (tasks_of(db, schedule), told(db, schedule)) == ([], [])
        monkeypatch.setattr(get_settings(), "quota_queued_tasks", 0)
        sizes.clear()
        ids = schedule_service.backfill(db, schedule.id, begin, end, within_quota=True)
        assert (sum(sizes), max(sizes) < 5) == (5, True)
        assert [each.id for each in tasks_of(db, schedule)] == ids
        assert told(db, schedule) == ["run"] * 5

    def test_makes_what_was_skipped_and_nothing_twice(self, db: Session) -> None:
        schedule = new_schedule(db, catch_up="all", catch_up_seconds=3 * 3600)
        times = rewind(db, schedule, times=5)
        fire_all(db)
        assert told(db, schedule) == ["missed 2", "run", "overlap", "overlap"]
        ids = schedule_service.backfill(db, schedule.id, times[0], times[-1] + HOUR)
        assert len(ids) == 4
        assert [row.task_id for row in rows(db, schedule) if row.kind == 1 and row.by_backfill] == ids
        assert {row.scheduled_for for row in rows(db, schedule) if row.task_id} == set(times)
        assert schedule_service.preview_backfill(db, schedule.id, times[0], times[-1]) == []
        assert fire_all(db) == 0

    def test_knows_tasks_whose_rows_are_gone(self, db: Session) -> None:
        schedule = new_schedule(db)
        times = rewind(db, schedule, times=2)
        schedule_service.backfill(db, schedule.id, times[0], times[0])
        db.execute(ScheduleRun.__table__.delete())  # type: ignore[attr-defined]
        assert schedule_service.preview_backfill(db, schedule.id, *times) == times[1:]

    def test_knows_a_task_whose_row_was_the_oldest_and_is_gone(self, db: Session) -> None:
        schedule = new_schedule(db)
        times = rewind(db, schedule, times=3)
        schedule_service.backfill(db, schedule.id, times[0], times[1])
        db.delete(rows(db, schedule)[0])
        assert schedule_service.preview_backfill(db, schedule.id, times[0], times[-1]) == times[2:]

    def test_knows_the_first_and_the_last_task_of_its_range(self, db: Session) -> None:
        """Their times are compared as texts: `02:00:00.25Z` comes before `02:00:00Z`."""
        start = datetime(2026, 3, 27, tzinfo=UTC)
        schedule = new_schedule(db, every_seconds=1.25, start_at=start)
        times = [start + timedelta(seconds=1.25 * at) for at in range(9)]
        schedule_service.backfill(db, schedule.id, times[0], times[-1])
        db.execute(ScheduleRun.__table__.delete())  # type: ignore[attr-defined]
        for first, last in ((0, 8), (1, 7), (3, 4)):  # one or both have a fraction of a second
            assert schedule_service.preview_backfill(db, schedule.id, times[first], times[last]) == []

    @pytest.mark.parametrize("metadata", [{}, {"a": 1, "scheduled_for": "never"}])
    def test_knows_tasks_whose_metadata_were_changed(self, db: Session, metadata: dict[str, Any]) -> None:
        schedule = new_schedule(db)
        times = rewind(db, schedule, times=2)
        (task_id,) = schedule_service.backfill(db, schedule.id, times[0], times[0])
        before = task_service.get_task(db, task_id).metadata_
        task_service.update_task(db, task_id, {"metadata": metadata})
        assert task_service.get_task(db, task_id).metadata_ == metadata | before
        db.execute(ScheduleRun.__table__.delete())  # type: ignore[attr-defined]
        assert schedule_service.preview_backfill(db, schedule.id, *times) == times[1:]

    def test_takes_the_place_of_a_time_that_is_held(self, db: Session) -> None:
        schedule = new_schedule(db, overlap="buffer_one", catch_up="all", catch_up_seconds=86_400)
        times = rewind(db, schedule, times=2)
        fire_all(db)
        assert schedule_service.get_schedule(db, schedule.id).held_for == times[1]
        assert len(schedule_service.backfill(db, schedule.id, times[0], times[1])) == 1
        task_service.cancel(db, tasks_of(db, schedule)[0].id)
        assert fire_all(db) == 0

    def test_leaves_out_times_to_come(self, db: Session) -> None:
        schedule = new_schedule(db)
        now = now_of(db)
        assert schedule_service.backfill(db, schedule.id, now + HOUR, now + 9 * HOUR) == []
        assert fire_all(db) == 0

    def test_of_too_many_is_refused_without_computing_them(
        self, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:  # fmt: skip
        """Of those that have a task, as many besides."""
        schedule = new_schedule(db, cron="* * * * *", start_at="2020-01-01T00:00:00Z")
        now, computed = now_of(db), list[datetime]()
        late = datetime(2020, 1, 2, tzinfo=UTC)
        done = len(schedule_service.backfill(db, schedule.id, late, late + HOUR))
        numbers = cron_lines.ascending_times
        monkeypatch.setattr(
            cron_lines, "ascending_times", lambda *of: (computed.append(each) or each for each in numbers(*of))
        )
        for ask in (schedule_service.backfill, schedule_service.preview_backfill):
            computed.clear()
            with pytest.raises(TooManyTimes, match="more than 1,000 times have no task"):
                ask(db, schedule.id, datetime(1970, 1, 1, tzinfo=UTC), now)
            assert done == 61
            assert len(computed) <= 1000 + 61 + 2  # and one by which the timing is checked
        monkeypatch.setattr(backfills, "MOST_TIMES", 60)
        with pytest.raises(TooManyTimes, match="more than 60 times have a task"):
            schedule_service.preview_backfill(db, schedule.id, late, now)

    def test_is_all_or_nothing(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        schedule = new_schedule(db)
        now = now_of(db)
        monkeypatch.setattr(get_settings(), "quota_queued_tasks", 4)
        with pytest.raises(TooManyTasksQueued):
            schedule_service.backfill(db, schedule.id, now - 6 * HOUR, now, within_quota=True)
        assert (tasks_of(db, schedule), rows(db, schedule)) == ([], [])
        db.execute(update(Schedule).values(task=TASK | {"unique_key": "one"}))
        with pytest.raises(UniqueKeyTaken):
            schedule_service.backfill(db, schedule.id, now - 2 * HOUR, now)
        assert (tasks_of(db, schedule), rows(db, schedule)) == ([], [])

    def test_of_times_without_an_offset_says_so(self, db: Session) -> None:
        schedule, begin = new_schedule(db), datetime(2026, 3, 1)  # noqa: DTZ001 (the mistake)
        for call in (schedule_service.preview_backfill, schedule_service.backfill):
            with pytest.raises(InvalidSchedule, match="with an offset") as refused:
                call(db, schedule.id, begin, begin.replace(tzinfo=UTC))
            assert refused.value.errors[0]["loc"] == ["from"]

    def test_may_begin_before_all_times(self, ask: Ask) -> None:
        found = made(ask, start_at="2026-03-29T00:00:00Z")
        body = {"from": "0001-01-01T00:00:00Z", "to": "2026-03-30T00:00:00Z"}
        preview = ask("POST", f"{found['id']}/backfill", body | {"dry_run": True})
        assert (preview.status_code, preview.json()) == (200, {"count": 1, "scheduled_for": ["2026-03-29T01:00:00Z"]})
        assert ask("POST", f"{found['id']}/backfill", body).status_code == 201

    def test_an_empty_range_is_refused(self, ask: Ask) -> None:
        found = made(ask)
        body = {"from": "2026-03-27T00:00:00Z", "to": "2026-03-26T00:00:00Z"}
        assert ask("POST", f"{found['id']}/backfill", body).status_code == 422


class TestFromPython:
    def test_raises_what_the_api_answers(self, db: Session) -> None:
        user = new_user(db)

        def make(**fields: Any) -> Schedule:
            return schedule_service.create_schedule(db, user_id=user, **DAILY | fields)

        for fields, error in (
            ({"cron": "x"}, InvalidSchedule),
            ({"nothing": 1}, InvalidSchedule),
            ({"task": TASK | {"args": ["x"]}}, InvalidArguments),
            ({"task": TASK | {"celery_task_name": "no.such.task"}}, UnknownTask),
            ({"task": TASK | {"limit": "none"}}, UnknownLimit),
            ({"task": TASK | {"limit_key": "none"}}, InvalidTask),
        ):
            with pytest.raises(error):
                make(**fields)
        with pytest.raises(InvalidSchedule, match=r"timezone: .*; cron: "):
            make(cron="x", timezone="Mars")
        db.execute(update(User).where(User.id == user).values(max_priority="normal"))
        with pytest.raises(PriorityNotAllowed):
            make(task=TASK | {"priority": "high"})
        limit_service.put_limit(db, "some", concurrency=1)
        assert make(task=TASK | {"limit": "some"}).task["limit"] == "some"
        with pytest.raises(ScheduleNotFound):
            schedule_service.get_schedule(db, new_id())

    def test_joins_the_callers_transaction(self, db: Session) -> None:
        user = new_user(db)
        schedule = schedule_service.create_schedule(db, user_id=user, **DAILY)
        schedule_service.pause(db, schedule.id, commit=False)
        schedule_service.trigger(db, schedule.id, commit=False)
        schedule_service.create_schedule(db, user_id=user, **DAILY, commit=False)
        db.rollback()
        found = schedule_service.list_schedules(db, ScheduleFilter(user_id=user)).items
        assert [(each.id, each.paused, each.runs) for each in found] == [(schedule.id, False, 0)]


class TestTheTasks:
    @pytest.fixture
    def two(self, db: Session) -> tuple[Schedule, list[Task]]:
        user = new_user(db)
        schedule, other = new_schedule(db, user, overlap="allow"), new_schedule(db, user)
        for each in (schedule, schedule, other):
            schedule_service.trigger(db, each.id)
        return schedule, list(tasks_of(db, schedule))

    def test_are_listed_and_counted_by_their_schedule(self, db: Session, two: tuple[Schedule, list[Task]]) -> None:
        schedule, tasks = two
        task_service.cancel(db, tasks[0].id)
        for owner in (None, schedule.user_id):
            found = task_service.get_tasks(db, owner, schedule_id=schedule.id)
            assert [each.id for each in found] == [tasks[1].id, tasks[0].id]
            assert [each.id for each in task_service.get_tasks(db, owner, "revoked", schedule_id=schedule.id)] == [
                tasks[0].id
            ]
            assert task_service.get_task_count(db, owner, schedule_id=schedule.id) == 2
            assert task_service.get_task_count(db, owner, "pending", schedule_id=schedule.id) == 1
        assert task_service.get_tasks(db, new_user(db), schedule_id=schedule.id) == []

    def test_of_a_user_who_is_deleted_go_with_the_schedules(
        self, db: Session, two: tuple[Schedule, list[Task]]
    ) -> None:
        schedule, _ = two
        db.execute(
            Task.__table__.delete().where(Task.user_id == schedule.user_id)  # type: ignore[attr-defined]
        )
        user_service.delete_user(db, schedule.user_id)
        assert db.scalar(select(func.count()).select_from(Schedule)) == 0
        assert db.scalar(select(func.count()).select_from(ScheduleRun)) == 0

    def test_stay_the_schedules_when_a_submit_replaces_them(self, db: Session) -> None:
        schedule = new_schedule(db, task=TASK | {"unique_key": "one"})
        (time,) = rewind(db, schedule)
        fire_all(db)
        (task,) = tasks_of(db, schedule)
        before = task.metadata_
        wanted = TASK | {"unique_key": "one", "on_conflict": "replace", "metadata": {"scheduled_for": "x", "a": 1}}
        task_service.create_task(db, user_id=schedule.user_id, **wanted)
        (after,) = tasks_of(db, schedule)
        assert (after.id, after.metadata_) == (task.id, {"a": 1} | before)
        assert after.attached_bytes == attached_bytes(after.name, after.tags, after.metadata_)
        db.execute(ScheduleRun.__table__.delete())  # type: ignore[attr-defined]
        assert schedule_service.preview_backfill(db, schedule.id, time, time) == []

    def test_of_a_schedule_that_replaces_its_own_task_have_the_later_time(self, db: Session) -> None:
        schedule = new_schedule(db, overlap="allow", task=TASK | {"unique_key": "one", "on_conflict": "replace"})
        first, _ = schedule_service.trigger(db, schedule.id)
        before = first.metadata_
        second, is_new = schedule_service.trigger(db, schedule.id)
        assert (first.id, is_new) == (second.id, False)
        assert second.metadata_["scheduled_for"] > before["scheduled_for"]

    def test_a_retry_with_changes_is_none_of_the_schedule(self, db: Session, two: tuple[Schedule, list[Task]]) -> None:
        _, (task, _) = two
        task_service.cancel(db, task.id)
        again, _ = task_service.retry_with_changes(db, task.id, {"args": [2]})
        assert (again.schedule_id, again.status) == (None, TaskStatus.PENDING)
