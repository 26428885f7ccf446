"""Every answer has a bound in bytes, whatever its user has stored, and is rendered outside of the event loop."""

import json
import random
import time
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.core.ids import new_id
from app.core.setting_fields import SettingFields
from app.db.listing import MAX_PAGE_BYTES
from app.db.session import SessionLocal
from app.ddl.clock import NOW
from app.ddl.terms import MESSAGE_CHARACTERS
from app.live import queries
from app.models.audit import MAX_DETAIL, AuditRecord
from app.models.auth import LoginSession
from app.models.error_group import ErrorGroup
from app.models.schedule import RunKind, ScheduleRun
from app.models.task import TaskAttempt
from app.models.task_filter import TaskFilter
from app.models.webhook import EventType, WebhookDelivery
from app.schemas.values import MAX_METADATA_BYTES
from app.schemas.webhook import MAX_DESCRIPTION
from app.schemas.workflow import MAX_REF
from app.services.accounts import login_throttle
from app.services.execution import attempts, ends
from app.services.schedules.service import ScheduleFilter, schedule_service
from app.services.task_service import task_service
from app.services.webhooks.service import webhook_service
from app.services.workflows.service import workflow_service
from app.worker.shared.error_text import MESSAGE_LIMIT, TRACEBACK_LIMIT
from tests.support.accounts import API, bearer, pages
from tests.support.amounts import amount
from tests.support.bounds import bounded
from tests.support.tables import cases
from tests.support.task_client import TASKS, TaskClient, module_client
from tests.support.tasks import ERROR, LONG_RUNNING, claim, new_login, new_task, new_user, retried

client = module_client(
    QUOTA_QUEUED_BYTES="0", API_KEYS_PER_USER="200", **bounded({login_throttle: {"CHANGES_PER_USER": 300}})
)

ARGUMENTS, RESULT = (SettingFields.model_fields[f"max_{name}_bytes"].default for name in ("arguments", "result"))
# One task with everything as large as it may be, and what stands around the values.
LARGEST_TASK = ARGUMENTS + MAX_METADATA_BYTES + 2 * RESULT + 64 * 1024
WIDE = "\N{LINEAR B SYLLABLE B008 A}"  # four bytes
# Streams end by themselves only with their task. Their pieces: `test_events_end.py`.
STREAMS = {"/api/v1/tasks/events", "/api/v1/tasks/{task_id}/events", "/api/v1/workflows/{workflow_id}/events"}


def make_hostile(user: dict[str, Any]) -> dict[str, Any]:
    """Fill each list of this user with rows that are as large as the service lets them become. Returns ids for paths."""
    user_id = UUID(user["id"])
    with SessionLocal() as db:
        many = {"name": WIDE * 200, "task_type": WIDE * 200, "tags": [f"{n:03}" + WIDE * 97 for n in range(50)]}
        for _ in range(12):
            new_task(db, user_id, kwargs={"x": "y" * (ARGUMENTS - 200)}, **many)
        wordy = new_task(db, user_id, metadata={"x": "m" * (MAX_METADATA_BYTES - 200)}, **many)
        largest = new_task(db, user_id, kwargs={"x": "y" * (ARGUMENTS - 200)})
        attempt = claim(db, largest).attempt
        attempts.report_progress(db, largest.id, attempt, 50, ["p" * (RESULT - 10)])
        ends.end_attempt(db, largest.id, attempt, ends.succeeded([{}] * (RESULT // 3 - 10)))
        db.commit()
        past = {"worker": "w", "outcome": "retried", "error_type": "E", "error_message": WIDE * MESSAGE_LIMIT}
        db.execute(
            insert(TaskAttempt),
            [
                {"task_id": wordy.id, "number": n, "traceback": WIDE * TRACEBACK_LIMIT, **moments(db), **past}
                for n in range(1, 41)
            ],
        )
        keep = {"user_id": user_id, "expires_at": moments(db)["started_at"].replace(year=2100)}
        db.execute(insert(LoginSession), [{"id": new_id(), **keep} for _ in range(2000)])
        wide = {"event": "user.created", "origin": "http", "object_kind": "user", "object_id": "x" * 128}
        detail = {"x": "d" * (MAX_DETAIL - 10)}
        named = {"actor_name": WIDE * 128, "actor_id": user_id, "detail": detail, "request_id": "r" * 64}
        db.execute(insert(AuditRecord), [{"id": new_id(), **wide, **named} for _ in range(400)])
        seen = {"first_seen": moments(db)["started_at"], "last_seen": moments(db)["started_at"]}
        of_task = {"celery_task_name": "n" * 200, "error_type": "E" * 4000, "message": WIDE * MESSAGE_CHARACTERS}
        groups = [{"fingerprint": f"{n:032x}", "user_id": user_id, "number": 1, **of_task, **seen} for n in range(300)]
        db.execute(insert(ErrorGroup), groups)
        schedule_id, webhook_id = make_hostile_schedules(db, user_id), make_hostile_webhooks(db, user_id)
        db.commit()
    ids = {"task_id": largest.id, "wordy": wordy.id, "user_id": user_id}
    return {**ids, "schedule_id": schedule_id, "webhook_id": webhook_id, "workflow_id": make_hostile_workflow()}


def make_hostile_workflow() -> UUID:
    """Of a user of its own, whose tasks are not counted here."""
    refs = [f"{n:04}" + WIDE * (MAX_REF - 4) for n in range(200)]
    task = {"name": "x", "task_type": "x", "celery_task_name": LONG_RUNNING, "args": [1]}
    tasks = [{**task, "ref": ref, "depends_on": refs[:at][-50:]} for at, ref in enumerate(refs)]
    with SessionLocal() as db:
        return workflow_service.create_workflow(db, WIDE * 200, tasks, user_id=new_user(db)).id


def make_hostile_schedules(db: Session, user_id: UUID) -> UUID:
    large = {"x": "y" * (ARGUMENTS - 200)}
    task = {"name": WIDE * 200, "task_type": WIDE * 200, "celery_task_name": LONG_RUNNING, "args": [1], "kwargs": large}
    metadata = {"x": "m" * (MAX_METADATA_BYTES - 200)}
    tags = [f"{n:03}" + WIDE * 97 for n in range(50)]
    fields = {"name": WIDE * 200, "task": task, "cron": "0 3 * * *", "tags": tags, "metadata": metadata}
    made = [schedule_service.create_schedule(db, user_id=user_id, commit=False, **fields) for _ in range(12)]
    begin = moments(db)["started_at"].replace(year=2020)
    runs = [{"schedule_id": made[0].id, "scheduled_for": begin + n * timedelta(days=1)} for n in range(1000)]
    why = {"kind": RunKind.MISSED, "skipped": "missed", "count": 2**31 - 1, "until": begin}
    db.execute(insert(ScheduleRun), [{**run, **why} for run in runs])
    return made[0].id


def make_hostile_webhooks(db: Session, user_id: UUID) -> UUID:
    url = "https://example.com/" + "u" * 2000
    made = [
        webhook_service.create_endpoint(
            db, user_id, url=url, events=[*EventType], filter={"tag": WIDE * 100}, description=WIDE * MAX_DESCRIPTION,
            commit=False,
        ).row
        for _ in range(20)
    ]  # fmt: skip
    attempt = {"at": "2026-11-24T12:00:00Z", "status_code": 503, "latency_seconds": 0.1, "error": "e" * 200}
    attempts = [{**attempt, "answer": WIDE * 1024}] * 10
    row = {"user_id": user_id, "endpoint_id": made[0].id, "type": "task.failed", "event_at": moments(db)["started_at"]}
    state = {"state": "failed", "attempts": attempts, "bytes": 0}
    db.execute(insert(WebhookDelivery), [{"id": new_id(), "event_id": new_id(), **row, **state} for _ in range(210)])
    return made[0].id


def moments(db: Any) -> dict[str, Any]:
    now = db.execute(select(NOW)).scalar_one()
    return {"started_at": now, "finished_at": now}


@pytest.fixture(scope="module")
def hostile(client: TestClient) -> tuple[TaskClient, dict[str, Any]]:
    """An administrator whose lists are full."""
    with SessionLocal() as db:
        token = new_login(db, "admin")
    user = client.get(f"{API}/users/me", headers=bearer(token)).json()
    for number in range(amount(day=40, night=200)):
        key = {"name": f"{number:03}" + WIDE * 97, "scopes": ["tasks:read", "tasks:write", "admin"]}
        answer = client.post(f"{API}/auth/api-keys", json=key, headers=bearer(token))
        assert answer.status_code == 201, answer.text
    return TaskClient(client, user, token), make_hostile(user)


def test_no_route_answers_with_more_than_its_bound(
    client: TestClient, hostile: tuple[TaskClient, dict[str, Any]]
) -> None:
    caller, ids = hostile
    key_id = client.get(f"{API}/auth/api-keys", headers=caller.headers).json()[0]["id"]
    gets = {path: calls["get"] for path, calls in client.get("/openapi.json").json()["paths"].items() if "get" in calls}
    for path in sorted(gets.keys() - STREAMS):
        for task_id in (ids["wordy"], ids["task_id"])[: amount(day=1, night=2) if "{task_id}" in path else 1]:
            named = {
                "key_id": key_id,
                "name": "none",
                "fingerprint": f"{7:032x}",
                "deed_id": uuid4(),
                "file_id": uuid4(),
            }
            url = path.format(**{**ids, "task_id": task_id}, **named)
            takes_limit = "limit" in {each["name"] for each in gets[path].get("parameters", ())}
            query = {"limit": 200} if takes_limit else {}
            answer = client.get(url, params=query, headers=caller.headers)
            assert answer.status_code in {200, 404, 409}, f"{url}: {answer.text[:200]}"
            found = json.loads(answer.content) if "json" in answer.headers["content-type"] else None
            several = isinstance(found, list) and len(found) > 1
            assert len(answer.content) <= (MAX_PAGE_BYTES if several else LARGEST_TASK), url


class TestPages:
    def test_of_schedules_end_at_a_mebibyte_and_lead_to_the_end(
        self, hostile: tuple[TaskClient, dict[str, Any]]
    ) -> None:
        caller, ids = hostile
        seen = []
        for page in pages(caller.http, f"{API}/schedules/", caller.token, limit=200):
            assert 1 <= len(page.json()) < 5
            assert len(page.content) <= MAX_PAGE_BYTES
            seen += [each["id"] for each in page.json()]
        assert len(seen) == len(set(seen)) == 12
        assert seen == sorted(seen, reverse=True)
        assert seen[-1] == str(ids["schedule_id"])

    def test_of_schedules_read_no_more_than_they_show(self, hostile: tuple[TaskClient, dict[str, Any]]) -> None:
        caller, _ = hostile
        with SessionLocal() as db:
            page = schedule_service.list_schedules(db, ScheduleFilter(user_id=UUID(caller.user["id"])), 200)
        assert page.last is not None
        assert sum(len(json.dumps([each.task, each.metadata_])) for each in page.items) < MAX_PAGE_BYTES

    def test_of_tasks_end_at_a_mebibyte_and_lead_to_the_end(self, hostile: tuple[TaskClient, dict[str, Any]]) -> None:
        caller, ids = hostile
        seen = []
        for page in pages(caller.http, TASKS, caller.token, limit=200):
            assert len(page.json()) == 1 or len(page.content) <= MAX_PAGE_BYTES
            seen += [each["id"] for each in page.json()]
        assert len(seen) == len(set(seen)) == 14
        assert seen == sorted(seen, reverse=True)
        assert {str(ids["task_id"]), str(ids["wordy"])} <= set(seen)

    def test_of_tasks_hold_one_at_least(self, hostile: tuple[TaskClient, dict[str, Any]]) -> None:
        caller, ids = hostile
        (first,) = caller.get(limit=200).json()
        assert first["id"] == str(ids["task_id"])

    def test_with_skip_continue_after_the_number_received(self, hostile: tuple[TaskClient, dict[str, Any]]) -> None:
        caller, _ = hostile
        seen: list[str] = []
        while found := caller.get(limit=200, skip=len(seen)).json():
            seen += [each["id"] for each in found]
        assert len(seen) == len(set(seen)) == 14

    def test_with_a_filter_are_cut_alike(self, hostile: tuple[TaskClient, dict[str, Any]]) -> None:
        caller, _ = hostile
        answer = caller.get(limit=200, tag="000" + WIDE * 97)
        assert 1 <= len(answer.json()) < 13
        assert len(answer.content) <= MAX_PAGE_BYTES
        assert "next" in answer.links

    def test_read_no_more_than_they_show(self, hostile: tuple[TaskClient, dict[str, Any]]) -> None:
        """Neither does the database send it: a page is not cut after everything was read."""
        caller, _ = hostile
        with SessionLocal() as db:
            page = task_service.show_page(db, TaskFilter(UUID(caller.user["id"])), 200, skip=1)
        assert page.last is not None
        assert len(page.items) > 1
        assert sum(len(json.dumps(each, default=str)) for each in page.items) < 2 * MAX_PAGE_BYTES

    @pytest.mark.parametrize("compressible", [True, False])
    def test_count_metadata_and_tags_as_they_are_shown(self, tasks: TaskClient, *, compressible: bool) -> None:
        """A compressed value takes a hundredth of its text in the row."""
        rng = random.Random(5)
        letters = "x" if compressible else "abcdefghijklmnopqrstuvwxyz0123456789"
        with SessionLocal() as db:
            value = {"x": "".join(rng.choices(letters, k=MAX_METADATA_BYTES - 200))}
            for _ in range(24):
                new_task(db, UUID(tasks.user["id"]), metadata=value)
            page = task_service.show_page(db, TaskFilter(UUID(tasks.user["id"])), 200)
        assert 10 < len(page.items) < 20
        assert len(tasks.get(limit=200).content) <= MAX_PAGE_BYTES

    def test_whose_text_is_longer_than_its_columns_are_cut_as_well(self, tasks: TaskClient) -> None:
        """`""` below the name of a secret is shown as `"***"`."""
        with SessionLocal() as db:
            for _ in range(5):
                new_task(db, UUID(tasks.user["id"]), kwargs={"x": [{"pwd": ""}] * 22_000})
        shown = [each["id"] for page in pages(tasks.http, TASKS, tasks.token, limit=200) for each in page.json()]
        assert len(shown) == len(set(shown)) == 5
        assert len(tasks.get(limit=200).content) <= MAX_PAGE_BYTES

    def test_of_attempts_end_at_a_mebibyte_and_lead_to_the_end(
        self, hostile: tuple[TaskClient, dict[str, Any]]
    ) -> None:
        caller, ids = hostile
        numbers = []
        for page in pages(caller.http, f"{TASKS}{ids['wordy']}/attempts", caller.token):
            assert len(page.json()) == 1 or len(page.content) <= MAX_PAGE_BYTES
            numbers += [each["number"] for each in page.json()]
        assert numbers == list(range(1, 41))

    def test_of_attempts_have_the_current_one_at_the_end(self, tasks: TaskClient) -> None:
        with cases() as case:
            for state in ("pending", "running", "succeeded", "failed"):
                task_id = tried_thrice(tasks, state)
                for limit in (1, 2, 3, 200):
                    with case(state, limit):
                        found = list(pages(tasks.http, f"{TASKS}{task_id}/attempts", tasks.token, limit=limit))
                        numbers = [each["number"] for page in found for each in page.json()]
                        assert numbers == list(range(1, 3 if state == "pending" else 4))
                        assert all(0 < len(page.json()) <= limit for page in found)

    def test_of_attempts_refuse_other_cursors(self, tasks: TaskClient) -> None:
        task_id = tasks.task_in("failed")
        with cases() as case:
            for cursor in ("x", "-1", str(2**31), "\u0661", " 1", ""):
                with case(cursor):
                    answer = tasks.get(f"{task_id}/attempts", cursor=cursor)
                    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")


def tried_thrice(tasks: TaskClient, state: str) -> UUID:
    """A task with two attempts behind it, which waits for the third or has made it."""
    with SessionLocal() as db:
        task = new_task(db, UUID(tasks.user["id"]), max_attempts=5)
        for _ in range(2):
            claim(db, task)
            db.refresh(task)
            retried(db, task)
            db.refresh(task)
        if state != "pending":
            attempt = claim(db, task).attempt
            if state == "succeeded":
                ends.end_attempt(db, task.id, attempt, ends.succeeded(1))
            if state == "failed":
                ends.end_attempt(db, task.id, attempt, ends.failed(ERROR))
            db.commit()
        return task.id


class TestEvents:
    def test_rows_for_streams_are_read_in_pieces(self, hostile: tuple[TaskClient, dict[str, Any]]) -> None:
        caller, _ = hostile
        user = UUID(caller.user["id"])
        with SessionLocal() as db:
            ids = [task.id for task in task_service.get_tasks(db, user, limit=50)]
        random.Random(1).shuffle(ids)
        left, seen, readings = ids, [], 0
        while left:
            found, left = queries.read_rows(left, [], [user], lambda *_: True)
            assert len(found) == 1 or sum(len(state.data) for state in found) <= MAX_PAGE_BYTES
            assert all(state.data for state in found)
            seen += [each.task_id for each in found]
            readings += 1
        assert seen == ids
        assert readings > 3

    def test_a_deleted_row_ends_the_reading_of_no_other(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            ids = [new_task(db, UUID(tasks.user["id"])).id for _ in range(3)]
        ids.insert(1, new_id())
        found, left = queries.read_rows(ids, ids, [], lambda *_: True)
        assert [each.task_id for each in found] == [ids[0], *ids[2:]]
        assert not left


def test_large_answers_are_rendered_outside_of_the_event_loop(
    client: TestClient, hostile: tuple[TaskClient, dict[str, Any]]
) -> None:
    """The loop only hands the bytes on: most of the work is other threads'."""
    caller, ids = hostile
    assert client.portal is not None
    for path in (f"{TASKS}?limit=200&skip=1", f"{TASKS}{ids['task_id']}", f"{TASKS}{ids['wordy']}/attempts"):
        caller.get(path.removeprefix(TASKS))  # warm
        loop, everything = client.portal.call(time.thread_time), time.process_time()
        for _ in range(5):
            assert caller.http.get(path, headers=caller.headers).status_code == 200
        loop = client.portal.call(time.thread_time) - loop
        everything = time.process_time() - everything
        assert loop < everything / 2, path


def test_a_repeated_batch_whose_tasks_have_grown_is_refused(tasks: TaskClient) -> None:
    body = {"tasks": [{"name": "x", "task_type": "x", "celery_task_name": LONG_RUNNING, "args": [1]}] * 20}
    key = {"Idempotency-Key": "grown"}
    assert tasks.post("batch", body, headers=key).status_code == 201
    again = tasks.post("batch", body, headers=key)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    with SessionLocal() as db:
        for created in again.json()["tasks"]:
            task = task_service.get_task(db, UUID(created["id"]))
            ends.end_attempt(db, task.id, claim(db, task).attempt, ends.succeeded("x" * (RESULT - 10)))
            db.commit()
    refused = tasks.post("batch", body, headers=key)
    assert (refused.status_code, refused.json()["code"]) == (409, "replay_too_large")
