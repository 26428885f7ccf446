"""Webhooks below the API: what is recorded of an end, who is sent what, and what becomes of a delivery."""

import base64
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, event, func, select, update
from sqlalchemy.orm import Session
from standardwebhooks.webhooks import Webhook

from app.core.config import get_settings
from app.core.fork import PerProcess
from app.core.ids import first_id_at, new_id
from app.ddl.clock import NOW
from app.errors import InvalidWebhook, TooManyRequests, WebhookDisabled, WebhookLimit, WebhookNotFound, WebhooksOff
from app.maintenance.passes import webhooks as passes
from app.maintenance.rounds import Round
from app.models import Schedule, Task, User
from app.models.audit import AuditRecord
from app.models.webhook import DeliveryState, EventType, WebhookDelivery, WebhookEndpoint
from app.outbound import Client
from app.schemas.schedule import ScheduleRead
from app.services.execution import ends
from app.services.schedule_service import schedule_service
from app.services.task_service import task_service
from app.services.webhook_service import webhook_service
from app.services.webhooks import due_lanes, following, forgetting, outcomes, queue, recording, sending
from app.services.webhooks.sender import Sender
from tests.support.schedules import TASK, fire_all, new_schedule, rewind, tasks_of, told
from tests.support.settings import settings
from tests.support.tasks import ERROR, new_task, new_user
from tests.support.webhooks import (
    ALLOWED,
    LOOPBACK,
    age_failures,
    bodies,
    copy_deliveries,
    deliveries,
    delivery,
    due_again,
    ended,
    endpoint,
    finish,
    record,
    send,
    sender,
    write,
)
from tests.unit.outbound.web_server import Web, reply


@pytest.fixture(autouse=True)
def _allowed(db: Session) -> Iterator[None]:
    del db
    with settings(ALLOWED):
        yield


@pytest.fixture
def user(db: Session) -> UUID:
    return new_user(db)


class TestWhatIsRecorded:
    @pytest.mark.parametrize(
        ("ending", "kind"),
        [
            (ends.succeeded(1), "task.succeeded"),
            (ends.failed(ERROR), "task.failed"),
            (ends.stopped("ignored"), "task.revoked"),
        ],
    )
    def test_each_end_by_its_event(self, db: Session, user: UUID, ending: ends.Ending, kind: str) -> None:
        made = endpoint(db, user)
        task = ended(db, user, ending)
        found = delivery(db)
        assert (found.type, found.task_id, found.endpoint_id, found.user_id) == (kind, task.id, made.row.id, user)
        assert (found.state, found.attempts, found.lane) == ("pending", [], made.row.id)

    def test_one_for_each_endpoint_whose_events_and_filter_match_with_one_id(self, db: Session, user: UUID) -> None:
        other = new_user(db)
        wanted = [
            endpoint(db, user).row.id,
            endpoint(db, user, events=["task.succeeded"], filter={"tag": "a"}).row.id,
            endpoint(db, user, filter={"tag": "b", "task_type": "t"}).row.id,
        ]
        for options in (
            {"events": ["task.failed", "schedule.skipped"]},
            {"filter": {"tag": "c"}},
            {"filter": {"tag": "a", "task_type": "u"}},
            {"filter": {"celery_task_name": "another"}},
            {"enabled": False},
        ):
            endpoint(db, user, **options)
        endpoint(db, other)
        ended(db, user, tags=["a", "b"], task_type="t")
        found = deliveries(db)
        assert [each.endpoint_id for each in found] == wanted
        assert len({each.event_id for each in found}) == 1

    def test_nothing_of_retries_deletions_and_inactive_owners(self, db: Session, user: UUID) -> None:
        endpoint(db, user)
        task = new_task(db, user)
        db.execute(update(User).where(User.id == user).values(is_active=False))
        finish(db, task, ends.failed(ERROR))
        task_service.retry_task(db, task.id)
        task_service.delete(db, task.id, force=True)
        record(db)
        assert deliveries(db) == []

    def test_a_plain_task_has_no_followers_and_one_that_is_retried_has_those_of_now(
        self, db: Session, user: UUID
    ) -> None:
        task = new_task(db, user)
        finish(db, task, ends.failed(ERROR))
        assert task.followers is None
        endpoint(db, user)
        task_service.retry_task(db, task.id)
        finish(db, task)
        record(db)
        assert delivery(db).type == "task.succeeded"

    @pytest.mark.parametrize("make", ["fire", "trigger", "backfill"])
    def test_the_end_of_a_task_that_a_schedule_made(self, db: Session, user: UUID, make: str) -> None:
        made = endpoint(db, user)
        schedule = new_schedule(db, user)
        (time,) = rewind(db, schedule)
        if make == "fire":
            assert fire_all(db) == 1
        elif make == "trigger":
            schedule_service.trigger(db, schedule.id)
        else:
            schedule_service.backfill(db, schedule.id, time, time)
        (task,) = tasks_of(db, schedule)
        finish(db, task)
        record(db)
        assert (delivery(db).task_id, delivery(db).endpoint_id) == (task.id, made.row.id)

    def test_what_is_active_when_the_endpoint_is_made(self, db: Session, user: UUID) -> None:
        task = new_task(db, user)
        endpoint(db, user)
        finish(db, task)
        record(db)
        assert delivery(db).task_id == task.id

    @pytest.mark.parametrize("disabled", ["created", "changed"])
    def test_no_active_task_for_an_endpoint_that_is_not_enabled(self, db: Session, user: UUID, disabled: str) -> None:
        made = endpoint(db, user, enabled=disabled == "changed").row
        task = new_task(db, user)
        db.execute(update(Task).values(followers=None))
        db.commit()
        if disabled == "changed":
            webhook_service.update_endpoint(db, user, made.id, {"enabled": False})
        else:
            endpoint(db, user, enabled=False)
        db.refresh(task)
        assert task.followers is None

    def test_maintenance_follows_what_a_submit_missed(self, db: Session, user: UUID) -> None:
        endpoint(db, user)
        task = new_task(db, user)
        db.execute(update(Task).values(followers=None))
        db.commit()
        following.follow_active_tasks(db, threading.Event())
        finish(db, task)
        record(db)
        assert delivery(db).task_id == task.id

    def test_an_endpoint_that_is_not_young_costs_no_look_at_tasks(self, db: Session, user: UUID) -> None:
        endpoint(db, user)
        task = new_task(db, user)
        db.execute(update(Task).values(followers=None))
        db.execute(update(WebhookEndpoint).values(updated_at=NOW - timedelta(minutes=6)))
        db.commit()
        following.follow_active_tasks(db, threading.Event())
        db.refresh(task)
        assert task.followers is None

    def test_the_users_tasks_are_followed_while_an_endpoint_is_enabled(self, db: Session, user: UUID) -> None:
        def followed() -> int | None:
            return new_task(db, user).followers

        first, second = endpoint(db, user).row.id, endpoint(db, user).row.id
        assert followed() == 1
        webhook_service.update_endpoint(db, user, first, {"enabled": False})
        assert followed() == 1
        webhook_service.delete_endpoint(db, user, second)
        assert followed() is None
        webhook_service.update_endpoint(db, user, first, {"enabled": True})
        assert followed() == 1

    def test_an_event_of_anything_else_in_the_callers_transaction(self, db: Session, user: UUID, web: Web) -> None:
        endpoint(db, user, web.url(), events=["schedule.skipped"], filter={"tag": "nightly"})
        for tags in (["nightly"], []):
            wanting = recording.find_endpoints(db, user, EventType.SCHEDULE_SKIPPED)
            one = recording.Event({"id": "1", "name": "x"}, tags=tags)
            number = recording.record_events(db, user, EventType.SCHEDULE_SKIPPED, wanting, [one])
            assert number == len(tags)
        db.commit()
        send(db)
        [body] = bodies(web)
        assert (body["type"], body["data"]) == ("schedule.skipped", {"id": "1", "name": "x"})

    def test_a_skipped_time_of_a_schedule_with_the_schedule_as_get_shows_it(
        self, db: Session, user: UUID, web: Web
    ) -> None:
        endpoint(db, user, web.url(), events=["schedule.skipped"], filter={"tag": "nightly"})
        task = TASK | {"kwargs": {"password": "hunter2hunter2"}}
        bad, quiet, good = (new_schedule(db, user, task=task, tags=tags) for tags in (["nightly"], [], ["nightly"]))
        broken = {"task": task | {"args": ["no number"]}}
        db.execute(update(Schedule).where(Schedule.id.in_([bad.id, quiet.id])).values(broken))
        rewind(db, bad, quiet, good)
        fire_all(db)
        assert [told(db, each) for each in (bad, quiet, good)] == [
            ["invalid_arguments"],
            ["invalid_arguments"],
            ["run"],
        ]
        send(db)
        [body] = bodies(web)
        shown = ScheduleRead.model_validate(schedule_service.get_schedule(db, bad.id)).model_dump(mode="json")
        assert (body["type"], body["data"]) == ("schedule.skipped", shown)
        assert (shown["skipped"], shown["task"]["kwargs"]["password"]) == (1, "***")

    def test_one_event_for_all_times_of_a_schedule_that_are_skipped_together(self, db: Session, user: UUID) -> None:
        made = [endpoint(db, user, events=["schedule.skipped"]).row.id for _ in range(2)]
        options = {"overlap": "allow", "catch_up": "all", "catch_up_seconds": 86_400}
        schedules = [new_schedule(db, user, **options) for _ in range(2)]
        db.execute(update(Schedule).values(task=TASK | {"args": ["no number"]}))
        for each in schedules:
            rewind(db, each, times=5)
        seen = list[str]()

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            seen.append(statement)

        event.listen(db.connection(), "before_cursor_execute", note)
        fire_all(db)
        assert len([each for each in seen if "webhook_" in each]) == 2  # a look at the endpoints, and an INSERT
        assert [len(told(db, each)) for each in schedules] == [5, 5]
        found = deliveries(db)
        assert [each.endpoint_id for each in found] == [*made, *made]
        assert len({each.event_id for each in found}) == 2

    def test_a_skip_that_is_rolled_back_tells_nobody(
        self, db: Session, user: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        endpoint(db, user, events=["schedule.skipped"])
        schedule = new_schedule(db, user)
        db.execute(update(Schedule).where(Schedule.id == schedule.id).values(task=TASK | {"args": ["no number"]}))
        rewind(db, schedule)
        record_events = recording.record_events

        def fails(*args: Any, **options: Any) -> int:
            record_events(*args, **options)
            raise ValueError

        monkeypatch.setattr(recording, "record_events", fails)
        fire_all(db)
        assert (deliveries(db), told(db, schedule)) == ([], [])


class TestWhatIsSent:
    def test_the_task_as_get_shows_it_signed_so_that_the_library_takes_it(
        self, db: Session, user: UUID, web: Web
    ) -> None:
        made = endpoint(db, user, web.url())
        task = ended(db, user, kwargs={"password": "hunter2hunter2"}, tags=["a"])
        send(db)
        [seen] = web.seen
        body = Webhook(made.secret).verify(seen.body, seen.headers)
        found = delivery(db)
        assert seen.headers["webhook-id"] == str(found.event_id)
        assert (seen.method, seen.headers["content-type"]) == ("POST", "application/json")
        data = body["data"]
        assert (data["id"], data["status"], data["result"]) == (str(task.id), "succeeded", {"rows": 3})
        assert (data["tags"], data["kwargs"]["password"]) == (["a"], "***")
        assert body["timestamp"] == data["finished_at"]
        assert (found.state, found.next_attempt_at) == ("delivered", None)
        [attempt] = found.attempts
        assert (attempt["status_code"], attempt["error"], attempt["answer"]) == (204, None, "")

    @pytest.mark.parametrize("meanwhile", ["retried", "deleted"])
    def test_the_end_alone_of_a_task_that_was_retried_or_deleted(
        self, db: Session, user: UUID, web: Web, meanwhile: str
    ) -> None:
        endpoint(db, user, web.url())
        task = ended(db, user, ends.failed(ERROR))
        if meanwhile == "retried":
            task_service.retry_task(db, task.id)
            finish(db, task, ends.failed(ERROR))
            db.execute(delete(WebhookDelivery).where(WebhookDelivery.generation > 1))
        else:
            task_service.delete(db, task.id)
        send(db)
        [body] = bodies(web)
        assert (body["type"], body["data"]) == ("task.failed", {"id": str(task.id), "status": "failed"})

    def test_id_and_status_of_a_task_that_is_too_large(self, db: Session, user: UUID, web: Web) -> None:
        endpoint(db, user, web.url())
        task = ended(db, user, ends.succeeded("x" * 270_000))
        send(db)
        [body] = bodies(web)
        assert body["data"] == {"id": str(task.id), "status": "succeeded"}

    def test_the_same_bytes_and_id_at_each_attempt_and_at_a_redelivery(self, db: Session, user: UUID, web: Web) -> None:
        web.answer["/"] = reply(500)
        made = endpoint(db, user, web.url())
        task = ended(db, user)
        send(db)
        task_service.update_task(db, task.id, {"name": "another"})
        web.answer["/"] = reply(200)
        due_again(db)
        send(db)
        webhook_service.redeliver(db, user, made.row.id, delivery(db).id)
        send(db)
        assert len(web.seen) == 3
        assert len({seen.body for seen in web.seen}) == 1
        assert len({seen.headers["webhook-id"] for seen in web.seen}) == 1
        assert [each["status_code"] for each in delivery(db).attempts] == [500, 200, 200]

    def test_both_secrets_sign_after_a_rotation_until_the_old_ones_time_is_over(
        self, db: Session, user: UUID, web: Web
    ) -> None:
        made = endpoint(db, user, web.url())
        rotated = webhook_service.rotate_secret(db, user, made.row.id)
        ended(db, user)
        send(db)
        for secret in (made.secret, rotated.secret):
            Webhook(secret).verify(web.seen[0].body, web.seen[0].headers)
        newest = webhook_service.rotate_secret(db, user, made.row.id, 0)
        ended(db, user)
        send(db)
        Webhook(newest.secret).verify(web.seen[1].body, web.seen[1].headers)
        assert len(web.seen[1].headers["webhook-signature"].split()) == 1

    def test_the_url_of_a_task_once_with_the_users_key(self, db: Session, user: UUID, web: Web) -> None:
        task = ended(db, user, webhook_url=web.url())
        ended(db, user)
        assert task.webhook_url == web.url()
        send(db)
        [seen] = web.seen
        body = Webhook(webhook_service.secret_of_user(user)).verify(seen.body, seen.headers)
        assert body["data"]["id"] == str(task.id)
        [found] = webhook_service.list_deliveries_of_task(db, task.id, owner=user).items
        assert (found.endpoint_id, found.state) == (None, "delivered")

    def test_no_url_of_a_task_where_nothing_would_sign_it(self, db: Session, user: UUID) -> None:
        with settings({"WEBHOOK_SECRET": ""}), pytest.raises(WebhooksOff):
            new_task(db, user, webhook_url="https://example.com/")

    def test_a_secret_that_cannot_be_decrypted_is_a_failure_that_says_so(
        self, db: Session, user: UUID, web: Web
    ) -> None:
        endpoint(db, user, web.url())
        ended(db, user)
        send(db, Sender(Client(LOOPBACK), ["another key of the service, long enough"]))
        assert web.seen == []
        assert "cannot be decrypted" in delivery(db).attempts[0]["error"]

    def test_an_old_secret_that_cannot_be_decrypted_signs_no_more_and_the_new_one_does(
        self, db: Session, user: UUID, web: Web, caplog: pytest.LogCaptureFixture
    ) -> None:
        made = endpoint(db, user, web.url()).row
        rotated = webhook_service.rotate_secret(db, user, made.id)
        db.execute(update(WebhookEndpoint).values(old_secret=b"\x01nothing that a key has encrypted"))
        ended(db, user)
        send(db)
        assert len(web.seen[0].headers["webhook-signature"].split()) == 1
        Webhook(rotated.secret).verify(web.seen[0].body, web.seen[0].headers)
        assert f"the old secret of endpoint {made.id} cannot be decrypted" in caplog.text

    def test_a_rotation_keeps_no_secret_that_cannot_be_decrypted(self, db: Session, user: UUID) -> None:
        made = endpoint(db, user).row
        db.execute(update(WebhookEndpoint).values(secret=b"\x01nothing that a key has encrypted"))
        rotated = webhook_service.rotate_secret(db, user, made.id)
        row = webhook_service.get_endpoint(db, user, made.id)
        assert row.old_secret is None
        assert rotated.old_secret_until <= row.updated_at


class TestFailures:
    def test_are_tried_again_within_a_minute_and_then_ever_later(self, db: Session, user: UUID, web: Web) -> None:
        web.answer["/"] = reply(503, b"password=hunter2hunter2")
        endpoint(db, user, web.url())
        ended(db, user)
        waits = []
        while delivery(db).state == "pending":
            send(db)
            found = db.execute(select(WebhookDelivery.next_attempt_at, NOW)).one()
            waits.append(found[0] and (found[0] - found[1]).total_seconds())
            due_again(db)
        assert waits.pop() is None
        assert 5 < waits[0] < 60
        assert all(after > 0.8 * before for before, after in itertools.pairwise(waits))
        assert 2.5 * 86_400 < sum(waits) < 3.5 * 86_400
        assert delivery(db).state == "failed"
        attempt = delivery(db).attempts[0]
        assert (attempt["status_code"], attempt["error"]) == (503, "the receiver answered 503")
        assert attempt["answer"] == "password=***"

    @pytest.mark.parametrize(("asked", "seconds"), [("3600", 3600), ("1", 10), ("9999999", 86_400), ("soon", 10)])
    def test_wait_as_the_receiver_asks_within_a_day(
        self, db: Session, user: UUID, web: Web, asked: str, seconds: float
    ) -> None:
        web.answer["/"] = reply(429, Retry_After=asked)
        endpoint(db, user, web.url())
        ended(db, user)
        send(db)
        found = db.execute(select(WebhookDelivery.next_attempt_at, NOW)).one()
        assert (found[0] - found[1]).total_seconds() == pytest.approx(seconds, rel=0.15, abs=2)

    def test_410_disables_the_endpoint_and_drops_what_is_queued(self, db: Session, user: UUID, web: Web) -> None:
        web.answer["/"] = reply(410)
        made = endpoint(db, user, web.url()).row
        tasks = [ended(db, user) for _ in range(3)]
        send(db)
        row = webhook_service.get_endpoint(db, user, made.id)
        assert (row.enabled, row.disabled_reason, row.disabled_at is not None) == (False, "gone", True)
        # The next one may have been on its way already.
        assert {"failed"} <= {each.state for each in deliveries(db)} <= {"failed", "dropped"}
        [recorded] = db.scalars(select(AuditRecord).where(AuditRecord.event == "webhook.disabled"))
        assert (recorded.object_id, recorded.detail["reason"]) == (str(made.id), "gone")
        ended(db, user)
        assert len(deliveries(db)) == len(tasks)
        web.answer["/"] = reply(200)
        webhook_service.update_endpoint(db, user, made.id, {"enabled": True})
        since = deliveries(db)[0].created_at
        assert webhook_service.recover(db, user, made.id, since) == 3
        send(db)
        assert {each.state for each in deliveries(db)} == {"delivered"}

    def test_for_five_days_disable_it_and_one_that_got_through_begins_anew(
        self, db: Session, user: UUID, web: Web
    ) -> None:
        web.answer["/"] = reply(500)
        made = endpoint(db, user, web.url()).row
        ended(db, user)
        send(db)
        age_failures(db, days=4, hours=23)
        due_again(db)
        send(db)
        assert webhook_service.get_endpoint(db, user, made.id).enabled
        web.answer["/"] = reply(200)
        due_again(db)
        send(db)
        assert webhook_service.get_endpoint(db, user, made.id).failing_since is None
        web.answer["/"] = reply(500)
        ended(db, user)
        send(db)
        age_failures(db, days=5, minutes=1)
        due_again(db)
        send(db)
        row = webhook_service.get_endpoint(db, user, made.id)
        assert (row.enabled, row.disabled_reason) == (False, "failing")
        again = webhook_service.update_endpoint(db, user, made.id, {"enabled": True})
        assert (again.failing_since, again.disabled_at, again.disabled_reason) == (None, None, None)


class TestDeaths:
    """Of the process: nothing is lost, and what is sent twice has one id and the same bytes."""

    def test_between_the_taking_and_the_request(self, db: Session, user: UUID, web: Web) -> None:
        made = endpoint(db, user, web.url()).row
        ended(db, user)
        [taken] = queue.take(db, {made.id: 4}, get_settings().accepted_keys)
        assert due_lanes.find_due(db) == []
        assert queue.take(db, {made.id: 4}, get_settings().accepted_keys) == []
        due_again(db)
        send(db)
        [seen] = web.seen
        assert (seen.headers["webhook-id"], seen.body) == (str(taken.message.event_id), taken.message.body)

    def test_between_the_request_and_its_record(
        self, db: Session, user: UUID, web: Web, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        endpoint(db, user, web.url())
        ended(db, user)

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(outcomes, "write_outcomes", die)
            with pytest.raises(KeyboardInterrupt):
                send(db)
        assert (len(web.seen), delivery(db).state, delivery(db).attempts) == (1, "pending", [])
        due_again(db)
        send(db)
        first, second = web.seen
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert first.body == second.body
        assert (delivery(db).state, len(delivery(db).attempts)) == ("delivered", 1)

    def test_a_late_record_changes_nothing_that_another_sender_has_in_hand(
        self, db: Session, user: UUID, web: Web
    ) -> None:
        made = endpoint(db, user, web.url()).row
        ended(db, user)
        keys = get_settings().accepted_keys
        [late] = queue.take(db, {made.id: 1}, keys)
        due_again(db)
        [now] = queue.take(db, {made.id: 1}, keys)
        assert late.lease < now.lease
        outcome = sender_outcome(web)
        write(db, (late, outcome))
        assert delivery(db).attempts == []
        write(db, (now, outcome))
        assert delivery(db).state == "delivered"


def sender_outcome(web: Web) -> sending.Outcome:
    message = sending.Message(web.url(), UUID(int=1), b"{}", [b"x" * 32])
    return sending.send(Client(LOOPBACK), message)


class TestThePass:
    def test_sends_what_is_due(
        self, db: Session, user: UUID, web: Web, monkeypatch: pytest.MonkeyPatch
    ) -> None:  # fmt: skip
        monkeypatch.setattr(passes, "SENDER", PerProcess(lambda: None))  # else that of the settings of another test
        endpoint(db, user, web.url())
        ended(db, user)
        this = Round(get_settings(), None, threading.Event())
        while passes.SEND.run(db, this) is not None:
            """Something is under way, or due."""
        assert delivery(db).state == "delivered"

    def test_that_is_stopped_writes_what_is_under_way(self, db: Session, user: UUID, web: Web) -> None:
        stopping = threading.Event()

        def slowly(request: BaseHTTPRequestHandler) -> None:
            stopping.set()
            time.sleep(0.3)  # the request, and no synchronisation
            reply(200)(request)

        web.answer["/"] = slowly
        endpoint(db, user, web.url())
        ended(db, user)
        sender().run(db, stopping)
        assert delivery(db).state == "delivered"


class TestOrder:
    @pytest.mark.parametrize("clock_minutes", [0, -10])
    def test_a_first_attempt_waits_for_that_of_the_event_before_and_not_for_its_retries(
        self, db: Session, user: UUID, web: Web, clock_minutes: int
    ) -> None:
        web.answer["/"] = reply(500)
        made = endpoint(db, user, web.url()).row
        task = ended(db, user, ends.failed(ERROR))
        task_service.retry_task(db, task.id)
        finish(db, task)
        record(db)
        put_back = WebhookDelivery.event_at + timedelta(minutes=clock_minutes)
        db.execute(update(WebhookDelivery).where(WebhookDelivery.generation == 2).values(event_at=put_back))
        db.commit()
        keys = get_settings().accepted_keys
        [first] = queue.take(db, {made.id: 4}, keys)
        assert queue.take(db, {made.id: 4}, keys) == []
        write(db, (first, sender_outcome(web)))
        [second] = queue.take(db, {made.id: 4}, keys)
        kinds = [json.loads(each.message.body)["type"] for each in (first, second)]
        assert kinds == ["task.failed", "task.succeeded"]


class TestFairness:
    def test_ten_thousand_events_of_a_dead_endpoint_are_not_read_for_another_ones(
        self, db: Session, user: UUID, web: Web
    ) -> None:
        dead, alive = endpoint(db, user).row, endpoint(db, new_user(db), web.url()).row
        ended(db, user)
        ended(db, alive.user_id)
        template = next(each for each in deliveries(db) if each.endpoint_id == dead.id)
        copy_deliveries(db, template, 2000)
        assert {each.lane for each in due_lanes.find_due(db)} == {dead.id, alive.id}
        taken = queue.take(db, {dead.id: 4, alive.id: 4}, get_settings().accepted_keys)
        assert [each.lane for each in taken].count(dead.id) == 4
        assert [each.lane for each in taken].count(alive.id) == 1

    def test_the_hosts_that_one_user_names_are_of_a_few_lanes(self, user: UUID) -> None:
        lanes = {recording.lane_of_url(user, f"https://host-{number}.example.com/x") for number in range(2000)}
        assert len(lanes) == recording.LANES_OF_URLS
        same = {recording.lane_of_url(user, f"https://one.example.com/{number}") for number in range(100)}
        assert len(same) == 1
        assert recording.lane_of_url(new_id(), "https://one.example.com/") not in same

    def test_the_url_of_a_task_that_has_failed_before_is_known_to_fail(self, db: Session, user: UUID, web: Web) -> None:
        web.answer["/"] = reply(500)
        ended(db, user, webhook_url=web.url())
        assert [each.failing for each in due_lanes.find_due(db)] == [False]
        send(db)
        due_again(db)
        assert [each.failing for each in due_lanes.find_due(db)] == [True]


class TestEndpoints:
    def test_twenty_a_user(self, db: Session, user: UUID) -> None:
        for _ in range(20):
            endpoint(db, user)
        with pytest.raises(WebhookLimit):
            endpoint(db, user)
        assert len(webhook_service.list_endpoints(db, user)) == 20

    def test_without_secret_key_the_error_names_it(self, db: Session, user: UUID) -> None:
        with settings({"SECRET_KEY": ""}), pytest.raises(WebhooksOff) as refused:
            endpoint(db, user)
        assert "SECRET_KEY" in refused.value.title
        assert "WEBHOOK_SECRET" not in refused.value.title + refused.value.detail

    def test_one_that_is_deleted_gets_nothing_more(self, db: Session, user: UUID, web: Web) -> None:
        made = endpoint(db, user, web.url()).row
        ended(db, user)
        webhook_service.delete_endpoint(db, user, made.id)
        send(db)
        assert (web.seen, delivery(db).state) == ([], "dropped")
        with pytest.raises(WebhookNotFound):
            webhook_service.get_endpoint(db, user, made.id)

    def test_what_is_recorded_beside_a_deletion_is_dropped_when_it_would_be_sent(
        self, db: Session, user: UUID, web: Web
    ) -> None:
        endpoint(db, user, web.url())
        ended(db, user)
        db.execute(delete(WebhookEndpoint))
        db.commit()
        send(db)
        assert (web.seen, delivery(db).state) == ([], "dropped")

    def test_another_users_is_not_there(self, db: Session, user: UUID) -> None:
        made, other = endpoint(db, user).row, new_user(db)
        calls: list[Callable[[], Any]] = [
            lambda: webhook_service.get_endpoint(db, other, made.id),
            lambda: webhook_service.update_endpoint(db, other, made.id, {"enabled": False}),
            lambda: webhook_service.delete_endpoint(db, other, made.id),
            lambda: webhook_service.rotate_secret(db, other, made.id),
            lambda: webhook_service.send_test(db, other, made.id),
            lambda: webhook_service.list_deliveries(db, other, made.id),
        ]
        for call in calls:
            with pytest.raises(WebhookNotFound):
                call()

    @pytest.mark.parametrize(
        "fields",
        [
            {"url": "http://10.0.0.1/"},
            {"url": "ftp://example.com/"},
            {"events": []},
            {"events": ["task.started"]},
            {"filter": {"name": "x"}},
            {"description": "x" * 501},
        ],
    )
    def test_an_invalid_one_is_refused(self, db: Session, user: UUID, fields: dict[str, Any]) -> None:
        with pytest.raises(InvalidWebhook):
            endpoint(db, user, **({"url": "https://example.com/"} | fields))

    def test_a_test_event_is_a_delivery_and_a_disabled_endpoint_gets_none(
        self, db: Session, user: UUID, web: Web
    ) -> None:
        made = endpoint(db, user, web.url()).row
        webhook_service.send_test(db, user, made.id)
        send(db)
        assert [body["type"] for body in bodies(web)] == ["webhook.test"]
        webhook_service.update_endpoint(db, user, made.id, {"enabled": False})
        with pytest.raises(WebhookDisabled):
            webhook_service.send_test(db, user, made.id)

    def test_so_many_test_events_are_sent(self, db: Session, user: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(get_settings(), "account_changes_per_user", 2)
        made = endpoint(db, user).row
        for _ in range(2):
            webhook_service.send_test(db, user, made.id)
        with pytest.raises(TooManyRequests, match="webhook tests"):
            webhook_service.send_test(db, user, made.id)
        assert db.scalar(select(func.count()).where(WebhookDelivery.endpoint_id == made.id)) == 2

    def test_the_secret_is_encrypted_and_renewed_with_a_new_key(self, db: Session, user: UUID, web: Web) -> None:
        made = endpoint(db, user, web.url())
        key = base64.b64decode(made.secret.removeprefix("whsec_"))
        assert key not in bytes(made.row.secret)
        old = get_settings().secret_key
        assert old is not None
        changed = {"SECRET_KEY": "another key " * 4, "SECRET_KEY_PREVIOUS": json.dumps([old.get_secret_value()])}
        with settings(changed):
            assert webhook_service.renew_encryption(db) == 1
            assert webhook_service.renew_encryption(db) == 0
        with settings({"SECRET_KEY": "another key " * 4}):
            ended(db, user)
            send(db)
        Webhook(made.secret).verify(web.seen[0].body, web.seen[0].headers)

    def test_goes_with_its_user(self, db: Session, user: UUID) -> None:
        endpoint(db, user)
        ended(db, user)
        db.execute(delete(User).where(User.id == user))
        db.commit()
        assert deliveries(db) == []
        assert db.scalar(select(func.count()).select_from(WebhookEndpoint)) == 0


def test_deliveries_are_forgotten_after_thirty_days(db: Session, user: UUID) -> None:
    endpoint(db, user)
    ended(db, user)
    old = delivery(db)
    columns = [column.name for column in WebhookDelivery.__table__.c]
    values = {name: getattr(old, name) for name in columns}
    db.execute(WebhookDelivery.__table__.insert(), [values | {"id": first_id_at(time.time() - 31 * 86_400)}])
    db.commit()
    assert forgetting.forget_deliveries(db) == 1
    assert delivery(db).id == old.id
    assert delivery(db).state == DeliveryState.PENDING
