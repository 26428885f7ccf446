"""What becomes of a delivery that fails, or whose sender dies, and of its endpoint."""

import itertools
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import flag_modified

from app.core.config import get_settings
from app.ddl.clock import NOW
from app.models.audit import AuditRecord
from app.models.webhook import WebhookDelivery, WebhookEndpoint
from app.services.webhooks import lanes, queue, sender
from app.services.webhooks.service import webhook_service
from tests.support.webhooks import (
    age_failures,
    an_outcome,
    deliveries,
    delivery,
    due_again,
    ended,
    endpoint,
    send,
    work_off,
    write,
)
from tests.unit.outbound.web_server import Web, reply

pytestmark = pytest.mark.usefixtures("allowed")

GONE = {"state": "failed", "lane": None, "next_attempt_at": None}


def let_pass(db: Session, time: timedelta) -> None:
    """As if so much time went by for the one delivery, which is due then."""
    row = delivery(db)
    for each in row.attempts:
        each["at"] = (datetime.fromisoformat(each["at"]) - time).isoformat()
    row.attempts = [*row.attempts]
    flag_modified(row, "attempts")
    db.commit()
    due_again(db)


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

    def test_end_after_three_days_also_where_the_receiver_asks_for_a_day_each_time(
        self, db: Session, user: UUID, web: Web
    ) -> None:
        web.answer["/"] = reply(429, Retry_After="86400")
        endpoint(db, user, web.url())
        ended(db, user)
        waits = list[timedelta]()
        while delivery(db).state == "pending":
            send(db)
            if found := delivery(db).next_attempt_at:
                waits.append(found - db.execute(select(NOW)).scalar_one())
                let_pass(db, waits[-1])
        assert len(web.seen) == 3
        assert all(each > timedelta(hours=23) for each in waits)
        assert sum(waits, timedelta()) <= timedelta(days=3)

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
        work_off(db)
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


class TestAfterAnOutage:
    @pytest.fixture
    def made(self, db: Session, user: UUID, web: Web) -> WebhookEndpoint:
        """An endpoint with three deliveries of which each was tried in vain; the receiver is back."""
        web.answer["/"] = reply(503)
        row = endpoint(db, user, web.url()).row
        for _ in range(3):
            ended(db, user)
        send(db)
        assert [each.state for each in deliveries(db)] == ["pending"] * 3
        web.answer["/"] = reply(204)
        return row

    def test_what_waits_for_another_attempt_is_recovered_too(
        self, db: Session, user: UUID, web: Web, made: WebhookEndpoint
    ) -> None:
        since = deliveries(db)[1].created_at
        assert webhook_service.recover(db, user, made.id, since) == 2
        work_off(db)
        assert webhook_service.recover(db, user, made.id, since) == 0  # these are on their way already
        assert [each.tries for each in deliveries(db)] == [1, 0, 0]
        send(db)
        assert [each.state for each in deliveries(db)] == ["pending", "delivered", "delivered"]
        assert len({seen.headers["webhook-id"] for seen in web.seen}) == 3

    def test_it_alone_is_sent_now(self, db: Session, user: UUID, made: WebhookEndpoint) -> None:
        queued = webhook_service.count_queued(db, made.id, 10)
        assert (queued.number, queued.again, queued.next_at) == (3, 3, min(x.next_attempt_at for x in deliveries(db)))
        assert webhook_service.count_queued(db, made.id, 2).again == 2
        db.execute(update(WebhookDelivery).where(WebhookDelivery.id == deliveries(db)[0].id).values(GONE))
        ended(db, user)
        assert webhook_service.send_waiting(db, user, made.id) == 2
        work_off(db)
        queued = webhook_service.count_queued(db, made.id, 10)
        assert (queued.number, queued.again, queued.next_at) == (3, 0, None)
        send(db)
        assert [each.state for each in deliveries(db)] == ["failed", *["delivered"] * 3]


class TestDeaths:
    """Of the process: nothing is lost, and what is sent twice has one id and the same bytes."""

    def test_between_the_taking_and_the_request(self, db: Session, user: UUID, web: Web) -> None:
        made = endpoint(db, user, web.url()).row
        ended(db, user)
        [taken] = queue.take(db, {made.id: 4}, get_settings().accepted_keys)
        assert lanes.find_due_lanes(db) == []
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
            patched.setattr(sender, "write_outcomes", die)
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
        outcome = an_outcome(web)
        write(db, (late, outcome))
        assert delivery(db).attempts == []
        write(db, (now, outcome))
        assert delivery(db).state == "delivered"
