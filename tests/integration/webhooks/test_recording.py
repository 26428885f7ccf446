"""Which ends of tasks and other events are recorded as deliveries, and for whom."""

import threading
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, event, insert, select, update
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import new_id
from app.ddl.clock import NOW
from app.models import Schedule, ScheduleRun, Task, User
from app.models.outbox import ALL_ENDS, OutboxRow
from app.models.webhook import WebhookEndpoint
from app.schemas.schedule import ScheduleRead
from app.services.execution import ends
from app.services.outbox import deliver_batch
from app.services.schedules import due_schedules
from app.services.schedules.scheduled_tasks import now_of
from app.services.schedules.service import schedule_service
from app.services.task_service import task_service
from app.services.tasks import quotas as usage
from app.services.webhooks import endpoints, new_deliveries
from app.services.webhooks.new_deliveries import CONSUMER
from app.services.webhooks.service import webhook_service
from tests.support.schedules import TASK, fire_all, move_on, new_schedule, rewind, tasks_of, told
from tests.support.statements import sent_by
from tests.support.tasks import ERROR, finish, new_task, new_user
from tests.support.webhooks import bodies, deliveries, delivery, ended, endpoint, record, send
from tests.unit.outbound.web_server import Web

pytestmark = pytest.mark.usefixtures("allowed")


def told_ends(db: Session, user: UUID, number: int, **values: Any) -> None:
    """So many ends of tasks of this user, in the outbox."""
    row = {"consumer": CONSUMER.number, "user_id": user, "event": "succeeded", "generation": 1, **values}
    db.execute(insert(OutboxRow), [{**row, "task_id": new_id()} for _ in range(number)])
    db.commit()


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

    def test_many_ends_with_as_many_statements_as_one(self, db: Session, user: UUID) -> None:
        endpoint(db, user)
        counts = []
        for number in (2, 20):
            told_ends(db, user, number)
            with sent_by(db.connection()) as sent:
                assert deliver_batch(db, CONSUMER) == number
            counts.append(len(sent))
        assert counts[0] == counts[1] > 0
        assert len(deliveries(db)) == 22

    def test_each_end_once_where_one_among_them_cannot_be(self, db: Session, user: UUID) -> None:
        endpoint(db, user)
        told_ends(db, user, 2)
        told_ends(db, user, 1, webhook_url="no URL")
        told_ends(db, user, 2)
        assert deliver_batch(db, CONSUMER) == 5
        [left] = db.scalars(select(OutboxRow))
        assert (left.webhook_url, left.failures) == ("no URL", 1)
        found = deliveries(db)
        assert len(found) == len({each.task_id for each in found}) == 4
        assert left.task_id not in {each.task_id for each in found}

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
        endpoints.follow_active_tasks(db, threading.Event())
        finish(db, task)
        record(db)
        assert delivery(db).task_id == task.id

    def test_an_endpoint_that_is_not_young_costs_no_look_at_tasks(self, db: Session, user: UUID) -> None:
        endpoint(db, user)
        task = new_task(db, user)
        db.execute(update(Task).values(followers=None))
        db.execute(update(WebhookEndpoint).values(updated_at=NOW - timedelta(minutes=6)))
        db.commit()
        endpoints.follow_active_tasks(db, threading.Event())
        db.refresh(task)
        assert task.followers is None

    def test_the_users_tasks_are_followed_while_an_endpoint_is_enabled(self, db: Session, user: UUID) -> None:
        def followed() -> int | None:
            return new_task(db, user).followers

        first, second = endpoint(db, user).row.id, endpoint(db, user).row.id
        assert followed() == ALL_ENDS
        webhook_service.update_endpoint(db, user, first, {"enabled": False})
        assert followed() == ALL_ENDS
        webhook_service.delete_endpoint(db, user, second)
        assert followed() is None
        webhook_service.update_endpoint(db, user, first, {"enabled": True})
        assert followed() == ALL_ENDS

    @pytest.mark.parametrize("of_old", [False, True], ids=["now", "as before revision 0049"])
    def test_an_end_that_no_endpoint_wants_costs_no_row(self, db: Session, user: UUID, of_old: bool) -> None:
        endpoint(db, user, events=["task.failed"])
        tasks = [new_task(db, user) for _ in range(3)]
        if of_old:
            db.execute(update(Task).values(followers=Task.followers.bitwise_or(CONSUMER.bit)))
            db.commit()
        for task, ending in zip(tasks, (ends.succeeded(1), ends.failed(ERROR), ends.stopped("ignored")), strict=True):
            finish(db, task, ending)
        for task in tasks[1:]:
            task_service.retry_task(db, task.id)
            task_service.delete(db, task.id, force=True)
        rows = Counter(db.scalars(select(OutboxRow.event)))
        each = Counter(succeeded=1, failed=1, revoked=1, retried=2, deleted=2)
        assert rows == (each if of_old else Counter(failed=1))
        record(db)
        assert [each.task_id for each in deliveries(db)] == [tasks[1].id]

    def test_a_webhook_url_wants_each_end_and_nothing_else(self, db: Session, user: UUID) -> None:
        endpoint(db, user, events=["task.failed"])
        tasks = [new_task(db, user, webhook_url="http://127.0.0.1:9/") for _ in range(2)]
        finish(db, tasks[0])
        finish(db, tasks[1], ends.stopped("ignored"))
        task_service.retry_task(db, tasks[1].id)
        assert [*db.scalars(select(OutboxRow.event).order_by(OutboxRow.id))] == ["succeeded", "revoked"]

    def test_no_task_is_followed_for_an_endpoint_that_wants_no_ends_of_tasks(self, db: Session, user: UUID) -> None:
        made = endpoint(db, user, events=["schedule.skipped", "workflow.failed"]).row
        active = new_task(db, user)
        endpoints.follow_active_tasks(db, threading.Event())
        db.refresh(active)
        assert active.followers is None
        webhook_service.update_endpoint(db, user, made.id, {"events": ["task.failed"]})
        db.refresh(active)
        failed = new_deliveries.BIT_OF_KIND["task.failed"]
        assert (active.followers, new_task(db, user).followers) == (failed, failed)
        webhook_service.update_endpoint(db, user, made.id, {"events": ["workflow.failed"]})
        assert new_task(db, user).followers is None

    def test_of_a_schedule_that_is_gone_or_too_large_the_id_alone(self, db: Session, user: UUID, web: Web) -> None:
        endpoint(db, user, web.url(), events=["schedule.skipped"])
        schedules = [new_schedule(db, user), new_schedule(db, user)]
        db.execute(update(Schedule).values(task=TASK | {"args": ["no number", "x" * 262_144]}))
        rewind(db, *schedules)
        fire_all(db)
        assert [(each.body, each.bytes) for each in deliveries(db)] == [(None, 1024)] * 2
        schedule_service.delete_schedule(db, schedules[0].id)
        send(db)
        assert [each["data"] for each in bodies(web)] == [{"id": str(each.id)} for each in schedules]
        assert all(each.bytes > 1024 + len(each.body or b"") > 1024 for each in deliveries(db))

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
        # A look at the endpoints, one at the quota, and an INSERT.
        assert len([each for each in seen if "webhook_" in each]) == 3
        assert [len(told(db, each)) for each in schedules] == [5, 5]
        found = deliveries(db)
        assert [each.endpoint_id for each in found] == [*made, *made]
        assert len({each.event_id for each in found}) == 2

    def test_one_event_a_minute_for_each_schedule(
        self, db: Session, user: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        endpoint(db, user, events=["schedule.skipped"])
        schedule = new_schedule(db, user, every_seconds=1, catch_up="all")
        db.execute(update(Schedule).values(task=TASK | {"args": ["no number"]}))
        begin = now_of(db)
        numbers = []
        for seconds in (5, 64, 66, 67, 0):
            now = begin + timedelta(seconds=seconds)
            times = {"done_until": now - timedelta(seconds=2), "due_at": begin}
            db.execute(update(Schedule).where(Schedule.id == schedule.id).values(times))
            db.execute(delete(ScheduleRun).where(ScheduleRun.schedule_id == schedule.id))
            db.commit()
            monkeypatch.setattr(due_schedules, "now_of", lambda _, now=now: now)
            fire_all(db)
            numbers.append((len(told(db, schedule)), len(deliveries(db))))
        assert numbers == [(2, 1), (2, 1), (2, 2), (2, 2), (2, 3)]  # the clock is put back at last

    def test_nothing_while_the_user_keeps_more_than_the_quota(
        self, db: Session, user: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one, other = user, new_user(db)
        schedules = [new_schedule(db, each, metadata={"x": "m" * 3000}) for each in (one, other)]
        for each in (one, other):
            endpoint(db, each, events=["schedule.skipped"])
        task = new_task(db, one, metadata={"x": "m" * 60_000})
        # No answer of the database is kept.
        monkeypatch.setattr(usage, "MIN_INTERVAL_SECONDS", 0)
        monkeypatch.setattr(usage, "QUERY_TIME_SHARE", 1e9)
        db.execute(update(Schedule).values(task=TASK | {"args": ["no number"]}))
        monkeypatch.setattr(get_settings(), "quota_stored_bytes", 50_000)
        rewind(db, *schedules)
        fire_all(db)
        assert [told(db, each) for each in schedules] == [["invalid_arguments"]] * 2
        assert [each.user_id for each in deliveries(db)] == [other]
        task_service.delete(db, task.id, force=True)
        move_on(db, schedules[0])
        fire_all(db)
        assert {each.user_id for each in deliveries(db)} == {one, other}

    def test_a_skip_that_is_rolled_back_tells_nobody(
        self, db: Session, user: UUID, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        endpoint(db, user, events=["schedule.skipped"])
        schedule = new_schedule(db, user)
        db.execute(update(Schedule).where(Schedule.id == schedule.id).values(task=TASK | {"args": ["no number"]}))
        rewind(db, schedule)
        record_events = new_deliveries.record_events

        def fails(*args: Any, **options: Any) -> None:
            record_events(*args, **options)
            raise ValueError

        monkeypatch.setattr(new_deliveries, "record_events", fails)
        fire_all(db)
        assert (deliveries(db), told(db, schedule)) == ([], [])
